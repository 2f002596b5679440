-- Receipts: which records' effects are committed, where the engine cannot acknowledge in the same transaction.

-- name: take_receipts
-- A receipt that another transaction is about to write is waited for: of two that do the same work one goes on.
insert into fluxa.receipts (queue, record_id, redrives)
select $1, given.record_id, given.redrives
from unnest($2::text[], $3::int[]) as given (record_id, redrives)
order by given.record_id, given.redrives
on conflict do nothing
returning record_id, redrives

-- name: give_back_receipts
delete from fluxa.receipts as receipt
using unnest($2::text[], $3::int[]) as given (record_id, redrives)
where receipt.queue = $1 and receipt.record_id = given.record_id and receipt.redrives = given.redrives

-- name: prune_receipts
-- In bounded steps; the index over time is coarse, so each step reads a few pages more than it needs.
delete from fluxa.receipts
where ctid = any (array(
    select ctid from fluxa.receipts
    where done_at < clock_timestamp() - make_interval(secs => $1)
    limit $2
))
