-- Counters and gauges of processes. Owner: samples.py.

-- name: put_sample
with pruned as (
    delete from fluxa.process_samples where process = $1 and at < clock_timestamp() - make_interval(secs => $9)
)
insert into fluxa.process_samples (process, service, host, pid, started_at, counters, gauges, ended)
values ($1, $2, $3, $4, $5, $6::jsonb, $7::jsonb, $8)
on conflict (process, at) do nothing

-- name: read_increase
-- Of each process its last sample in the window, and the one to subtract: the last before the window; for a process
-- that began in the window nothing; else, if the older ones are pruned, the first in the window.
select last.service, last.counters::text as last,
    coalesce(
        (
            select before.counters
            from fluxa.process_samples as before
            where before.process = last.process and before.at < clock_timestamp() - make_interval(secs => $1)
            order by before.at desc
            limit 1
        ),
        case
            when last.started_at >= clock_timestamp() - make_interval(secs => $1) then '{}'::jsonb
            else (
                select first.counters
                from fluxa.process_samples as first
                where first.process = last.process
                order by first.at
                limit 1
            )
        end
    )::text as base
from (
    select distinct on (process) process, service, started_at, counters
    from fluxa.process_samples
    where at >= clock_timestamp() - make_interval(secs => $1)
    order by process, at desc
) as last

-- name: list_processes
select distinct on (process) process, service, host, pid, started_at, at, ended, gauges::text as gauges,
    greatest(0, extract(epoch from clock_timestamp() - at))::float8 as age_s,
    greatest(0, extract(epoch from clock_timestamp() - started_at))::float8 as started_age_s
from fluxa.process_samples
order by process, at desc

-- name: prune_samples
delete from fluxa.process_samples as old
where old.at < clock_timestamp() - make_interval(secs => $1)
