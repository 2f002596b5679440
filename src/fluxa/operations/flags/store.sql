-- What flags are set to; owned by fluxa.operations.flags.

-- name: list_flags
select name, is_on, changed_by, reason, changed_at from fluxa.flags order by name;

-- name: lock_flag
select is_on from fluxa.flags where name = $1 for update;

-- name: put_flag
insert into fluxa.flags (name, is_on, changed_by, reason)
values ($1, $2, $3, $4)
on conflict (name) do update
set is_on = excluded.is_on, changed_by = excluded.changed_by, reason = excluded.reason, changed_at = now()
returning name, is_on, changed_by, reason, changed_at;

-- name: delete_flag
delete from fluxa.flags where name = $1 returning is_on;
