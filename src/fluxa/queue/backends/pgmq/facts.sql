-- What a queue holds, at a cost that does not grow with it, and why it is slow, as far as the role may see.
-- Places as in pgmq.sql; {leased} is the condition that tells a leased row from one that was never claimed.

-- name: read_counters
-- Sizes and running counts: a handful of catalogue pages, however large the tables are. The counts lag by a second;
-- after a crash of the server they begin anew, and reltuples is what the last vacuum or analyze saw.
select pg_relation_size(relation) / current_setting('block_size')::int as pages,
    case when pg_stat_get_tuples_inserted(relation) = 0 and pg_stat_get_live_tuples(relation) = 0
        then greatest(0, (select reltuples from pg_class where oid = relation))::bigint
        else pg_stat_get_live_tuples(relation)
    end as live,
    pg_stat_get_dead_tuples(relation) as dead,
    pg_sequence_last_value(pg_get_serial_sequence(given.name, 'msg_id')::regclass) as last_id
from unnest($1::text[]) with ordinality as given (name, place)
cross join lateral (select given.name::regclass as relation) as named
order by given.place

-- name: count_queue
-- One walk over a table that is known to be small.
select count(*) as depth,
    count(*) filter (where vt <= statement_timestamp()) as ready,
    count(*) filter (where vt > statement_timestamp() and {leased}) as in_flight,
    coalesce(extract(epoch from statement_timestamp() - min(enqueued_at))::float8, 0) as oldest_age_s
from {queue}

-- name: count_dead
select count(*) from {dead}

-- name: count_hidden
-- Leased and delayed messages, $1 at most, in the order of the index by time.
select count(*) as hidden, count(*) filter (where leased) as in_flight
from (select {leased} as leased from {queue} where vt > statement_timestamp() order by vt limit $1) as seen

-- name: limit_time
select set_config('statement_timeout', $1, true)

-- name: find_oldest
select msg_id, extract(epoch from clock_timestamp() - enqueued_at)::float8 as age_s
from {queue}
where msg_id > $1 and msg_id <= $2
order by msg_id
limit 1

-- name: find_holders
-- Only what holds back cleaning of this database's tables counts: vacuum itself and other databases do not.
-- A second is nothing; long transactions are what hurts.
select 'session' as kind, coalesce(usename, '') as name, pid, application_name as application, query,
    extract(epoch from clock_timestamp() - xact_start)::float8 as age_s
from pg_stat_activity
where (backend_xmin is not null or backend_xid is not null) and pid <> pg_backend_pid()
    and (datname is null or datname = current_database()) and backend_type <> 'autovacuum worker'
    and (xact_start is null or xact_start < clock_timestamp() - interval '1 second')
union all
select 'prepared', gid, null, '', '', extract(epoch from clock_timestamp() - prepared)::float8
from pg_prepared_xacts
where database = current_database()
union all
select 'slot', slot_name, active_pid, '', '', null
from pg_replication_slots
where xmin is not null
order by age_s desc nulls first
limit $1

-- name: hides_sessions
-- Whether there are sessions here whose facts this role may not see.
select exists (
    select from pg_stat_activity where query = '<insufficient privilege>' and (datname is null or datname = current_database())
)

-- name: read_table_state
select pg_stat_get_dead_tuples($1::text::regclass) as dead_rows,
    pg_stat_get_last_autovacuum_time($1::text::regclass) as last_autovacuum_at

-- name: find_oldest_lease
-- At most $1 rows; the caller has made sure that not too many dead ones are in the way.
select extract(epoch from clock_timestamp() - min(leased.enqueued_at))::float8
from (select enqueued_at from {queue} where vt > clock_timestamp() and {leased} limit $1) as leased

-- name: find_blocked
-- Keys whose oldest message is neither ready nor under lease: it waits for another attempt, and all others behind it.
with waiting as (
    select msg_id, enqueued_at, vt, headers ->> 'x-pgmq-group' as key
    from {queue}
    where vt > clock_timestamp() and not ({leased})
    limit $1
), blocked as (
    select waiting.*
    from waiting
    where key is not null and not exists (
        select from {queue} as lower where lower.headers ->> 'x-pgmq-group' = waiting.key and lower.msg_id < waiting.msg_id
    )
)
select msg_id, key, extract(epoch from clock_timestamp() - enqueued_at)::float8 as age_s,
    extract(epoch from vt - clock_timestamp())::float8 as ready_in_s, count(*) over () as keys
from blocked
order by msg_id
limit $2
