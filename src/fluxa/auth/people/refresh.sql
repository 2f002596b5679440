-- Refresh tokens; the table is owned by fluxa.auth.people.refresh.

-- name: insert_token
with pruned as (
    delete from fluxa.refresh_tokens where hash in (
        select hash from fluxa.refresh_tokens where expires_at < $4 order by expires_at limit $6
        for update skip locked
    )
)
insert into fluxa.refresh_tokens (hash, session_id, user_id, issued_at, expires_at) values ($1, $2, $3, $4, $5);

-- name: owner_of_token
select user_id, session_id from fluxa.refresh_tokens where hash = $1 and expires_at > $2;

-- name: show_token
select shown.used_at,
    not exists (select from fluxa.refresh_tokens l where l.session_id = shown.session_id and l.place > shown.place)
        as is_newest,
    exists (
        select from fluxa.refresh_tokens l
        where l.session_id = shown.session_id and l.place > shown.place and l.used_at is not null
    ) as is_later_used
from fluxa.refresh_tokens shown where shown.hash = $1;

-- name: use_token
update fluxa.refresh_tokens set used_at = coalesce(used_at, $2) where hash = $1;
