Monthly partitions of fluxa.events, and what goes with a month when it is dropped.

-- name: list_partitions
select child.relname as name
from pg_inherits
join pg_class child on child.oid = pg_inherits.inhrelid
where pg_inherits.inhparent = 'fluxa.events'::regclass
order by child.relname;

-- name: ensure_month
select fluxa.ensure_month($1::date);

-- name: drop_month
select fluxa.drop_month($1::date);

-- name: limit_lock_wait
select set_config('lock_timeout', $1::text, true);

-- name: count_blocks
-- How many blocks of 8 kB each table has.
select
    (pg_relation_size('fluxa.idempotency_keys') / current_setting('block_size')::int)::int as keys,
    (pg_relation_size('fluxa.failures') / current_setting('block_size')::int)::int as failures;

-- name: find_old_keys
select exists (select from fluxa.idempotency_keys where received_at < $1);

-- name: find_old_failures
select exists (select from fluxa.failures where at < $1);

-- name: delete_old_keys
-- By place in the table, so that each block is read once, however much was deleted before it.
delete from fluxa.idempotency_keys where ctid >= $2::tid and ctid < $3::tid and received_at < $1;

-- name: delete_old_failures
delete from fluxa.failures where ctid >= $2::tid and ctid < $3::tid and at < $1;
