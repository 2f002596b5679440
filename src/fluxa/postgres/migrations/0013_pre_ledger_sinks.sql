-- Places that the audit log is sent on to: who sends, what failed, and how far each chain has arrived.

create table fluxa.ledger_sinks (
    sink       text primary key,
    holder     text not null,
    held_until timestamptz not null,
    sent_at    timestamptz,
    failing    boolean not null default false,
    error      text,
    error_at   timestamptz
);

create table fluxa.ledger_cursors (
    sink   text not null,
    tenant text collate "C" not null,
    number bigint not null check (number >= 1),
    at     timestamptz not null,
    primary key (sink, tenant)
);

select fluxa.keep_apart('fluxa.ledger_cursors');
