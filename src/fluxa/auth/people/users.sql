-- Users; the table is owned by fluxa.auth.people.users.

-- name: insert_user
insert into fluxa.users (user_id, tenant, name, role, password_hash, created_at, changed_at)
values ($1, $2, $3, $4, $5, $6, $6)
on conflict (name) do nothing
returning user_id, tenant, name, role, disabled, created_at, changed_at, login_at;

-- name: get_user
select user_id, tenant, name, role, disabled, created_at, changed_at, login_at
from fluxa.users where user_id = $1;

-- name: find_user
select user_id, tenant, name, role, disabled, created_at, changed_at, login_at
from fluxa.users where name = $1;

-- name: find_hash
select password_hash from fluxa.users where name = $1;

-- name: lock_user
-- Whoever changes a user, logs him in or refreshes takes turns: no session is begun for one who is being disabled.
select user_id, tenant, name, role, disabled, created_at, changed_at, login_at, password_hash
from fluxa.users where user_id = $1 for no key update;

-- name: lock_user_by_name
select user_id, tenant, name, role, disabled, created_at, changed_at, login_at, password_hash
from fluxa.users where name = $1 for no key update;

-- name: list_users
select user_id, tenant, name, role, disabled, created_at, changed_at, login_at
from fluxa.users where ($1::text is null or tenant = $1) and name > $2
order by name limit $3;

-- name: change_user
update fluxa.users set disabled = $3, role = $2, changed_at = $4 where user_id = $1
returning user_id, tenant, name, role, disabled, created_at, changed_at, login_at;

-- name: set_password
update fluxa.users set password_hash = $2, changed_at = $3 where user_id = $1
returning user_id, tenant, name, role, disabled, created_at, changed_at, login_at;

-- name: note_login
update fluxa.users set login_at = $2, password_hash = coalesce($3, password_hash) where user_id = $1;
