-- Why a queue is slow: read by any role; what it may not see comes back as null and is reported as unknown.
-- Places as in pgmq.sql; {leased} is the condition that tells a leased row from one that was never claimed.

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
