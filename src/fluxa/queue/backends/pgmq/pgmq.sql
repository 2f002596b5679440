-- Everything that the PGMQ backend says to Postgres. {queue} and {dead} stand for the tables of a queue
-- and of its dead letters; they are filled in with quoted names made from a validated queue name.
-- Columns are always named: their order differs between versions of PGMQ.

-- name: create_queue
select pgmq.create($1)

-- name: check_headers
-- PGMQ has them since 1.5.0; what is known of a dead letter stands there.
select exists (select from pg_attribute where attrelid = $1::text::regclass and attname = 'headers' and not attisdropped)

-- name: check_tuning
-- Whether the table still has PGMQ's own settings: altering it takes a lock that waits for everybody.
select c.reloptions is null or a.attstorage <> 'e'
from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attname = 'message'
where c.oid = $1::text::regclass

-- name: alter_storage
-- Packed messages do not compress again, so trying to costs half the send rate.
alter table {queue} alter column message set storage external

-- name: alter_vacuum
-- Rows live for milliseconds: vacuum by count, not by share of the table, and without naps.
alter table {queue} set (
    fillfactor = 70,
    autovacuum_vacuum_scale_factor = 0.0,
    autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_cost_delay = 0,
    autovacuum_vacuum_insert_scale_factor = 0.0,
    autovacuum_vacuum_insert_threshold = 100000,
    autovacuum_analyze_scale_factor = 0.0,
    autovacuum_analyze_threshold = 5000
)

-- name: insert_messages
insert into {queue} (vt, message)
select clock_timestamp() + make_interval(secs => $2), given.message::jsonb
from unnest($1::text[]) with ordinality as given (message, place)
order by given.place
returning msg_id

-- name: claim_messages
-- Ready messages with ids in ($1, $2], lowest first. The range keeps the scan away from dead rows.
-- Its commit does not wait for the disk: a claim that a crash of the server undoes is only a message that is ready
-- again, and whatever is committed for it later flushes the claim as well.
with ready as (
    select msg_id
    from {queue}
    where msg_id > $1 and msg_id <= $2 and vt <= clock_timestamp()
    order by msg_id
    limit $3
    for update skip locked
)
update {queue} as message
set vt = clock_timestamp() + make_interval(secs => $4), read_ct = message.read_ct + 1
from ready cross join set_config('synchronous_commit', 'off', true) as hasty
where message.msg_id = ready.msg_id
returning message.msg_id, message.read_ct, message.enqueued_at, message.vt, message.message::text as raw, 0 as settled

-- name: read_mark
-- The sequence's value costs one page, however many dead rows the table has; null before the first message.
-- Time, transactions in progress and last id, in this order: what committed later than the snapshot was sent after the
-- statement began, or by one of those.
select statement_timestamp() as now,
    array(select xid::text from pg_snapshot_xip(pg_current_snapshot()) as xid) as running,
    coalesce(pg_sequence_last_value(pg_get_serial_sequence($1, 'msg_id')::regclass), 0) as last_id

-- name: claim_due
-- What came due from $1 on, up to id $2: retries, delays that are over, leases that ran out, and late commits. In the
-- order of their time, so that dead rows are walked once. The statement's time, since an index can be searched by it; the
-- id is hidden from the planner, which else would walk everything by the primary key.
with ready as (
    select msg_id, vt as due_at
    from {queue}
    where vt >= $1 and vt <= statement_timestamp() and msg_id + 0 <= $2
    order by vt
    limit $3
    for update skip locked
)
update {queue} as message
set vt = clock_timestamp() + make_interval(secs => $4), read_ct = message.read_ct + 1
from ready cross join set_config('synchronous_commit', 'off', true) as hasty
where message.msg_id = ready.msg_id
returning message.msg_id, message.read_ct, message.enqueued_at, message.vt, message.message::text as raw, 0 as settled,
    ready.due_at

-- name: delete_claimed
delete from {queue} as message
using unnest($1::bigint[], $2::int[]) as claimed (msg_id, read_ct)
where message.msg_id = claimed.msg_id and message.read_ct = claimed.read_ct
returning message.msg_id

-- name: settle_claimed
-- One statement, so that a message is never in two places and never in none: what is sent again or parked
-- follows only from messages that this very statement removed.
with gone as (
    delete from {queue} as message
    using unnest($1::bigint[], $2::int[]) as claimed (msg_id, read_ct)
    where message.msg_id = claimed.msg_id and message.read_ct = claimed.read_ct
    returning message.msg_id
), again as (
    insert into {queue} (vt, message)
    select clock_timestamp() + make_interval(secs => given.delay_s), given.message::jsonb
    from unnest($3::bigint[], $4::text[], $5::float8[]) with ordinality as given (origin, message, delay_s, place)
    join gone on gone.msg_id = given.origin
    order by given.place
), parked as (
    insert into {dead} (vt, message, headers)
    select clock_timestamp(), given.message::jsonb, given.headers::jsonb
    from unnest($6::bigint[], $7::text[], $8::text[]) with ordinality as given (origin, message, headers, place)
    join gone on gone.msg_id = given.origin
    order by given.place
)
select msg_id from gone

-- name: extend_leases
update {queue} as message
set vt = clock_timestamp() + make_interval(secs => $3)
from unnest($1::bigint[], $2::int[]) as claimed (msg_id, read_ct)
where message.msg_id = claimed.msg_id and message.read_ct = claimed.read_ct
returning message.msg_id

-- name: list_dead
select msg_id, enqueued_at, message::text as raw, headers::text as facts
from {dead}
where msg_id > $1 and msg_id <= $2
    and ($3::bigint[] is null or msg_id = any ($3))
    and ($4::text[] is null or coalesce(headers ->> 'record_id', message ->> 'id', 'message-' || msg_id) = any ($4))
    and ($5::text[] is null or coalesce(headers ->> 'key', message ->> 'key') = any ($5))
    and ($6::text is null or fluxa.failed_at(headers, enqueued_at) >= $6 collate "C")
    and ($7::text is null or fluxa.failed_at(headers, enqueued_at) < $7 collate "C")
order by msg_id
limit $8

-- name: list_dead_by_code
-- One walk of the index a code, each no longer than the page: a rare code among a million letters costs a page too.
select letter.msg_id, letter.enqueued_at, letter.raw, letter.facts
from unnest($9::text[]) as code
cross join lateral (
    select msg_id, enqueued_at, message::text as raw, headers::text as facts
    from {dead}
    where coalesce(headers ->> 'code', 'MalformedMessage') = code and msg_id > $1 and msg_id <= $2
        and ($3::bigint[] is null or msg_id = any ($3))
        and ($4::text[] is null or coalesce(headers ->> 'record_id', message ->> 'id', 'message-' || msg_id) = any ($4))
        and ($5::text[] is null or coalesce(headers ->> 'key', message ->> 'key') = any ($5))
        and ($6::text is null or fluxa.failed_at(headers, enqueued_at) >= $6 collate "C")
        and ($7::text is null or fluxa.failed_at(headers, enqueued_at) < $7 collate "C")
    order by msg_id
    limit $8
) as letter
order by letter.msg_id
limit $8

-- name: summarize_dead
select
    coalesce(headers ->> 'code', 'MalformedMessage') as code,
    count(*) as letters,
    min(fluxa.failed_at(headers, enqueued_at)) as oldest,
    max(msg_id) as last_id
from {dead}
where msg_id > $1 and msg_id <= $2
    and ($3::bigint[] is null or msg_id = any ($3))
    and ($4::text[] is null or coalesce(headers ->> 'record_id', message ->> 'id', 'message-' || msg_id) = any ($4))
    and ($5::text[] is null or coalesce(headers ->> 'key', message ->> 'key') = any ($5))
    and ($6::text is null or fluxa.failed_at(headers, enqueued_at) >= $6 collate "C")
    and ($7::text is null or fluxa.failed_at(headers, enqueued_at) < $7 collate "C")
    and ($8::text[] is null or coalesce(headers ->> 'code', 'MalformedMessage') = any ($8))
group by 1

-- name: find_code_index
select exists (select from pg_index where indrelid = $1::text::regclass and indexprs is not null)

-- name: create_code_index
create index on {dead} ((coalesce(headers ->> 'code', 'MalformedMessage')), msg_id)

-- name: remove_dead
delete from {dead}
where msg_id = any ($1::bigint[])
returning msg_id, enqueued_at, message::text as raw, headers::text as facts

-- name: insert_dead
insert into {dead} (vt, enqueued_at, message, headers)
select clock_timestamp(), coalesce(given.parked_at, clock_timestamp()), given.message::jsonb, given.headers::jsonb
from unnest($1::text[], $2::text[], $3::timestamptz[]) with ordinality as given (message, headers, parked_at, place)
order by given.place
returning msg_id

-- name: purge_dead
delete from {dead} where msg_id = any ($1::bigint[])

-- name: sample_dead
-- Exact up to $1.
select count(*) from (select from {dead} limit $1) as sample

-- name: insert_waiting
-- An outbox is a queue: what is written here in the caller's transaction is sent on by a relay, each in its own time.
insert into {queue} (vt, message, headers)
select
    clock_timestamp() + make_interval(secs => given.delay_s),
    given.message::jsonb,
    case when given.key is not null then jsonb_build_object('x-pgmq-group', given.key) end
from unnest($1::text[], $2::float8[], $3::text[]) with ordinality as given (message, delay_s, key, place)
order by given.place
returning msg_id

-- name: lock_outbox
-- One relay at a time chooses what to send on in order; it holds this for one statement.
select pg_advisory_xact_lock(hashtextextended($1, 8130))

-- name: claim_waiting
-- In order: a message goes on only if every older one of its key goes too, or is gone.
with held as (
    select headers ->> 'x-pgmq-group' as key, min(msg_id) as first_id
    from {queue}
    where vt > clock_timestamp() and headers ->> 'x-pgmq-group' is not null
    group by 1
), due as (
    select message.msg_id
    from {queue} as message
    left join held on held.key = message.headers ->> 'x-pgmq-group' and held.first_id < message.msg_id
    where message.vt <= clock_timestamp() and held.first_id is null
    order by message.msg_id
    limit $1
)
update {queue} as message
set vt = clock_timestamp() + make_interval(secs => $2), read_ct = message.read_ct + 1
from due
where message.msg_id = due.msg_id
returning message.msg_id, message.read_ct, message.enqueued_at, message.vt, message.message::text as raw

-- name: count_waiting
-- Exact up to $1.
select count(*) from (select from {queue} limit $1) as sample
