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

-- name: delete_old_keys
delete from fluxa.idempotency_keys
where ctid = any (array(select ctid from fluxa.idempotency_keys where received_at < $1 limit $2));

-- name: delete_old_failures
delete from fluxa.failures
where ctid = any (array(select ctid from fluxa.failures where at < $1 limit $2));
