-- Moments of the dashboard. All times are the database's, as several stations write; an index is used with a stable one only. Owner: history.py.

-- name: put_moment
insert into fluxa.dashboard_moments (is_fine, at, moment)
values (true, clock_timestamp(), $1::jsonb)
on conflict do nothing

-- name: put_coarse
insert into fluxa.dashboard_moments (is_fine, at, moment)
values (false, $1, $2::jsonb)
on conflict do nothing

-- name: read_unrolled
-- Fine ones of coarse steps that are over and not yet written; a coarse one has the time at which its step ends.
select extract(epoch from at)::float8 as at_s, moment::text as moment
from fluxa.dashboard_moments
where is_fine
    and at > coalesce((select max(at) from fluxa.dashboard_moments where not is_fine), '-infinity')
    and at <= date_bin(make_interval(secs => $1), statement_timestamp(), 'epoch')
order by at

-- name: trim_moments
delete from fluxa.dashboard_moments
where (is_fine and at < statement_timestamp() - make_interval(secs => $1))
    or (not is_fine and at < statement_timestamp() - make_interval(secs => $2))

-- name: read_fine
select extract(epoch from at)::float8 as at_s, moment::text as moment
from fluxa.dashboard_moments
where is_fine and at > statement_timestamp() - make_interval(secs => $1)
order by at

-- name: read_coarse
-- Coarse ones, and the fine ones that are not in them yet.
select extract(epoch from at)::float8 as at_s, moment::text as moment
from fluxa.dashboard_moments
where not is_fine and at > statement_timestamp() - make_interval(secs => $1)
union all
select extract(epoch from at)::float8 as at_s, moment::text as moment
from fluxa.dashboard_moments
where is_fine
    and at > coalesce(
        (select max(at) from fluxa.dashboard_moments where not is_fine), statement_timestamp() - make_interval(secs => $1)
    )
order by at_s

-- name: read_now
select statement_timestamp()
