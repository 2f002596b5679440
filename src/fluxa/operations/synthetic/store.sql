-- How synthetic checks stand, and what they found before. Owner: store.py.

-- name: list_standings
select name, target, judged, is_known, failed_in_row, ok_in_row, since, result, duration_s, legs::text as legs, detail,
    greatest(0, extract(epoch from clock_timestamp() - checked_at))::float8 as age_s
from fluxa.synthetic_standings
order by (judged = 'failed') desc, name, target

-- name: clear_standings
delete from fluxa.synthetic_standings

-- name: put_standings
insert into fluxa.synthetic_standings (
    name, target, judged, is_known, failed_in_row, ok_in_row, since, result, duration_s, legs, detail
)
select name, target, judged, is_known, failed_in_row, ok_in_row, since, result, duration_s, legs::jsonb, detail
from unnest($1::text[], $2::text[], $3::text[], $4::bool[], $5::int[], $6::int[], $7::timestamptz[], $8::text[],
            $9::float8[], $10::text[], $11::text[])
    as given (name, target, judged, is_known, failed_in_row, ok_in_row, since, result, duration_s, legs, detail)

-- name: put_run
-- So many rounds are kept, whatever is found and however often.
with pruned as (
    delete from fluxa.synthetic_runs
    where run_id <= (select max(run_id) from fluxa.synthetic_runs) - $3::int
)
insert into fluxa.synthetic_runs (station, outcomes) values ($1, $2::jsonb)

-- name: list_history
select run.at, run.station, found.name, found.target, found.result, found.duration_s, found.legs::text as legs,
    found.detail
from fluxa.synthetic_runs run
cross join lateral jsonb_to_recordset(run.outcomes)
    as found (name text, target text, result text, duration_s float8, legs jsonb, detail text)
where ($1::text is null or found.name = $1)
  and ($2::text is null or found.target = $2)
  and (not $3::bool or found.result <> 'ok')
order by run.run_id desc, found.name, found.target
limit $4
