-- Who a provider's subjects are here; the table is owned by fluxa.auth.people.oidc: entry and links.

-- name: find_identity
select user_id from fluxa.oidc_identities where issuer = $1 and subject = $2;

-- name: is_linked
select exists (select from fluxa.oidc_identities where issuer = $1 and user_id = $2);

-- name: insert_identity
insert into fluxa.oidc_identities (issuer, subject, user_id, linked_at) values ($1, $2, $3, $4);

-- name: delete_identities
delete from fluxa.oidc_identities where user_id = $1 returning issuer, subject;
