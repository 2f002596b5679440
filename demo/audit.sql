What the demonstration asks the database, to compare it with the sender's own book.

-- name: list_stored
select source, id, count(*) as times from fluxa.events where tenant = $1 group by source, id;

-- name: list_seen
select source, id, seen from fluxa.idempotency_keys where tenant = $1;

-- name: list_parked
select source, id, error_code from fluxa.failures where tenant = $1 and parked;

-- name: count_stored_since
-- Rows of transactions from $2 on that are older than every running one: none of them can be missed or counted twice.
select pg_snapshot_xmin(pg_current_snapshot())::text as horizon, count(events.id) as stored
from fluxa.events where tenant = $1 and tx >= $2::text::xid8 and tx < pg_snapshot_xmin(pg_current_snapshot());

-- name: count_parked
select count(*) from fluxa.failures where tenant = $1 and parked;

-- name: measure_latency
select percentile_cont(array[0.5, 0.95, 0.99, 1.0]) within group (order by extract(epoch from stored_at - received_at))
from fluxa.events where tenant = $1 and received_at >= $2;

-- name: list_flow
-- Events a second: when they came through the door, and when they were stored.
select second,
       count(*) filter (where what = 'received') as received,
       count(*) filter (where what = 'stored') as stored
from (
    select date_trunc('second', received_at) as second, 'received' as what from fluxa.events where tenant = $1 and received_at >= $2
    union all
    select date_trunc('second', stored_at), 'stored' from fluxa.events where tenant = $1 and received_at >= $2
) as moments
group by second
order by second;

-- name: list_latency
-- Seconds from the door to the table, by the second of arrival.
select date_trunc('second', received_at) as second,
       percentile_cont(array[0.5, 0.95, 0.99]) within group (order by extract(epoch from stored_at - received_at))
           as seconds
from fluxa.events where tenant = $1 and received_at >= $2
group by second
order by second;

-- name: find_busiest_story
-- The aircraft with the most flights on one day.
select correlation_id, count(*) as flights
from fluxa.events where tenant = $1 and type like 'flight.%'
group by correlation_id order by count(*) desc, correlation_id limit 1;
