-- What verifying reads of the audit log. Owner: verify.py.

-- name: list_ends
-- In one statement, so that both are of one moment. Tenants by a loose scan: the index is asked once a tenant.
with recursive named as (
    (select tenant from fluxa.ledger where $1::text is null or tenant = $1 order by tenant limit 1)
    union all
    select (
        select entry.tenant from fluxa.ledger as entry
        where entry.tenant > named.tenant and $1::text is null order by entry.tenant limit 1
    )
    from named where named.tenant is not null
)
select coalesce(head.tenant, named.tenant) as tenant, head.number, head.hash, head.at, ends.first, ends.last
from (select tenant from named where tenant is not null) as named
full join (select * from fluxa.ledger_heads where $1::text is null or tenant = $1) as head on head.tenant = named.tenant
cross join lateral (
    select min(number) as first, max(number) as last
    from fluxa.ledger as entry where entry.tenant = coalesce(head.tenant, named.tenant)
) as ends
order by 1

-- name: list_window
select tenant, number, version, at, actor, action, subject, detail, correlation_id, previous, hash
from fluxa.ledger where tenant = $1 and number > $2 and number <= $3 order by number

-- name: find_next
select min(number) from fluxa.ledger where tenant = $1 and number > $2
