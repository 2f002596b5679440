-- How far the audit log is verified. Owner: watch.py.

-- name: list_checkpoints
select tenant, number, hash, at from fluxa.ledger_checkpoints

-- name: put_checkpoints
insert into fluxa.ledger_checkpoints (tenant, number, hash, at)
select * from unnest($1::text[], $2::bigint[], $3::bytea[], $4::timestamptz[])
on conflict (tenant) do update set number = excluded.number, hash = excluded.hash, at = excluded.at
where ledger_checkpoints.number <= excluded.number
