-- The keys that sign access tokens; what state one is in, its times say.
create table fluxa.signing_keys (
    kid            text primary key,
    algorithm      text not null check (algorithm in ('EdDSA')),
    public_jwk     jsonb not null,
    sealed         bytea,
    created_at     timestamptz not null default now(),
    signs_from     timestamptz not null,
    signs_until    timestamptz,
    verifies_until timestamptz,
    retired_at     timestamptz
);

comment on column fluxa.signing_keys.sealed is
    'The private key, sealed with AES-GCM by a key made of secret_key; null once it signs no more';
