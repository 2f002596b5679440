-- Schedules and their history. Owner: schedules.py; the clock is Postgres', since machines disagree about the time.

-- name: read_clock
select clock_timestamp() as now

-- name: list_schedules
select schedule.name, expression, timezone, queue, body, key, missed, enabled, next_at, declared_by, declared, changed_by,
    changed_at, run.due_at, run.status, run.detail
from fluxa.schedules as schedule
left join lateral (
    select due_at, status, detail from fluxa.schedule_runs as run
    where run.name = schedule.name order by due_at desc limit 1
) as run on true
order by schedule.name

-- name: read_schedule
select name, expression, timezone, queue, body, key, missed, enabled, next_at, declared_by, declared, changed_by, changed_at,
    now() as now
from fluxa.schedules where name = $1 for update

-- name: insert_schedule
insert into fluxa.schedules (
    name, expression, timezone, queue, body, key, missed, next_at, declared_by, declared, changed_by, changed_at
)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, clock_timestamp())
on conflict (name) do nothing

-- name: update_schedule
update fluxa.schedules
set expression = $2, timezone = $3, queue = $4, body = $5, key = $6, missed = $7, next_at = $8, declared_by = $9,
    declared = $10, changed_by = $11, changed_at = clock_timestamp()
where name = $1

-- name: delete_schedule
delete from fluxa.schedules where name = $1

-- name: set_enabled
update fluxa.schedules
set enabled = $2, next_at = $3, changed_by = $4, changed_at = clock_timestamp()
where name = $1

-- name: lock_declarations
-- Programs that start at once declare one after the other.
select pg_advisory_xact_lock(hashtextextended('fluxa cron declarations', 0))

-- name: list_declared
select name, expression, timezone, queue, body, key, missed, declared_by, declared
from fluxa.schedules where declared_by = $1

-- name: set_declared
update fluxa.schedules set declared_by = $2, declared = $3 where name = $1

-- name: list_runs
select name, due_at, status, record_id, worker, detail, started_at
from fluxa.schedule_runs
where ($1::text is null or name = $1) and ($2::text is null or status = $2)
order by started_at desc, due_at desc
limit $3

-- name: delete_old_runs
delete from fluxa.schedule_runs where started_at < clock_timestamp() - make_interval(days => $1)
