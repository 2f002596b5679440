-- Looks at queues and changes nothing. Owner: insight.py. Every statement reads a bounded number of rows.

-- name: list_names
select queue_name from pgmq.meta order by queue_name

-- name: list_sent
-- The values of the sequences cost a page each, however much a queue holds.
select queue_name, pg_sequence_last_value(
    pg_get_serial_sequence(format('pgmq.%I', 'q_' || lower(queue_name)), 'msg_id')::regclass
) as sent
from pgmq.meta

-- name: count_dead_by_code
-- Steps from code to code along the index (code, msg_id), then counts at most $1 letters of each of at most $2 codes.
with recursive codes as (
    (
        select coalesce(headers ->> 'code', 'MalformedMessage') as code, 1 as place
        from {dead}
        order by coalesce(headers ->> 'code', 'MalformedMessage')
        limit 1
    )
    union all
    select (
        select coalesce(headers ->> 'code', 'MalformedMessage')
        from {dead}
        where coalesce(headers ->> 'code', 'MalformedMessage') > codes.code
        order by coalesce(headers ->> 'code', 'MalformedMessage')
        limit 1
    ), codes.place + 1
    from codes
    where codes.code is not null and codes.place < $2
)
select codes.code, (
    select count(*)
    from (select from {dead} where coalesce(headers ->> 'code', 'MalformedMessage') = codes.code limit $1) as sample
) as letters
from codes
where codes.code is not null

-- name: measure_plain
-- A queue without dead letters, of another program.
select
    (select count(*) from (select from {queue} limit $2) as sample) as counted,
    (select count(*) from (select from {queue} where vt > clock_timestamp() limit $2) as sample) as hidden,
    (select count(*) from (select from {queue} where vt > clock_timestamp() and read_ct > 0 limit $2) as sample) as leased,
    coalesce(
        (select extract(epoch from clock_timestamp() - enqueued_at)::float8 from {queue} order by msg_id limit 1), 0
    ) as oldest_age_s,
    pg_stat_get_live_tuples($1::text::regclass) as estimated

-- name: peek_messages
select msg_id, read_ct, enqueued_at, vt, vt <= clock_timestamp() as is_due, message::text as raw
from {queue}
where msg_id > $1
order by msg_id
limit $2
