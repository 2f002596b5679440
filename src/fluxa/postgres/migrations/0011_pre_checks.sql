-- Checks that one station at a time does now and then: whose turn it is, what was found, and how far the audit log is verified.

create table fluxa.check_turns (
    name       text primary key,
    holder     text not null,
    held_until timestamptz not null,
    checked_at timestamptz,
    faults     bigint,
    detail     text not null default '',
    state      jsonb not null default '{}'
);

comment on column fluxa.check_turns.faults is 'null: it could not be found out';

-- The last entry of each chain up to which it was found whole: the next check begins there.
create table fluxa.ledger_checkpoints (
    tenant text collate "C" primary key,
    number bigint not null check (number >= 1),
    hash   bytea not null check (octet_length(hash) = 32),
    at     timestamptz not null
);

select fluxa.keep_apart('fluxa.ledger_checkpoints');
