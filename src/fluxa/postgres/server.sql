-- What this floor itself asks of the server: wake-ups, migrations, PGMQ.

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

-- name: ping
select 1;
