-- What this floor itself asks of the server: wake-ups, migrations, PGMQ.

-- name: notify_topic
select pg_notify('fluxa_wake', $1)

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
