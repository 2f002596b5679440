-- The audit log (SEC-3): one chain of entries a tenant, which only grows. Owner of the tables: fluxa.operations.ledger.

create table fluxa.ledger_heads (
    tenant text collate "C" primary key,
    number bigint not null check (number >= 0),
    hash bytea not null check (octet_length(hash) = 32),
    at timestamptz not null
);

create table fluxa.ledger (
    tenant text collate "C" not null,
    number bigint not null check (number >= 1),
    version smallint not null default 1,
    at timestamptz not null,
    actor text not null,
    action text not null,
    subject text not null,
    detail json not null,
    correlation_id text not null,
    previous bytea not null,
    hash bytea not null,
    primary key (tenant, number)
);

-- What a transaction has recorded so far. Its rows are gone when it commits, so nobody else ever sees one.
create table fluxa.ledger_intake (
    xid xid8 not null default pg_current_xact_id(),
    position bigint generated always as identity,
    tenant text collate "C" not null,
    actor text not null,
    action text not null,
    subject text not null,
    detail json not null check (detail::text !~ '[\n\r]'),
    correlation_id text not null,
    primary key (xid, position)
);

-- The canonical form, version 1: a line that names it, each part as its length in bytes, a colon, the part and a comma
-- (so that no two entries have the same form), and the 32 bytes of the hash before. fluxa.operations.ledger.chain says the
-- same in Python, and that is what entries are verified with: a program in the database could be altered with them.
create function fluxa.ledger_part(part text) returns text
language sql immutable strict parallel safe
return octet_length(convert_to(part, 'UTF8'))::text || ':' || part || ',';

create function fluxa.ledger_hash(
    tenant text, number bigint, at timestamptz, actor text, action text, subject text, detail text, correlation_id text,
    previous bytea
) returns bytea
language sql immutable strict parallel safe
return sha256(
    convert_to(
        E'fluxa-ledger-1\n'
        || fluxa.ledger_part(tenant)
        || fluxa.ledger_part(number::text)
        || fluxa.ledger_part((extract(epoch from at) * 1000000)::bigint::text)
        || fluxa.ledger_part(actor)
        || fluxa.ledger_part(action)
        || fluxa.ledger_part(subject)
        || fluxa.ledger_part(detail)
        || fluxa.ledger_part(correlation_id),
        'UTF8'
    ) || previous
);

-- Called once a recorded act, when the transaction commits; the first call appends them all. So the head is locked for no
-- longer than the commit takes, and whoever holds it waits for nothing that a transaction of another order could hold: heads
-- are locked in the order of tenants, after all other work is done. As the owner: who records needs no right to the chain.
create function fluxa.ledger_append() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    own constant xid8 := pg_current_xact_id();
    act fluxa.ledger_intake;
    head fluxa.ledger_heads;
    link bytea;
begin
    for act in select * from fluxa.ledger_intake where xid = own order by tenant, position loop
        if head.tenant is distinct from act.tenant then
            select * into head from fluxa.ledger_heads where tenant = act.tenant for update;
            if not found then
                insert into fluxa.ledger_heads (tenant, number, hash, at)
                values (act.tenant, 0, decode(repeat('00', 32), 'hex'), clock_timestamp())
                on conflict (tenant) do nothing;
                select * into strict head from fluxa.ledger_heads where tenant = act.tenant for update;
            end if;
        end if;
        link := head.hash;
        head.number := head.number + 1;
        head.at := greatest(head.at, clock_timestamp());
        head.hash := fluxa.ledger_hash(
            act.tenant, head.number, head.at, act.actor, act.action, act.subject, act.detail::text, act.correlation_id, link
        );
        insert into fluxa.ledger
            (tenant, number, version, at, actor, action, subject, detail, correlation_id, previous, hash)
        values (
            act.tenant, head.number, 1, head.at, act.actor, act.action, act.subject, act.detail, act.correlation_id, link,
            head.hash
        );
        update fluxa.ledger_heads set number = head.number, hash = head.hash, at = head.at where tenant = act.tenant;
    end loop;
    delete from fluxa.ledger_intake where xid = own;
    return null;
end
$$;

create constraint trigger ledger_append after insert on fluxa.ledger_intake
deferrable initially deferred for each row execute function fluxa.ledger_append();

-- Only the function above writes; it runs in a trigger, so these are triggers within one.
create function fluxa.ledger_refuse() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
    if pg_trigger_depth() > 1 and (tg_op = 'INSERT' or (tg_op = 'UPDATE' and tg_table_name = 'ledger_heads')) then
        return null;
    end if;
    raise exception 'the audit log only grows: % of fluxa.% is refused', lower(tg_op), tg_table_name
        using errcode = 'insufficient_privilege';
end
$$;

create trigger ledger_refuse before insert or update or delete or truncate on fluxa.ledger
for each statement execute function fluxa.ledger_refuse();
create trigger ledger_refuse before insert or update or delete or truncate on fluxa.ledger_heads
for each statement execute function fluxa.ledger_refuse();

-- An application's role needs `insert` on fluxa.ledger_intake (tenant, actor, action, subject, detail, correlation_id), and
-- `select` on fluxa.ledger and fluxa.ledger_heads where it shows or verifies them; nothing else.
revoke all on fluxa.ledger, fluxa.ledger_heads, fluxa.ledger_intake from public;
revoke all on function fluxa.ledger_append(), fluxa.ledger_refuse() from public;
