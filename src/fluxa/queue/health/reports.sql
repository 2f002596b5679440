-- What each worker process last said of each queue it serves. Owner: reports.py.
-- These rows are rewritten all the time: what did not change is not written, except to say "I still live".

-- name: put_reports
insert into fluxa.queue_reports as known (
    worker, queue, host, pid, in_flight, error_streak, last_success_at, last_failure_at, last_error_code, breaker,
    rests_until, done, retried, parked, reported_at
)
select $1, said.queue, $2, $3, said.in_flight, said.error_streak, said.last_success_at, said.last_failure_at,
    said.last_error_code, said.breaker, said.rests_until, said.done, said.retried, said.parked,
    clock_timestamp()
from unnest(
    $4::text[], $5::int[], $6::int[], $7::timestamptz[], $8::timestamptz[], $9::text[], $10::text[], $11::timestamptz[],
    $12::bigint[], $13::bigint[], $14::bigint[]
) as said (
    queue, in_flight, error_streak, last_success_at, last_failure_at, last_error_code, breaker, rests_until, done, retried,
    parked
)
on conflict (worker, queue) do update
set in_flight = excluded.in_flight,
    error_streak = excluded.error_streak,
    last_success_at = excluded.last_success_at,
    last_failure_at = excluded.last_failure_at,
    last_error_code = excluded.last_error_code,
    breaker = excluded.breaker,
    rests_until = excluded.rests_until,
    done = excluded.done,
    retried = excluded.retried,
    parked = excluded.parked,
    reported_at = excluded.reported_at

-- name: retire_reports
-- A worker that ends in order is gone at once, not when its rows are old.
update fluxa.queue_reports
set in_flight = 0, reported_at = clock_timestamp() - make_interval(secs => $2)
where worker = $1

-- name: list_reports
select worker, queue, host, pid, in_flight, error_streak, last_success_at, last_failure_at, last_error_code, breaker,
    rests_until, done, retried, parked, reported_at,
    greatest(0, extract(epoch from clock_timestamp() - reported_at))::float8 as age_s
from fluxa.queue_reports
order by queue, worker

-- name: prune_reports
-- Of workers long gone only the one stays that knows when its queue last did something right.
delete from fluxa.queue_reports as old
where old.reported_at < clock_timestamp() - make_interval(secs => $1)
    and exists (
        select from fluxa.queue_reports as other
        where other.queue = old.queue
            and (coalesce(other.last_success_at, '-infinity'), other.reported_at, other.worker)
                > (coalesce(old.last_success_at, '-infinity'), old.reported_at, old.worker)
    )
