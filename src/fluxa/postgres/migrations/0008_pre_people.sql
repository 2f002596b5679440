-- Who is logged in. A session that is over is no row, or one whose time has passed.
create table fluxa.sessions (
    session_id text primary key,
    user_id text not null,
    tenant text not null,
    address text not null,
    agent text not null,
    created_at timestamptz not null,
    seen_at timestamptz not null,
    expires_at timestamptz not null check (expires_at <= ends_at),
    ends_at timestamptz not null
);
create index sessions_user on fluxa.sessions (user_id);
create index sessions_expires on fluxa.sessions (expires_at);

-- People. A name is an e-mail address as fluxa.auth.people.rules normalises it, and belongs to one tenant.
create table fluxa.users (
    user_id text primary key,
    tenant text not null,
    name text not null unique,
    role text not null check (role in ('admin', 'manager', 'analyst', 'agent', 'integration', 'service')),
    -- Argon2id in its own text form, which names its parameters; null for those who come by another way.
    password_hash text,
    disabled boolean not null default false,
    created_at timestamptz not null,
    changed_at timestamptz not null,
    login_at timestamptz
);
create index users_tenant on fluxa.users (tenant, name);

-- Refresh tokens: each is used once, and those of a session are one family, in the order of `place`.
create table fluxa.refresh_tokens (
    hash bytea primary key,
    place bigint generated always as identity,
    session_id text not null,
    user_id text not null,
    issued_at timestamptz not null,
    used_at timestamptz,
    expires_at timestamptz not null
);
create index refresh_tokens_session on fluxa.refresh_tokens (session_id, place);
create index refresh_tokens_expires on fluxa.refresh_tokens (expires_at);

-- Attempts to log in since the last success, for each name and each address that tried. Names are kept as digests:
-- those that nobody has here are counted like the others.
create table fluxa.login_attempts (
    kind text not null check (kind in ('name', 'address')),
    digest bytea not null,
    attempts integer not null,
    last_at timestamptz not null,
    locked_until timestamptz not null,
    primary key (kind, digest)
);
create index login_attempts_last on fluxa.login_attempts (last_at);
