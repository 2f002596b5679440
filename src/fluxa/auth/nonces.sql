-- Nonces of signed calls; the table is owned by fluxa.auth.nonces.

-- name: take_nonce
with pruned as (
    -- Each new nonce takes a few old ones along, so that the table stays as small as what it must remember.
    delete from fluxa.nonces where (signer, nonce) in (
        select signer, nonce from fluxa.nonces where expires_at < now() order by expires_at limit $4
        for update skip locked
    )
)
insert into fluxa.nonces (signer, nonce, expires_at) values ($1, $2, now() + make_interval(secs => $3))
on conflict do nothing;
