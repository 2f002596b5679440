-- Stored answers to requests with an Idempotency-Key; the table is owned by fluxa.web.idempotency.

-- name: claim_key
-- A key is free when it is new, when its answer has expired, or when the request that held it died in the middle.
insert into fluxa.request_keys as k (tenant, key, fingerprint, locked_until, expires_at)
values ($1, $2, $3, now() + $4::interval, now() + $5::interval)
on conflict (tenant, key) do update
set fingerprint = excluded.fingerprint, status = null, content_type = null, body = null,
    locked_until = excluded.locked_until, expires_at = excluded.expires_at
where k.expires_at <= now()
   or (k.status is null and k.locked_until <= now() and k.fingerprint = excluded.fingerprint)
returning locked_until;

-- name: find_key
select fingerprint, status, content_type, body from fluxa.request_keys where tenant = $1 and key = $2;

-- name: store_answer
update fluxa.request_keys set status = $4, content_type = $5, body = $6
where tenant = $1 and key = $2 and locked_until = $3 and status is null;

-- name: release_key
delete from fluxa.request_keys
where tenant = $1 and key = $2 and locked_until = $3 and status is null;

-- name: delete_expired
delete from fluxa.request_keys
where (tenant, key) in (
    select tenant, key from fluxa.request_keys where expires_at <= now()
    order by expires_at limit $1 for update skip locked
);
