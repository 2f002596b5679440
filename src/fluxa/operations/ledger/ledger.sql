-- The audit log. Owner: ledger.py. Entries are appended by a trigger when the transaction commits; see the migration.

-- name: insert_act
insert into fluxa.ledger_intake (tenant, actor, action, subject, detail, correlation_id)
values ($1, $2, $3, $4, $5::json, $6)

-- name: list_entries
select tenant, number, version, at, actor, action, subject, detail, correlation_id, previous, hash
from fluxa.ledger
where tenant = $1
    and ($2::bigint is null or number < $2)
    and ($3::text is null or actor = $3)
    and ($4::text is null or action = $4 or starts_with(action, $4 || '.'))
    and ($5::text is null or subject = $5)
    and ($6::text is null or correlation_id = $6)
    and ($7::timestamptz is null or at >= $7)
    and ($8::timestamptz is null or at < $8)
order by number desc
limit $9

-- name: read_entry
select tenant, number, version, at, actor, action, subject, detail, correlation_id, previous, hash
from fluxa.ledger where tenant = $1 and number = $2

-- name: list_after
select tenant, number, version, at, actor, action, subject, detail, correlation_id, previous, hash
from fluxa.ledger where tenant = $1 and number > $2
order by number
limit $3

-- name: list_heads
select tenant, number, hash, at from fluxa.ledger_heads where $1::text is null or tenant = $1 order by tenant
