-- Redrive tasks: one row each; the row's lock says who moves its letters now.

-- name: insert_redrive
-- A second call with the same id finds the first one's task.
insert into fluxa.redrives (
    redrive_id, queue, state, meant, forced, redrives_max, rate_per_s, up_to, total, created_by, ended_at
)
values (
    $1, $2, case when $8::bigint = 0 then 'done' else 'running' end, $3::text::jsonb, $4, $5, $6, $7, $8, $9,
    case when $8::bigint = 0 then now() end
)
on conflict (redrive_id) do nothing

-- name: find_redrive
select to_jsonb(task)::text as task from fluxa.redrives as task where redrive_id = $1

-- name: list_redrives
select to_jsonb(task)::text as task
from fluxa.redrives as task
where ($1::text is null or queue = $1) and ($2::text[] is null or state = any ($2))
order by created_at desc, redrive_id desc
limit $3

-- name: change_redrive
update fluxa.redrives as task
set state = $2,
    detail = '',
    runner = '',
    next_at = clock_timestamp(),
    updated_at = clock_timestamp(),
    ended_at = case when $2 = 'cancelled' then clock_timestamp() end
where redrive_id = $1 and state = any ($3::text[])
returning to_jsonb(task)::text as task

-- name: pick_due
-- The task whose turn is next. One that another runner has in hand is left to it for $2 seconds: only one at a time
-- can move its letters, and the others would wake up for nothing.
select to_jsonb(task)::text as task,
    extract(epoch from due_at - clock_timestamp())::float8 as due_in_s,
    count(*) over () as running
from (
    select redrive.*,
        case when runner in ('', $1) then next_at else next_at + make_interval(secs => $2) end as due_at
    from fluxa.redrives as redrive
    where state = 'running' and ($3::text is null or redrive_id = $3)
) as task
order by due_at
limit 1

-- name: lock_redrive
-- Nothing, if somebody else has it in hand, was there since, or ended it.
select refused_by_code::text as refused_by_code
from fluxa.redrives
where redrive_id = $1 and state = 'running' and cursor = $2
for update skip locked

-- name: advance_redrive
-- The pace is kept here, so that any number of runners keep it together. A runner that is late makes up for a second
-- at most; what was lost to a pause or a crash is not made up for, since nobody expects a burst after it.
update fluxa.redrives as task
set cursor = $2,
    handled = handled + $3,
    moved = moved + $4,
    refused = refused + $5,
    looped = looped + $6,
    quarantined = quarantined + $7,
    refused_by_code = $8::text::jsonb,
    runner = $9,
    state = case when $10 then 'done' else state end,
    ended_at = case when $10 then clock_timestamp() end,
    next_at = case
        when rate_per_s is null then clock_timestamp()
        else greatest(
            next_at, clock_timestamp() - case when runner = $9 then interval '1 second' else interval '0' end
        ) + make_interval(secs => $4 / rate_per_s)
    end,
    updated_at = clock_timestamp()
where redrive_id = $1
returning to_jsonb(task)::text as task

-- name: fail_redrive
update fluxa.redrives
set state = 'failed', detail = $2, updated_at = clock_timestamp(), ended_at = clock_timestamp()
where redrive_id = $1 and state = 'running'
