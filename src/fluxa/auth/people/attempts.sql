-- Attempts to log in, and where logins came from; both tables are owned by fluxa.auth.people.attempts.

-- name: take_attempt
with pruned as (
    delete from fluxa.login_attempts where (kind, digest) in (
        select kind, digest from fluxa.login_attempts
        where last_at < $3::timestamptz - make_interval(secs => $7) and digest <> $2
        order by last_at limit $8
        for update skip locked
    )
)
insert into fluxa.login_attempts as held (kind, digest, attempts, last_at, locked_until)
values ($1, $2, 1, $3, case when $4::int <= 1 then $3::timestamptz + make_interval(secs => $5) else $3 end)
on conflict (kind, digest) do update set
    attempts = case when held.last_at < $3 - make_interval(secs => $7) then 1 else held.attempts + 1 end,
    last_at = $3,
    locked_until = case
        when held.last_at < $3 - make_interval(secs => $7) or held.attempts + 1 < $4 then $3
        else $3 + make_interval(secs => least($6::float8, $5::float8 * power(2, least(held.attempts + 1 - $4, 30))))
    end
where held.locked_until <= $3
returning attempts;

-- name: locked_until
select locked_until from fluxa.login_attempts where kind = $1 and digest = $2;

-- name: give_back
update fluxa.login_attempts
set attempts = greatest(attempts - 1, 0),
    locked_until = case when attempts <= $3 then least(locked_until, $2) else locked_until end
where kind = $4 and digest = $1;

-- name: clear_name
-- What is held against a name anywhere.
delete from fluxa.login_attempts
where kind = 'name' and (
    digest = $1 or digest = any(array(select place.digest from fluxa.login_places as place where place.name_digest = $1))
);

-- name: clear_count
delete from fluxa.login_attempts where kind = $1 and digest = $2;

-- name: is_known_place
select exists (select from fluxa.login_places where digest = $1 and seen_at > $2::timestamptz - make_interval(secs => $3));

-- name: remember_place
with pruned as (
    delete from fluxa.login_places where digest in (
        select place.digest from fluxa.login_places as place
        where place.seen_at < $3::timestamptz - make_interval(secs => $4) and place.digest <> $1
        order by place.seen_at limit $5
        for update skip locked
    )
)
insert into fluxa.login_places as known (digest, name_digest, seen_at) values ($1, $2, $3)
on conflict (digest) do update set seen_at = greatest(known.seen_at, excluded.seen_at);
