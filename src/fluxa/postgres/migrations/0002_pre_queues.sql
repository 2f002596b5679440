-- Queues: what operators say, what workers report, what was done once, who redrives, what runs when.

-- What an operator has said about a queue.
create table fluxa.queue_controls (
    queue      text primary key,
    paused     boolean not null default false,
    reason     text not null default '',
    changed_by text not null default '',
    changed_at timestamptz not null default now()
);

-- What each worker process last reported of each queue it serves; small, rewritten every second or two.
create table fluxa.queue_reports (
    worker          text not null,
    queue           text not null,
    host            text not null,
    pid             int not null,
    in_flight       int not null,
    error_streak    int not null,
    done            bigint not null default 0,
    retried         bigint not null default 0,
    parked          bigint not null default 0,
    last_success_at timestamptz,
    last_failure_at timestamptz,
    last_error_code text,
    breaker         text not null,
    rests_until     timestamptz,
    reported_at     timestamptz not null default now(),
    primary key (worker, queue)
) with (fillfactor = 50);

-- Records whose effects are committed, for engines that cannot acknowledge in the same transaction.
create table fluxa.receipts (
    queue     text not null,
    record_id text collate "C" not null,
    redrives  int not null default 0,
    done_at   timestamptz not null default now(),
    primary key (queue, record_id, redrives)
);

create index receipts_done on fluxa.receipts using brin (done_at);

-- Signatures that were accepted, until they are too old to be accepted anyway.
create table fluxa.nonces (
    signer     text not null,
    nonce      text not null,
    expires_at timestamptz not null,
    primary key (signer, nonce)
);

create index nonces_expiry on fluxa.nonces (expires_at);

-- When a dead letter failed last, from what was written beside it, as text that compares: UTC, microseconds, fixed width.
-- A cast would stop every listing at one letter in which somebody wrote nonsense.
create function fluxa.failed_at(facts jsonb, parked_at timestamptz) returns text
language sql stable
as $$
    select case
        when facts ->> 'last_failed_at' is null
            then to_char(parked_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US')
        else left(
            rtrim(facts ->> 'last_failed_at', 'Z')
                || case when strpos(facts ->> 'last_failed_at', '.') = 0 then '.' else '' end || '000000',
            26
        )
    end collate "C"
$$;

-- A redrive is a task: what it means is frozen when it is made, and its cursor moves with each chunk's commit.
create table fluxa.redrives (
    redrive_id      text primary key,
    queue           text not null,
    state           text not null check (state in ('running', 'paused', 'cancelled', 'done', 'failed')),
    meant           jsonb not null,
    forced          text[] not null default '{}',
    redrives_max    int,
    rate_per_s      float8 check (rate_per_s > 0),
    up_to           bigint not null,
    cursor          bigint not null default 0,
    total           bigint not null,
    handled         bigint not null default 0,
    moved           bigint not null default 0,
    refused         bigint not null default 0,
    looped          bigint not null default 0,
    quarantined     bigint not null default 0,
    refused_by_code jsonb not null default '{}',
    runner          text not null default '',
    next_at         timestamptz not null default now(),
    detail          text not null default '',
    created_by      text not null default '',
    created_at      timestamptz not null default now(),
    updated_at      timestamptz not null default now(),
    ended_at        timestamptz
);

create index redrives_open on fluxa.redrives (next_at) where state = 'running';
create index redrives_made on fluxa.redrives (created_at desc, redrive_id desc);

-- Messages that were altered: kept as found, out of everybody's way, until a person decides.
create table fluxa.quarantine (
    quarantine_id bigint generated always as identity primary key,
    queue         text not null,
    message_id    text not null,
    raw           text not null,
    facts         text,
    parked_at     timestamptz not null,
    code          text not null,
    reason        text not null,
    redrive_id    text not null default '',
    found_at      timestamptz not null default now()
);

create index quarantine_queue on fluxa.quarantine (queue, quarantine_id);

-- Safe cron: one row a schedule, one row a run; a run belongs to its due time and exists once.
create table fluxa.schedules (
    name        text primary key,
    expression  text not null,
    timezone    text not null default 'UTC',
    queue       text not null,
    body        bytea not null,
    key         text,
    missed      text not null default 'once' check (missed in ('skip', 'once', 'all')),
    enabled     boolean not null default true,
    next_at     timestamptz not null,
    -- The program that declares it, in the form in which it last did; nobody: operators made it, or made it theirs.
    declared_by text,
    declared    text,
    changed_by  text not null default '',
    changed_at  timestamptz not null default now()
);

create index schedules_due on fluxa.schedules (next_at) where enabled;

create table fluxa.schedule_runs (
    name       text not null,
    due_at     timestamptz not null,
    status     text not null check (status in ('sent', 'manual', 'skipped', 'failed')),
    record_id  text not null default '',
    worker     text not null default '',
    detail     text not null default '',
    started_at timestamptz not null default now(),
    primary key (name, due_at)
);

create index schedule_runs_started on fluxa.schedule_runs using brin (started_at);
