-- What operators say about queues: one row a queue that was ever paused. Owner: controls.py.

-- name: put_control
insert into fluxa.queue_controls as control (queue, paused, reason, changed_by, changed_at)
values ($1, $2, $3, $4, clock_timestamp())
on conflict (queue) do update
set paused = excluded.paused, reason = excluded.reason, changed_by = excluded.changed_by, changed_at = excluded.changed_at
returning queue, paused, reason, changed_by, changed_at

-- name: list_controls
select queue, paused, reason, changed_by, changed_at from fluxa.queue_controls order by queue
