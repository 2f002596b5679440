-- What has been sent to each sink, and who sends. Owner: cursors.py.

-- name: take_sink
insert into fluxa.ledger_sinks as known (sink, holder, held_until)
values ($1, $2, clock_timestamp() + make_interval(secs => $3))
on conflict (sink) do update set holder = excluded.holder, held_until = excluded.held_until
where known.holder = excluded.holder or known.held_until < clock_timestamp()

-- name: leave_sink
update fluxa.ledger_sinks set held_until = '-infinity' where sink = $1 and holder = $2

-- name: list_unsent
-- Tenants in turn, whoever waits longest first, so that none keeps another waiting; of each its entries in order.
with behind as (
    select head.tenant, coalesce(sent.number, 0) as number,
        row_number() over (order by sent.at nulls first, head.tenant) as place
    from fluxa.ledger_heads as head
    left join fluxa.ledger_cursors as sent on sent.sink = $1 and sent.tenant = head.tenant
    where head.number > coalesce(sent.number, 0)
    order by place
    limit 20
)
select entry.*
from behind
cross join lateral (
    select tenant, number, version, at, actor, action, subject, detail, correlation_id, previous, hash
    from fluxa.ledger as entry
    where entry.tenant = behind.tenant and entry.number > behind.number
    order by entry.number
    limit $2
) as entry
order by behind.place, entry.number
limit $2

-- name: advance_cursors
-- Whoever delivered them: they have arrived. A cursor never goes back.
with sent as (
    insert into fluxa.ledger_cursors as known (sink, tenant, number, at)
    select $1, tenant, number, clock_timestamp() from unnest($2::text[], $3::bigint[]) as sent (tenant, number)
    on conflict (sink, tenant) do update set number = greatest(known.number, excluded.number), at = excluded.at
)
update fluxa.ledger_sinks set sent_at = clock_timestamp(), failing = false where sink = $1

-- name: note_failure
update fluxa.ledger_sinks set error = $2, error_at = clock_timestamp(), failing = true where sink = $1

-- name: list_sinks
with named as (
    select unnest($1::text[]) as sink
    union
    select sink from fluxa.ledger_sinks
)
select named.sink, known.sent_at, coalesce(known.failing, false) as failing, known.error, known.error_at,
    lag.sent, lag.behind, lag.oldest_s
from named
left join fluxa.ledger_sinks as known on known.sink = named.sink
cross join lateral (
    select coalesce(sum(coalesce(sent.number, 0)), 0)::bigint as sent,
        coalesce(sum(greatest(0, head.number - coalesce(sent.number, 0))), 0)::bigint as behind,
        greatest(0, coalesce(extract(epoch from clock_timestamp() - min(next.at)), 0))::float8 as oldest_s
    from fluxa.ledger_heads as head
    left join fluxa.ledger_cursors as sent on sent.sink = named.sink and sent.tenant = head.tenant
    left join lateral (
        select entry.at from fluxa.ledger as entry
        where entry.tenant = head.tenant and entry.number > coalesce(sent.number, 0)
        order by entry.number
        limit 1
    ) as next on head.number > coalesce(sent.number, 0)
) as lag
order by named.sink

-- name: list_cursors
select sink, tenant, number, at from fluxa.ledger_cursors where $1::text is null or sink = $1 order by sink, tenant
