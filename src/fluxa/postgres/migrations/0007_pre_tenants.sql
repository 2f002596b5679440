-- Tenants kept apart by the server itself: what is done for one tenant is done as a role that sees that tenant only.

-- The role is the server's, not the database's: another database, or an administrator, may have made it before.
do $$
begin
    if not exists (select from pg_catalog.pg_roles where rolname = 'fluxa_tenant') then
        begin
            create role fluxa_tenant nologin noinherit;
        exception
            when duplicate_object or unique_violation then
                null; -- another database of this server was faster
            when insufficient_privilege then
                raise exception 'the user % may not create the role fluxa_tenant', current_user using
                    errcode = 'insufficient_privilege',
                    hint = format('An administrator runs once: create role fluxa_tenant nologin noinherit; '
                        || 'grant fluxa_tenant to %I;  Until then the schema stays as it was; repeat fluxa db migrate after it.',
                        current_user);
        end;
    end if;
    if exists (select from pg_catalog.pg_roles where rolname = 'fluxa_tenant' and (rolsuper or rolbypassrls)) then
        raise exception 'the role fluxa_tenant may bypass row-level security, so it would keep nobody apart' using
            errcode = 'insufficient_privilege',
            hint = 'An administrator runs: alter role fluxa_tenant nosuperuser nobypassrls;  Then repeat fluxa db migrate.';
    end if;
    begin
        -- Who creates a role may give it away, but since Postgres 16 not yet become it.
        execute format('grant fluxa_tenant to %I', current_user);
    exception when insufficient_privilege or invalid_grant_operation then
        null; -- it may be a member already: the next statement shows it
    end;
    begin
        set local role fluxa_tenant;
        raise exception 'it works' using errcode = 'FX001'; -- undoes the change of role, and nothing else
    exception
        when sqlstate 'FX001' then
            null;
        when insufficient_privilege then
            raise exception 'the user % may not act as the role fluxa_tenant', current_user using
                errcode = 'insufficient_privilege',
                hint = format('An administrator runs once: grant fluxa_tenant to %I;  '
                    || 'Until then the schema stays as it was; repeat fluxa db migrate after it.', current_user);
    end;
end;
$$;

-- Exactly what requests of tenants need; all else (months, migrations, queues, keys) is out of its reach.
revoke execute on function fluxa.ensure_month(date), fluxa.drop_month(date) from public;
grant usage on schema fluxa to fluxa_tenant;
grant select on fluxa.events, fluxa.idempotency_keys, fluxa.failures to fluxa_tenant;
grant select, insert, update, delete on fluxa.request_keys, fluxa.schemas to fluxa_tenant;

-- What every table with a tenant gets: those who act for a tenant see and write its rows, and none if no tenant was said. The
-- expression stands in the policy itself, so that it is worked out once a statement and an index that begins with the tenant
-- is used. The owner is not bound by it: what runs as the owner is listed in docs/operating/tenants.md.
create function fluxa.keep_apart(target regclass) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    tenant_of_row constant text := 'tenant = nullif(current_setting(''fluxa.tenant'', true), '''')';
    known name;
begin
    execute format('alter table %s enable row level security', target);
    for known in select polname from pg_policy where polrelid = target loop
        execute format('drop policy %I on %s', known, target);
    end loop;
    execute format('create policy tenant on %s to fluxa_tenant using (%s) with check (%s)', target, tenant_of_row, tenant_of_row);
end;
$$;

revoke execute on function fluxa.keep_apart(regclass) from public;

select fluxa.keep_apart(target) from unnest(array[
    'fluxa.events', 'fluxa.idempotency_keys', 'fluxa.failures', 'fluxa.api_keys', 'fluxa.request_keys', 'fluxa.schemas',
    'fluxa.ledger', 'fluxa.ledger_heads', 'fluxa.ledger_intake'
]::regclass[]) as target;

-- A month is read through fluxa.events, whose policy counts then; by its own name nobody but the owner sees any of it.
do $$
declare
    month regclass;
begin
    for month in select inhrelid::regclass from pg_catalog.pg_inherits where inhparent = 'fluxa.events'::regclass loop
        execute format('alter table %s enable row level security', month);
    end loop;
end;
$$;

create or replace function fluxa.ensure_month(month date) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    first constant date := make_date(extract(year from month)::int, extract(month from month)::int, 1);
    name constant text := 'events_' || to_char(first, 'YYYY_MM');
begin
    if to_regclass(format('fluxa.%I', name)) is not null then
        return false;
    end if;
    perform pg_advisory_xact_lock(hashtext('fluxa.events partitions'));
    -- A query sees what the process before us committed; to_regclass may still answer from its cache.
    if exists (select from pg_class where relname = name and relnamespace = 'fluxa'::regnamespace) then
        return false;
    end if;
    execute format('create table fluxa.%I (like fluxa.events including all)', name);
    execute format('alter table fluxa.%I enable row level security', name);
    execute format(
        'alter table fluxa.events attach partition fluxa.%I for values from (%L) to (%L)',
        name, first::timestamp at time zone 'UTC', (first + interval '1 month') at time zone 'UTC');
    return true;
end;
$$;

alter function fluxa.drop_month(date) set search_path = pg_catalog, pg_temp;

-- Who reads the view sees what he may see of the table.
alter view fluxa.events_json set (security_invoker = true);
