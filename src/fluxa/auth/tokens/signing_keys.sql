-- The keys that sign access tokens; the table is owned by fluxa.auth.tokens.signing_keys.

-- name: lock_keys
select pg_advisory_xact_lock(hashtext('fluxa.signing_keys'));

-- name: insert_signing_key
insert into fluxa.signing_keys (kid, algorithm, public_jwk, sealed, signs_from)
values ($1, $2, $3::text::jsonb, $4, now() + make_interval(secs => $5));

-- name: usable_keys
-- What may verify now, seen from now: a process counts on with its own clock.
select kid, algorithm, public_jwk::text as public_jwk,
       extract(epoch from signs_from - now())::float8 as signs_in_s,
       extract(epoch from signs_until - now())::float8 as signs_end_s,
       extract(epoch from verifies_until - now())::float8 as verifies_end_s
from fluxa.signing_keys
where retired_at is null and (verifies_until is null or verifies_until > now())
order by signs_from, kid;

-- name: sealed_key
select sealed from fluxa.signing_keys where kid = $1 and retired_at is null;

-- name: list_signing_keys
select kid, algorithm,
       case
           when retired_at is not null or verifies_until <= now() then 'retired'
           when signs_until <= now() then 'retiring'
           when signs_from > now() then 'next'
           else 'active'
       end as state,
       created_at, signs_from, signs_until, verifies_until, retired_at
from fluxa.signing_keys
order by signs_from, kid;

-- name: succeed_keys
-- A key that signs from then on ends the others' signing, and once their longest token has ended, their verifying.
update fluxa.signing_keys
set signs_until = now() + make_interval(secs => $2), verifies_until = now() + make_interval(secs => $2 + $3)
where kid <> $1 and retired_at is null and (signs_until is null or signs_until > now() + make_interval(secs => $2));

-- name: retire_signing_key
update fluxa.signing_keys set retired_at = now(), sealed = null
where kid = $1 and retired_at is null and (verifies_until is null or verifies_until > now());

-- name: prolong_keys
-- The successor is gone before its time: what it would have ended goes on.
update fluxa.signing_keys set signs_until = null, verifies_until = null
where retired_at is null and signs_until > now();

-- name: advance_next
-- The one that signed is gone: the next signs at once.
update fluxa.signing_keys set signs_from = now()
where kid = (
    select kid from fluxa.signing_keys
    where retired_at is null and signs_until is null and signs_from > now() order by signs_from limit 1
)
returning kid;

-- name: forget_privates
-- A key that signs no more needs no private part, and what is not there cannot be stolen.
update fluxa.signing_keys set sealed = null
where sealed is not null and (retired_at is not null or signs_until <= now());

-- name: sealed_keys
-- Those that sign, or will; locked, so that none is forgotten or retired meanwhile.
select kid, sealed from fluxa.signing_keys where sealed is not null order by kid for update;

-- name: reseal_key
update fluxa.signing_keys set sealed = $2 where kid = $1;
