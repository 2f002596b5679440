-- Messages that were altered, kept as they were found.

-- name: insert_quarantined
insert into fluxa.quarantine (queue, message_id, raw, facts, parked_at, code, reason, redrive_id)
select $1, given.message_id, given.raw, given.facts, given.parked_at, given.code, given.reason, $2
from unnest($3::text[], $4::text[], $5::text[], $6::timestamptz[], $7::text[], $8::text[]) with ordinality
    as given (message_id, raw, facts, parked_at, code, reason, place)
order by given.place

-- name: list_quarantined
select to_jsonb(held)::text as held
from fluxa.quarantine as held
where quarantine_id > $1 and ($2::text is null or queue = $2) and ($3::bigint[] is null or quarantine_id = any ($3))
order by quarantine_id
limit $4

-- name: count_quarantined
select queue, count(*) as messages from fluxa.quarantine where $1::text is null or queue = $1 group by queue order by queue

-- name: delete_quarantined
delete from fluxa.quarantine as held
where quarantine_id = any ($1::bigint[])
returning to_jsonb(held)::text as held
