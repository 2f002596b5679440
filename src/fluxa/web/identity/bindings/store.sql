-- The route table as processes told it, and the roles that were bound to routes; owned by fluxa.web.identity.bindings.

-- name: lock_bindings
-- One change at a time, and none while a process tells its routes: each is judged by what is there.
select pg_advisory_xact_lock(hashtext('fluxa.role_bindings'));

-- name: put_routes
-- What a process serves now; what it served before and serves no more goes.
with told as (
    select *
    from jsonb_to_recordset($2::text::jsonb) as one (
        name text, path text, methods text[], auth text, bucket text, roles text[], platform boolean,
        body_max_bytes bigint, timeout_s double precision, scope text
    )
),

gone as (
    delete from fluxa.routes where process = $1 and name not in (select told.name from told)
)

insert into fluxa.routes
    (process, name, path, methods, auth, bucket, roles, scope, platform, body_max_bytes, timeout_s, version)
select $1, name, path, methods, auth, bucket, roles, scope, platform, body_max_bytes, timeout_s, $3
from told
on conflict (process, name) do update
set path = excluded.path, methods = excluded.methods, auth = excluded.auth, bucket = excluded.bucket,
    roles = excluded.roles, scope = excluded.scope, platform = excluded.platform, body_max_bytes = excluded.body_max_bytes,
    timeout_s = excluded.timeout_s, version = excluded.version, told_at = now();

-- name: list_routes
-- A row that several processes have alike is one.
select name, path, methods, auth, bucket, roles, scope, platform, body_max_bytes, timeout_s,
       array_agg(process order by process) as processes, max(told_at) as told_at
from fluxa.routes
group by name, path, methods, auth, bucket, roles, scope, platform, body_max_bytes, timeout_s
order by path, methods, name;

-- name: list_auths
select name, array_agg(distinct auth) as auths from fluxa.routes group by name order by name;

-- name: list_bindings
select route, roles, changed_by, reason, changed_at from fluxa.role_bindings order by route;

-- name: get_binding
select route, roles, changed_by, reason, changed_at from fluxa.role_bindings where route = $1;

-- name: put_binding
insert into fluxa.role_bindings (route, roles, changed_by, reason)
values ($1, $2, $3, $4)
on conflict (route) do update
set roles = excluded.roles, changed_by = excluded.changed_by, reason = excluded.reason, changed_at = now()
returning route, roles, changed_by, reason, changed_at;

-- name: delete_binding
delete from fluxa.role_bindings where route = $1;
