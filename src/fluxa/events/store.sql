The writes of fluxa.events, fluxa.idempotency_keys and fluxa.failures; reads for people are in events/query.

-- name: claim_identities
-- In the order of the key, as every writer does, so that two of them cannot wait for each other.
-- A row of this statement that was inserted has no xmax; one that was there before has been locked and updated.
with written as (
    insert into fluxa.idempotency_keys as known (tenant, id, source, received_at, ord, seen)
    select tenant, id, source, received_at, ord, seen
    from unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::int[], $6::int[])
        as given (tenant, id, source, received_at, ord, seen)
    order by tenant collate "C", id collate "C", source collate "C"
    on conflict (tenant, id, source)
        do update set seen = known.seen + excluded.seen, last_seen_at = now()
    returning ord, xmax = 0 as won
)
select ord from written where won;

-- name: insert_failures
insert into fluxa.failures
    (tenant, correlation_id, source, id, queue, stage, attempt, error_code, detail, parked)
select tenant, correlation_id, source, id, queue, stage, attempt, error_code, detail, parked
from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::int[], $8::text[],
            $9::text[], $10::bool[])
    as given (tenant, correlation_id, source, id, queue, stage, attempt, error_code, detail, parked);

-- name: erase_events
-- By the tenant, with which an index of each month begins: few events, as only those of a tenant of our own are erased.
delete from fluxa.events
where tenant = $1 and (id = any ($2::text[]) or received_at < clock_timestamp() - make_interval(secs => $3));

-- name: erase_identities
delete from fluxa.idempotency_keys
where tenant = $1 and (id = any ($2::text[]) or received_at < clock_timestamp() - make_interval(secs => $3));

-- name: erase_failures
delete from fluxa.failures
where tenant = $1 and (id = any ($2::text[]) or at < clock_timestamp() - make_interval(secs => $3));
