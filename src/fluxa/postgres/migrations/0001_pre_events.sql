-- Events, their identities, what failed on the way, API keys, request keys and schemas.
create schema if not exists fluxa;

create table fluxa.migrations (
    number     int primary key,
    phase      text not null check (phase in ('pre', 'post')),
    name       text not null,
    checksum   text not null,
    applied_at timestamptz not null default now()
);

-- One row an event, in monthly partitions by arrival; whole months are dropped when they are too old.
-- Position: (tx, ord). Rows of a transaction that is older than every running one can no longer gain
-- neighbours, so a reader that stays behind pg_snapshot_xmin() in this order never misses a late commit.
create table fluxa.events (
    received_at     timestamptz not null,
    tx              xid8 not null default pg_current_xact_id(),
    ord             int not null,
    tenant          text collate "C" not null,
    source          text collate "C" not null,
    id              text collate "C" not null,
    type            text collate "C" not null,
    subject         text collate "C",
    time            timestamptz,
    datacontenttype text,
    dataschema      text,
    extensions      jsonb,
    correlation_id  text collate "C" not null,
    sha256          bytea not null,
    data            bytea,
    data_key        text,
    data_bytes      int not null,
    attempt         smallint not null,
    enqueued_at     timestamptz not null,
    claimed_at      timestamptz not null,
    stored_at       timestamptz not null default now()
) partition by range (received_at);

comment on column fluxa.events.data is 'the bytes as received; null when they are in the object store under data_key';
comment on column fluxa.events.time is 'when it happened, as the producer says';
comment on column fluxa.events.received_at is 'when it came through the door';

create index events_position on fluxa.events (tenant, tx, ord);
create index events_type on fluxa.events (tenant, type);
create index events_source on fluxa.events (tenant, source);
create index events_subject on fluxa.events (tenant, subject) where subject is not null;
create index events_correlation on fluxa.events (correlation_id);
create index events_time on fluxa.events using brin (time) with (pages_per_range = 16, autosummarize = on);
create index events_received on fluxa.events using brin (received_at) with (pages_per_range = 16, autosummarize = on);

-- Months are added without stopping writers: the empty table is made alone, then attached.
create function fluxa.ensure_month(month date) returns boolean
language plpgsql as $$
declare
    first constant date := make_date(extract(year from month)::int, extract(month from month)::int, 1);
    name constant text := 'events_' || to_char(first, 'YYYY_MM');
begin
    if to_regclass(format('fluxa.%I', name)) is not null then
        return false;
    end if;
    perform pg_advisory_xact_lock(hashtext('fluxa.events partitions'));
    -- A query sees what the process before us committed; to_regclass may still answer from its cache.
    if exists (select from pg_class where relname = name and relnamespace = 'fluxa'::regnamespace) then
        return false;
    end if;
    execute format('create table fluxa.%I (like fluxa.events including all)', name);
    execute format(
        'alter table fluxa.events attach partition fluxa.%I for values from (%L) to (%L)',
        name, first::timestamp at time zone 'UTC', (first + interval '1 month') at time zone 'UTC');
    return true;
end;
$$;

create function fluxa.drop_month(month date) returns boolean
language plpgsql as $$
declare
    name constant text := 'events_' || to_char(month, 'YYYY_MM');
begin
    perform pg_advisory_xact_lock(hashtext('fluxa.events partitions'));
    if not exists (select from pg_class where relname = name and relnamespace = 'fluxa'::regnamespace) then
        return false;
    end if;
    execute format('alter table fluxa.events detach partition fluxa.%I', name);
    execute format('drop table fluxa.%I', name);
    return true;
end;
$$;

-- The identity of an event is (tenant, source, id); this table has one row for each, ever stored once.
create table fluxa.idempotency_keys (
    tenant       text collate "C" not null,
    id           text collate "C" not null,
    source       text collate "C" not null,
    received_at  timestamptz not null,
    tx           xid8 not null default pg_current_xact_id(),
    ord          int not null,
    seen         int not null default 1,
    last_seen_at timestamptz not null default now(),
    primary key (tenant, id, source)
);

create index idempotency_keys_received on fluxa.idempotency_keys using brin (received_at);

comment on column fluxa.idempotency_keys.seen is 'how many times it was sent and acknowledged; stored once all the same';

-- Every failed attempt at an event, for its trace; successes are in events, parked ones in the dead-letter queue too.
create table fluxa.failures (
    failure_id     bigint generated always as identity primary key,
    at             timestamptz not null default now(),
    tenant         text collate "C" not null,
    correlation_id text collate "C" not null,
    source         text collate "C",
    id             text collate "C",
    queue          text not null,
    stage          text not null,
    attempt        int not null,
    error_code     text not null,
    detail         text not null,
    parked         boolean not null
);

create index failures_correlation on fluxa.failures (correlation_id);
create index failures_event on fluxa.failures (tenant, id);
create index failures_at on fluxa.failures using brin (at);

create table fluxa.api_keys (
    key_id     text primary key,
    tenant     text collate "C" not null,
    name       text not null,
    hash       bytea not null,
    created_at timestamptz not null default now(),
    revoked_at timestamptz
);

comment on column fluxa.api_keys.hash is 'SHA-256 of the secret part; the secret itself is shown once and kept nowhere';

-- The stored answers to requests that carried an Idempotency-Key.
create table fluxa.request_keys (
    tenant       text collate "C" not null,
    key          text collate "C" not null,
    fingerprint  bytea not null,
    status       int,
    content_type text,
    body         bytea,
    locked_until timestamptz not null,
    expires_at   timestamptz not null,
    primary key (tenant, key)
);

create index request_keys_expiry on fluxa.request_keys (expires_at);

create table fluxa.schemas (
    tenant     text collate "C" not null,
    type       text collate "C" not null,
    version    int not null default 1,
    schema     jsonb not null,
    updated_at timestamptz not null default now(),
    primary key (tenant, type)
);

-- The text of JSON data, for people with psql: a view over the bytes that the pipeline keeps.
create function fluxa.try_jsonb(content bytea) returns jsonb
language plpgsql immutable parallel safe as $$
begin
    return convert_from(content, 'UTF8')::jsonb;
exception when others then
    return null;
end;
$$;

create view fluxa.events_json as
select tenant, source, id, type, subject, time, correlation_id, received_at, stored_at,
       fluxa.try_jsonb(data) as data
from fluxa.events;
