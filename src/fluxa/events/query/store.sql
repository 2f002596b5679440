-- The reads of events, their identities and failures, each for one tenant. The writes are in events/store.sql.

-- name: find_event
-- The identity knows the month and the position, so one partition and one index are touched.
select e.source, e.id, e.type, e.subject, e.time, e.datacontenttype, e.dataschema, e.extensions,
       e.correlation_id, e.sha256, e.data, e.data_key, e.data_bytes, e.attempt, e.received_at, e.stored_at,
       e.tx, e.ord
from fluxa.idempotency_keys k
join fluxa.events e
  on e.received_at = k.received_at and e.tenant = k.tenant and e.tx = k.tx and e.ord = k.ord
where k.tenant = $1 and k.id = $2 and ($3::text is null or k.source = $3)
order by k.source
limit 11;

-- name: list_events
-- A page ends by number or by weight, whichever comes first; `found` says how many there were to choose from.
with page as (
    select source, id, type, subject, time, datacontenttype, dataschema, extensions,
           correlation_id, sha256, case when data_bytes <= $13 then data end as data, data_key, data_bytes,
           attempt, received_at, stored_at, tx, ord,
           coalesce(octet_length(extensions::text), 0) + case when data_bytes <= $13 then data_bytes else 0 end as weight
    from fluxa.events
    where tenant = $1
      and ($2::text is null or type = $2)
      and ($3::text is null or source = $3)
      and ($4::text is null or subject = $4)
      and ($5::text is null or correlation_id = $5)
      and ($6::timestamptz is null or time >= $6)
      and ($7::timestamptz is null or time < $7)
      and ($8::timestamptz is null or received_at >= $8)
      and ($9::timestamptz is null or received_at < $9)
      and ($10::xid8 is null or (tx, ord) < ($10, $11::int))
    order by tx desc, ord desc
    limit $12
), weighed as (
    select *, sum(weight) over (order by tx desc, ord desc) - weight as before, count(*) over () as found from page
)
select * from weighed where before < $14 order by tx desc, ord desc;

-- name: find_horizon
-- Every transaction before this one has ended: what they wrote is visible, and they will write no more.
select pg_snapshot_xmin(pg_current_snapshot());

-- name: tail_events
-- Without filters: each read then gets on by a whole batch, however rare the events are that somebody waits for.
with batch as (
    select source, id, type, subject, time, datacontenttype, dataschema, extensions,
           correlation_id, sha256, case when data_bytes <= $6 then data end as data, data_key, data_bytes,
           attempt, received_at, stored_at, tx, ord,
           coalesce(octet_length(extensions::text), 0) + case when data_bytes <= $6 then data_bytes else 0 end as weight
    from fluxa.events
    where tenant = $1 and (tx, ord) > ($2::xid8, $3::int) and tx < $4::xid8
    order by tx, ord
    limit $5
), weighed as (
    select *, sum(weight) over (order by tx, ord) - weight as before, count(*) over () as found from batch
)
select * from weighed where before < $7 order by tx, ord;

-- name: trace_events
select e.source, e.id, e.type, e.attempt, e.received_at, e.enqueued_at, e.claimed_at, e.stored_at, k.seen
from (
    select * from fluxa.events
    where tenant = $1 and correlation_id = $2 and ($3::text is null or id = $3)
    order by received_at, tx, ord
    limit $4
) e
join fluxa.idempotency_keys k on k.tenant = e.tenant and k.id = e.id and k.source = e.source
order by e.received_at, e.tx, e.ord;

-- name: trace_failures
-- The first events of the story that failed, each with all its failures: a cut one would seem to be retrying.
with chosen as (
    select id, source, min(failure_id) as first
    from fluxa.failures
    where tenant = $1 and correlation_id = $2 and ($3::text is null or id = $3)
    group by id, source
    order by first
    limit $4
)
select f.source, f.id, f.stage, f.attempt, f.error_code, f.detail, f.parked, f.at,
       exists (select from fluxa.idempotency_keys k where k.tenant = $1 and k.id = f.id and k.source = f.source) as stored
from chosen c
join fluxa.failures f
  on f.tenant = $1 and f.correlation_id = $2 and f.id = c.id and f.source is not distinct from c.source
order by c.first, f.failure_id;
