-- What the runner does with schedules, each in a short transaction. Owner: runner.py; the clock is Postgres'.

-- name: read_now
select clock_timestamp() as now

-- name: list_next
select name, expression, timezone, next_at, clock_timestamp() as now from fluxa.schedules where enabled

-- name: list_queues
select distinct queue from fluxa.schedules where enabled and queue = any($1)

-- name: limit_idle
-- A machine that freezes in the middle must not keep its schedule from the others.
select set_config('idle_in_transaction_session_timeout', '15s', true)

-- name: claim_due
-- Only for queues that this process knows and has made: another one may know the others.
select name, expression, timezone, queue, body, key, missed, next_at, now() as now
from fluxa.schedules
where enabled and next_at <= now() and queue = any($1)
order by next_at
limit 1
for update skip locked

-- name: insert_run
insert into fluxa.schedule_runs (name, due_at, status, record_id, worker, detail, started_at)
values ($1, $2, $3, $4, $5, $6, clock_timestamp())
on conflict (name, due_at) do nothing

-- name: fail_run
update fluxa.schedule_runs set status = 'failed', record_id = '', detail = $3 where name = $1 and due_at = $2

-- name: move_next
update fluxa.schedules set next_at = $2 where name = $1

-- name: correct_next
-- Only from where it was seen: whoever has moved it since knows better.
update fluxa.schedules set next_at = $3 where name = $1 and next_at = $2

-- name: read_wait
select extract(epoch from min(next_at) - clock_timestamp())::float8 as wait_s
from fluxa.schedules where enabled and queue = any($1)
