-- What the built-in dashboard draws: one row a moment, fine ones for hours, coarse ones for days. Owner: fluxa.operations.dashboard.
create table fluxa.dashboard_moments (
    is_fine boolean not null,
    at      timestamptz not null,
    moment  jsonb not null,
    primary key (is_fine, at)
);

comment on column fluxa.dashboard_moments.at is 'up to when it reaches';
