-- Which roles may call which route. Owner of both tables: fluxa.web.identity.bindings.

-- What each process serves, as it told when it last began to: what can be bound, and what `fluxa routes` shows.
create table fluxa.routes (
    process        text not null,
    name           text not null,
    path           text not null,
    methods        text[] not null,
    auth           text not null,
    bucket         text not null,
    roles          text[] not null,
    platform       boolean not null,
    body_max_bytes bigint not null,
    timeout_s      double precision not null,
    version        text not null,
    told_at        timestamptz not null default now(),
    primary key (process, name)
);

-- The roles that count for a route instead of its own; a route without a row here keeps its own.
create table fluxa.role_bindings (
    route      text primary key,
    roles      text[] not null
        check (roles <@ array['admin', 'manager', 'analyst', 'agent', 'integration', 'service']),
    changed_by text not null,
    reason     text not null,
    changed_at timestamptz not null default now()
);
