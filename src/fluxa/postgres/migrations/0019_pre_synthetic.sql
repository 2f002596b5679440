-- Synthetic checks: how each stands at each target, and the last rounds.

create table fluxa.synthetic_standings (
    name          text not null,
    target        text not null,
    judged        text not null check (judged in ('ok', 'failed', 'UNKNOWN')),
    is_known      boolean not null,
    failed_in_row int not null,
    ok_in_row     int not null,
    since         timestamptz not null,
    result        text not null check (result in ('ok', 'failed', 'UNKNOWN')),
    duration_s    float8,
    legs          jsonb not null,
    detail        text not null,
    checked_at    timestamptz not null default clock_timestamp(),
    primary key (name, target)
);

comment on column fluxa.synthetic_standings.judged is 'what is believed after so many results in a row; result is the last one';

create table fluxa.synthetic_runs (
    run_id   bigint generated always as identity primary key,
    at       timestamptz not null default clock_timestamp(),
    station  text not null,
    outcomes jsonb not null
);
