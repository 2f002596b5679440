-- API keys; the table is owned by fluxa.auth.keys.api_keys, the count of changes as well.

-- name: insert_key
insert into fluxa.api_keys (key_id, tenant, name, hash, role, scopes, expires_at, account_id)
values ($1, $2, $3, $4, $5, $6, $7, $8)
returning created_at;

-- name: find_key
-- Those that ended with their service account are found, so that their owner can be told why.
select key.tenant, key.name, key.hash, key.role, key.scopes, key.expires_at, key.old_hash, key.old_until,
       account.name as account, coalesce(account.disabled, false) as is_disabled
from fluxa.api_keys as key
left join fluxa.service_accounts as account using (account_id)
where key.key_id = $1 and (key.revoked_at is null or account.disabled);

-- name: list_keys
select key.key_id, key.tenant, key.name, key.role, key.scopes, account.name as account,
       key.created_at, key.expires_at, key.last_used_at, key.rotated_at, key.old_until, key.revoked_at
from fluxa.api_keys as key
left join fluxa.service_accounts as account using (account_id)
where $1::text is null or key.tenant = $1
order by key.created_at, key.key_id;

-- name: lock_key
select tenant, expires_at, old_until from fluxa.api_keys
where key_id = $1 and revoked_at is null
for no key update;

-- name: rotate_key
update fluxa.api_keys
set old_hash = hash, old_until = $3, hash = $2, rotated_at = $4, expires_at = $5
where key_id = $1;

-- name: revoke_key
update fluxa.api_keys set revoked_at = now() where key_id = $1 and revoked_at is null
returning tenant;

-- name: revoke_keys_of_account
update fluxa.api_keys set revoked_at = now() where account_id = $1 and revoked_at is null
returning key_id;

-- name: count_change
update fluxa.api_key_changes set number = number + 1;

-- name: read_changes
select number from fluxa.api_key_changes;

-- name: note_use
-- Rows are locked in one order, so that two processes never wait for each other; those that are being changed are left out.
with used as (
    select key_id, max(at) as at from unnest($1::text[], $2::timestamptz[]) as given (key_id, at) group by key_id
), locked as (
    select key.key_id, used.at
    from fluxa.api_keys as key
    join used using (key_id)
    where key.last_used_at is null or key.last_used_at < used.at
    order by key.key_id
    for no key update of key skip locked
)
update fluxa.api_keys as key set last_used_at = locked.at from locked where key.key_id = locked.key_id;
