-- Switches for logic that is new or risky; one without a row here is as the code has it. Owner: fluxa.operations.flags.
create table fluxa.flags (
    name       text primary key check (name ~ '^[a-z][a-z0-9_.-]{0,99}$'),
    is_on      boolean not null,
    changed_by text not null,
    reason     text not null,
    changed_at timestamptz not null default now()
);
