-- What this floor itself asks of the server: wake-ups, migrations, PGMQ, and to act for one tenant.

-- name: notify_topic
-- A hint need not survive a crash, so its commit does not wait for the disk.
select pg_notify('fluxa_wake', $1) from set_config('synchronous_commit', 'off', true)

-- name: take_lock
select pg_advisory_xact_lock($1)

-- name: find_migrations
select to_regclass('fluxa.migrations') is not null

-- name: list_migrations
select number, checksum from fluxa.migrations order by number

-- name: insert_migration
insert into fluxa.migrations (number, phase, name, checksum) values ($1, $2, $3, $4)

-- name: find_pgmq
select to_regprocedure('pgmq.create(text)') is not null

-- name: offers_pgmq
select exists (select from pg_available_extensions where name = 'pgmq')

-- name: create_pgmq
create extension pgmq

-- name: enter_tenant
-- Until the transaction ends: the role that row-level security binds, the tenant that it shows, plans for the values at
-- hand (a filter that is not given must not cost its index), and an end for reads that take too long.
select set_config('role', 'fluxa_tenant', true),
       set_config('fluxa.tenant', $1::text, true),
       set_config('plan_cache_mode', 'force_custom_plan', true),
       set_config('statement_timeout', coalesce($2::text, current_setting('statement_timeout')), true)

-- name: read_clock
select extract(epoch from clock_timestamp())::float8

-- name: ping
select 1;
