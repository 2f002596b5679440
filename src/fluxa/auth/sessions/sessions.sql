-- Sessions; the table is owned by fluxa.auth.sessions.postgres_store.

-- name: insert_session
with pruned as (
    -- Each new session takes a few that are over along, so that the table stays as small as those who are here.
    delete from fluxa.sessions where session_id in (
        select session_id from fluxa.sessions where expires_at <= $7 order by expires_at limit $10
        for update skip locked
    )
)
insert into fluxa.sessions (
    session_id, user_id, tenant, address, agent, created_at, seen_at, expires_at, ends_at
)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9);

-- name: is_live
select exists (select from fluxa.sessions where session_id = $1 and expires_at > $2);

-- name: touch_session
update fluxa.sessions
set seen_at = greatest(seen_at, $2), expires_at = greatest(expires_at, least($2 + make_interval(secs => $3), ends_at))
where session_id = $1 and expires_at > $2
returning session_id, user_id, tenant, address, agent, created_at, seen_at, expires_at, ends_at;

-- name: get_session
select session_id, user_id, tenant, address, agent, created_at, seen_at, expires_at, ends_at
from fluxa.sessions where session_id = $1 and expires_at > $2;

-- name: list_sessions
select session_id, user_id, tenant, address, agent, created_at, seen_at, expires_at, ends_at
from fluxa.sessions where user_id = $1 and expires_at > $2
order by created_at desc, session_id;

-- name: delete_session
with ended as (delete from fluxa.sessions where session_id = $1 returning expires_at)
select count(*) from ended where expires_at > $2;

-- name: delete_sessions_of_user
with ended as (delete from fluxa.sessions where user_id = $1 returning expires_at)
select count(*) from ended where expires_at > $2;
