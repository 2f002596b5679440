-- Queues that keep keys apart. The key of a message is PGMQ's own: the header x-pgmq-group.
-- {name} is a queue's table without schema; the other places are as in pgmq.sql and facts.sql.
-- Key and place are compared as a pair, so that no plan can walk the whole table by the primary key instead.
-- The statement's time is used, not the clock: an index can be searched by it.

-- name: check_key_headers
select exists (select from pg_attribute where attrelid = $1::text::regclass and attname = 'headers' and not attisdropped)

-- name: find_index
-- Asked first: even to find that an index is there, creating it takes a lock that waits for everybody.
select to_regclass('pgmq.' || $1::text) is not null

-- name: create_order_index
create index if not exists {name}_fluxa_order on {queue} ((headers ->> 'x-pgmq-group'), msg_id)

-- name: create_due_index
create index if not exists {name}_fluxa_due on {queue} ((headers ->> 'x-pgmq-group'), vt)

-- name: create_lease_index
-- Only what was claimed is in it, so that a key's leases are found among however many messages that wait.
create index if not exists {name}_fluxa_leases on {queue} ((headers ->> 'x-pgmq-group'), vt) where {leased}

-- name: insert_keyed
insert into {queue} (vt, message, headers)
select clock_timestamp() + make_interval(secs => $3), given.message::jsonb,
    case when given.key is not null then jsonb_build_object('x-pgmq-group', given.key) end
from unnest($1::text[], $2::text[]) with ordinality as given (message, key, place)
order by given.place
returning msg_id

-- name: look_above
-- The keys of ready messages with ids above $1; of messages without one, the ids.
with seen as (
    select msg_id, headers ->> 'x-pgmq-group' as key
    from {queue}
    where msg_id > $1 and vt <= statement_timestamp()
    order by msg_id
    limit $2
)
select key, max(msg_id) as last_id, count(*) as messages, case when key is null then array_agg(msg_id order by msg_id) end as ids
from seen
group by key
order by min(msg_id)

-- name: look_between
select key, max(msg_id) as last_id, count(*) as messages, case when key is null then array_agg(msg_id order by msg_id) end as ids
from (
    select msg_id, headers ->> 'x-pgmq-group' as key
    from {queue}
    where msg_id > $1 and msg_id <= $2 and vt <= statement_timestamp()
) as seen
group by key
order by min(msg_id)

-- name: look_due
-- As claim_due, for keys: what came due from $1 on, up to id $2.
with seen as (
    select msg_id, vt, headers ->> 'x-pgmq-group' as key
    from {queue}
    where vt >= $1 and vt <= statement_timestamp() and msg_id + 0 <= $2
    order by vt
    limit $3
)
select key, max(vt) as last_vt, count(*) as messages, case when key is null then array_agg(msg_id order by msg_id) end as ids
from seen
group by key
order by min(msg_id)

-- name: lock_keys
-- Claims of a queue take turns; what they count is then true when they act on it. Whoever stops in the middle is ended
-- by the server, so that a frozen worker holds up the others for seconds only.
select pg_advisory_xact_lock(hashtextextended('fluxa keys ' || $1::text, 0)),
    set_config('idle_in_transaction_session_timeout', '5000', true)

-- name: take_ordered
-- For each key its oldest message, claimed if it is ready and nothing of the key is under lease (a message that was
-- committed late may be older than one that is). $5 are messages without a key.
with heads as materialized (
    select given.key, head.msg_id, head.vt, head.leased, head.more,
        exists (
            select from {queue}
            where headers ->> 'x-pgmq-group' = given.key and vt > statement_timestamp() and {leased}
        ) as busy
    from unnest($1::text[], $2::bigint[]) as given (key, low)
    left join lateral (
        select min(two.msg_id) as msg_id, (array_agg(two.vt order by two.msg_id))[1] as vt,
            (array_agg(two.leased order by two.msg_id))[1] as leased, count(*) > 1 as more
        from (
            select msg_id, vt, {leased} as leased
            from {queue}
            where (headers ->> 'x-pgmq-group', msg_id) >= (given.key, given.low)
                and (headers ->> 'x-pgmq-group', msg_id) <= (given.key, 9223372036854775807)
            order by headers ->> 'x-pgmq-group', msg_id
            limit 2
        ) as two
    ) as head on true
), chosen as (
    select msg_id
    from (
        select msg_id from heads where vt <= statement_timestamp() and not busy
        union all
        select msg_id from unnest($5::bigint[]) as free (msg_id)
    ) as candidates
    order by msg_id
    limit $3
), ready as (
    select message.msg_id
    from {queue} as message
    where message.msg_id = any (array(select msg_id from chosen)) and message.vt <= statement_timestamp()
    order by message.msg_id
    for update skip locked
), claimed as (
    update {queue} as message
    set vt = clock_timestamp() + make_interval(secs => $4), read_ct = message.read_ct + 1
    from ready
    where message.msg_id = ready.msg_id
    returning message.msg_id, message.read_ct, message.enqueued_at, message.vt, message.message::text as raw,
        coalesce((message.headers ->> 'x-fluxa-settled')::int, 0) as settled
)
select heads.key as of_key, heads.msg_id as head_id, heads.more,
    heads.vt <= statement_timestamp() as is_due, heads.leased or heads.busy as is_leased, claimed.*
from heads full join claimed on claimed.msg_id = heads.msg_id

-- name: take_limited
-- For each key its messages that have been ready longest, as many as the limit $6 leaves room for.
with rooms as materialized (
    select given.key, given.low, $6 - (
        select count(*)
        from (
            select from {queue}
            where headers ->> 'x-pgmq-group' = given.key and vt > statement_timestamp() and {leased}
            limit $6
        ) as held
    ) as room
    from unnest($1::text[], $2::timestamptz[]) as given (key, low)
), waiting as materialized (
    select rooms.key, rooms.room, one.msg_id, one.vt, row_number() over (partition by rooms.key order by one.vt) as place
    from rooms
    left join lateral (
        select msg_id, vt
        from {queue}
        where (headers ->> 'x-pgmq-group', vt) >= (rooms.key, rooms.low)
            and (headers ->> 'x-pgmq-group', vt) <= (rooms.key, statement_timestamp())
        order by headers ->> 'x-pgmq-group', vt
        limit rooms.room + 1
    ) as one on true
), chosen as (
    select msg_id
    from (
        select msg_id from waiting where place <= room and msg_id is not null
        union all
        select msg_id from unnest($5::bigint[]) as free (msg_id)
    ) as candidates
    order by msg_id
    limit $3
), ready as (
    select message.msg_id
    from {queue} as message
    where message.msg_id = any (array(select msg_id from chosen)) and message.vt <= statement_timestamp()
    order by message.msg_id
    for update skip locked
), claimed as (
    update {queue} as message
    set vt = clock_timestamp() + make_interval(secs => $4), read_ct = message.read_ct + 1
    from ready
    where message.msg_id = ready.msg_id
    returning message.msg_id, message.read_ct, message.enqueued_at, message.vt, message.message::text as raw,
        coalesce((message.headers ->> 'x-fluxa-settled')::int, 0) as settled
)
select waiting.key as of_key, waiting.msg_id as waiting_id, waiting.vt as waiting_vt, claimed.*
from waiting full join claimed on claimed.msg_id = waiting.msg_id

-- name: extend_keyed
-- A lease that ran out is not revived: the key's turn may be another message's by now. What is locked is just being
-- settled; it is not lost, and waiting for it would hold up every claim of the queue.
with held as (
    select message.msg_id
    from {queue} as message
    join unnest($1::bigint[], $2::int[]) as claimed (msg_id, read_ct) on claimed.msg_id = message.msg_id
    where message.read_ct = claimed.read_ct and message.vt > statement_timestamp()
), free as (
    select message.msg_id
    from {queue} as message
    where message.msg_id = any (array(select msg_id from held)) and message.vt > statement_timestamp()
    order by message.msg_id
    for update skip locked
), renewed as (
    update {queue} as message
    set vt = clock_timestamp() + make_interval(secs => $3)
    from free
    where message.msg_id = free.msg_id
)
select msg_id from held

-- name: settle_keyed
-- As settle_claimed, with what stays in its place ($3 to $5). Reads are never counted back, since they fence: what has
-- been settled of them is noted, and one more counted, so that whoever had the message before has it no longer.
with claimed as (
    select msg_id, read_ct from unnest($1::bigint[], $2::int[]) as claimed (msg_id, read_ct)
), kept as (
    update {queue} as message
    set message = given.message::jsonb, vt = clock_timestamp() + make_interval(secs => given.delay_s),
        read_ct = message.read_ct + 1,
        headers = coalesce(message.headers, '{}') || jsonb_build_object('x-fluxa-settled', message.read_ct + 1)
    from unnest($3::bigint[], $4::text[], $5::float8[]) as given (origin, message, delay_s)
    join claimed on claimed.msg_id = given.origin
    where message.msg_id = given.origin and message.read_ct = claimed.read_ct
    returning message.msg_id, message.headers ->> 'x-pgmq-group' as key
), gone as (
    delete from {queue} as message
    using claimed
    where message.msg_id = claimed.msg_id and message.read_ct = claimed.read_ct and message.msg_id <> all ($3::bigint[])
    returning message.msg_id, message.headers ->> 'x-pgmq-group' as key
), settled as (
    select msg_id, key from kept union all select msg_id, key from gone
), again as (
    insert into {queue} (vt, message, headers)
    select clock_timestamp() + make_interval(secs => given.delay_s), given.message::jsonb,
        case when settled.key is not null then jsonb_build_object('x-pgmq-group', settled.key) end
    from unnest($6::bigint[], $7::text[], $8::float8[]) with ordinality as given (origin, message, delay_s, place)
    join settled on settled.msg_id = given.origin
    order by given.place
), parked as (
    insert into {dead} (vt, message, headers)
    select clock_timestamp(), given.message::jsonb,
        given.headers::jsonb || jsonb_build_object('key', coalesce(given.headers::jsonb ->> 'key', settled.key))
    from unnest($9::bigint[], $10::text[], $11::text[]) with ordinality as given (origin, message, headers, place)
    join settled on settled.msg_id = given.origin
    order by given.place
)
select msg_id from settled
