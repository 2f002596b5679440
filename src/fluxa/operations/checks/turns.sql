-- Whose turn a check is, and what it last found. Owner: turns.py.

-- name: take_check
insert into fluxa.check_turns as known (name, holder, held_until)
values ($1, $2, clock_timestamp() + make_interval(secs => $3))
on conflict (name) do update set holder = excluded.holder, held_until = excluded.held_until
where known.holder = excluded.holder or known.held_until < clock_timestamp()
returning state::text

-- name: put_check
-- The row stays locked until the end: what goes with it is written by the one whose turn it is, or not at all.
update fluxa.check_turns
set checked_at = clock_timestamp(), faults = $3, detail = $4, state = $5::jsonb
where name = $1 and holder = $2

-- name: miss_check
update fluxa.check_turns set faults = null, detail = $3 where name = $1 and holder = $2

-- name: leave_check
update fluxa.check_turns set held_until = '-infinity' where name = $1 and holder = $2

-- name: read_check
select faults, detail, extract(epoch from clock_timestamp() - checked_at)::float8 as age_s
from fluxa.check_turns
where name = $1
