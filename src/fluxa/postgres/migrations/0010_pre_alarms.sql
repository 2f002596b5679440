-- Alarms: what processes count, how each alarm stands, what was told of it, and what operators said about it.

-- Cumulative counters and gauges of each process, one row every few seconds; old ones are pruned.
create table fluxa.process_samples (
    process    text not null,
    service    text not null,
    host       text not null,
    pid        int not null,
    started_at timestamptz not null,
    at         timestamptz not null default clock_timestamp(),
    counters   jsonb not null default '{}',
    gauges     jsonb not null default '{}',
    ended      boolean not null default false,
    primary key (process, at)
);

create index process_samples_at on fluxa.process_samples (at);

-- Who evaluates: one process at a time, for as long as it says so.
create table fluxa.alarm_turns (
    only_row  boolean primary key default true check (only_row),
    evaluator text not null,
    at        timestamptz not null
);

create table fluxa.alarms (
    alarm         text not null,
    subject       text not null,
    phase         text not null check (phase in ('ok', 'pending', 'firing')),
    since         timestamptz not null,
    value         float8,
    detail        text not null default '',
    good_since    timestamptz,
    unknown_since timestamptz,
    told_firing   timestamptz,
    told_unknown  boolean not null default false,
    told_at       timestamptz,
    acked_by      text,
    acked_at      timestamptz,
    ack_note      text not null default '',
    updated_at    timestamptz not null,
    primary key (alarm, subject)
);

create table fluxa.alarm_history (
    history_id bigint generated always as identity primary key,
    at         timestamptz not null default clock_timestamp(),
    alarm      text not null,
    subject    text not null,
    what       text not null,
    value      float8,
    detail     text not null default '',
    by         text not null default ''
);

create index alarm_history_at on fluxa.alarm_history (at);

create table fluxa.alarm_silences (
    silence_id bigint generated always as identity primary key,
    alarm      text,
    subject    text,
    reason     text not null,
    by         text not null,
    begins_at  timestamptz not null default now(),
    ends_at    timestamptz not null
);

create index alarm_silences_end on fluxa.alarm_silences (ends_at);

comment on column fluxa.alarm_silences.alarm is 'which alarm; null for all';
comment on column fluxa.alarm_silences.subject is 'of which queue, service or schedule; null for all';
