-- Logins through a provider that are under way; the table is owned by fluxa.auth.people.oidc.flows.

-- name: insert_flow
with pruned as (
    delete from fluxa.oidc_flows where state_hash in (
        select state_hash from fluxa.oidc_flows where expires_at < $6 order by expires_at limit $7 for update skip locked
    )
)
insert into fluxa.oidc_flows (state_hash, browser_hash, nonce, verifier, expires_at) values ($1, $2, $3, $4, $5);

-- name: take_flow
delete from fluxa.oidc_flows where state_hash = $1
returning browser_hash, nonce, verifier, expires_at;
