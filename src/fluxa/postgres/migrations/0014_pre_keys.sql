-- Keys that end by themselves, that may less than their role, that belong to a program of the owner's, and whose secret is replaced.
create table fluxa.service_accounts (
    account_id text primary key,
    tenant     text collate "C" not null,
    name       text not null,
    role       text not null check (role in ('admin', 'manager', 'analyst', 'agent', 'integration', 'service')),
    disabled   boolean not null default false,
    created_at timestamptz not null default now(),
    changed_at timestamptz not null default now(),
    unique (tenant, name)
);
select fluxa.keep_apart('fluxa.service_accounts');

alter table fluxa.api_keys
    add column expires_at timestamptz,
    add column scopes text[] check (scopes <> '{}'),
    add column account_id text references fluxa.service_accounts,
    add column last_used_at timestamptz,
    add column rotated_at timestamptz,
    add column old_hash bytea,
    add column old_until timestamptz,
    add check ((old_hash is null) = (old_until is null));

create index api_keys_account on fluxa.api_keys (account_id) where account_id is not null;

comment on column fluxa.api_keys.scopes is 'what of its role it may; null: all of it';
comment on column fluxa.api_keys.old_hash is 'of the secret before the last rotation, which is taken until old_until';

-- One row that counts changes which take something away. A process that hears no wake-ups compares it every two seconds.
create table fluxa.api_key_changes (
    one    boolean primary key default true check (one),
    number bigint not null
);
insert into fluxa.api_key_changes (number) values (0);
