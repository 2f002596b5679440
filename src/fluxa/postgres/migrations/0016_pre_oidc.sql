-- Logins through an OpenID provider that were begun and not finished. Each is used once, in the browser that began it.
create table fluxa.oidc_flows (
    state_hash   bytea primary key,
    browser_hash bytea not null,
    nonce        text not null,
    verifier     text not null,
    expires_at   timestamptz not null
);
create index oidc_flows_expires on fluxa.oidc_flows (expires_at);

-- Who a subject of a provider is here: said once, at the first login, whatever its e-mail address becomes later.
create table fluxa.oidc_identities (
    issuer    text not null,
    subject   text not null,
    user_id   text not null references fluxa.users,
    linked_at timestamptz not null,
    primary key (issuer, subject),
    unique (issuer, user_id)
);
