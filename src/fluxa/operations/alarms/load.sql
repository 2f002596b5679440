-- How busy the database is, and with what. Owner: load.py.

-- name: read_server
select pg_backend_pid() as pid, extract(epoch from pg_postmaster_start_time())::float8 as started_s,
    (select count(*) from pg_stat_activity where state = 'active' and wait_event is null and pid <> pg_backend_pid())::int
        as running

-- name: list_long_queries
select pid, coalesce(application_name, '') as application, coalesce(left(query, 300), '') as query,
    greatest(0, extract(epoch from clock_timestamp() - query_start))::float8 as age_s
from pg_stat_activity
where state = 'active' and pid <> pg_backend_pid() and backend_type = 'client backend'
order by query_start
limit 5
