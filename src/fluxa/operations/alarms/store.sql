-- How alarms stand, what happened to them, and what operators said. Owner: store.py.

-- name: take_turn
insert into fluxa.alarm_turns as known (evaluator, at)
values ($1, clock_timestamp())
on conflict (only_row) do update set evaluator = excluded.evaluator, at = excluded.at
where known.evaluator = excluded.evaluator or known.at < clock_timestamp() - make_interval(secs => $2)

-- name: hold_turn
-- Locked until the end: nobody else writes what this evaluator has found, and it writes nothing once another took over.
select clock_timestamp() as now from fluxa.alarm_turns where evaluator = $1 for update

-- name: leave_turn
update fluxa.alarm_turns set at = '-infinity' where evaluator = $1

-- name: read_turn
select evaluator, greatest(0, extract(epoch from clock_timestamp() - at))::float8 as age_s
from fluxa.alarm_turns
where at > '-infinity'

-- name: list_alarms
select * from fluxa.alarms order by (phase = 'firing') desc, (phase = 'pending') desc, alarm, subject

-- name: put_alarm
insert into fluxa.alarms (
    alarm, subject, phase, since, value, detail, good_since, unknown_since, told_firing, told_unknown, told_at, updated_at
)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
on conflict (alarm, subject) do update
set phase = excluded.phase,
    since = excluded.since,
    value = excluded.value,
    detail = excluded.detail,
    good_since = excluded.good_since,
    unknown_since = excluded.unknown_since,
    told_firing = excluded.told_firing,
    told_unknown = excluded.told_unknown,
    told_at = excluded.told_at,
    updated_at = excluded.updated_at

-- name: forget_alarm
delete from fluxa.alarms where alarm = $1 and subject = $2

-- name: clear_ack
update fluxa.alarms set acked_by = null, acked_at = null, ack_note = '' where alarm = $1 and subject = $2

-- name: put_ack
update fluxa.alarms
set acked_by = $3, acked_at = clock_timestamp(), ack_note = $4
where alarm = $1 and ($2::text is null or subject = $2) and phase = 'firing'
returning subject

-- name: drop_ack
update fluxa.alarms
set acked_by = null, acked_at = null, ack_note = ''
where alarm = $1 and ($2::text is null or subject = $2) and acked_by is not null
returning subject

-- name: insert_history
insert into fluxa.alarm_history (alarm, subject, what, value, detail, by) values ($1, $2, $3, $4, $5, $6)

-- name: list_history
select at, alarm, subject, what, value, detail, by
from fluxa.alarm_history
where ($1::text is null or alarm = $1)
order by history_id desc
limit $2

-- name: prune_history
delete from fluxa.alarm_history where at < clock_timestamp() - make_interval(days => $1)

-- name: insert_silence
insert into fluxa.alarm_silences (alarm, subject, reason, by, ends_at)
values ($1, $2, $3, $4, clock_timestamp() + make_interval(secs => $5))
returning *

-- name: end_silence
update fluxa.alarm_silences
set ends_at = clock_timestamp()
where silence_id = $1 and ends_at > clock_timestamp()
returning *

-- name: list_silences
select * from fluxa.alarm_silences where $1 or ends_at > clock_timestamp() order by silence_id desc limit 500
