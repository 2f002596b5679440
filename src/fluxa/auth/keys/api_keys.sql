-- API keys; the table is owned by fluxa.auth.keys.api_keys.

-- name: insert_key
insert into fluxa.api_keys (key_id, tenant, name, hash, role) values ($1, $2, $3, $4, $5)
returning created_at;

-- name: find_key
select tenant, name, hash, role from fluxa.api_keys where key_id = $1 and revoked_at is null;

-- name: list_keys
select key_id, tenant, name, role, created_at, revoked_at from fluxa.api_keys
where $1::text is null or tenant = $1
order by created_at, key_id;

-- name: revoke_key
update fluxa.api_keys set revoked_at = now() where key_id = $1 and revoked_at is null
returning tenant;
