-- Service accounts; the table is owned by fluxa.auth.keys.accounts.

-- name: insert_account
insert into fluxa.service_accounts (account_id, tenant, name, role) values ($1, $2, $3, $4)
on conflict (tenant, name) do nothing
returning account_id, tenant, name, role, disabled, created_at, changed_at;

-- name: find_account
-- Whoever makes a key takes turns with who disables: none is made for an account that is being disabled.
select account_id, tenant, name, role, disabled, created_at, changed_at
from fluxa.service_accounts where tenant = $1 and name = $2
for share;

-- name: lock_account
select account_id, tenant, name, role, disabled, created_at, changed_at
from fluxa.service_accounts where tenant = $1 and name = $2
for no key update;

-- name: list_accounts
select account_id, tenant, name, role, disabled, created_at, changed_at
from fluxa.service_accounts where $1::text is null or tenant = $1
order by tenant, name;

-- name: change_account
update fluxa.service_accounts set disabled = $2, changed_at = now() where account_id = $1
returning account_id, tenant, name, role, disabled, created_at, changed_at;
