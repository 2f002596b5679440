-- What keeps tenants apart, as the server has it now; and a canary: rows of two tenants that never existed, rolled back.

-- name: inspect_role
select r.rolsuper as super, r.rolbypassrls as bypass, r.rolcanlogin as login,
       pg_has_role(current_user, r.oid, 'member') as taken, current_user::text as login_name,
       array(select m.roleid::regrole::text from pg_auth_members m where m.member = r.oid) as parents,
       array(select c.oid::regclass::text from pg_class c where c.relowner = r.oid and c.relkind in ('r', 'p', 'v', 'm'))
           as owned,
       array(
           select n.nspname::text from pg_namespace n
           where n.nspname in ('pgmq', 'fluxa') and has_schema_privilege(r.oid, n.oid, 'usage')
       ) as schemas,
       has_schema_privilege(r.oid, 'fluxa', 'create') as creates,
       array(
           select p.oid::regprocedure::text from pg_proc p
           where p.pronamespace = 'fluxa'::regnamespace and p.prosecdef and p.prorettype <> 'trigger'::regtype
             and has_function_privilege(r.oid, p.oid, 'execute')
       ) as definers
from pg_roles r where r.rolname = 'fluxa_tenant';

-- name: inspect_tables
select c.relname::text as name, c.relispartition as part, c.relrowsecurity as secured, row_security_active(c.oid) as binds_login,
       pg_has_role(current_user, c.relowner, 'usage') as owned, c.relowner::regrole::text as owner,
       array(select p.polname::text from pg_policy p where p.polrelid = c.oid order by p.polname) as policy_names,
       exists (select from pg_attribute a where a.attrelid = c.oid and a.attname = 'tenant' and not a.attisdropped) as tenants,
       array(
           select concat_ws(' ', p.polname, case when p.polpermissive then 'permissive' else 'restrictive' end, p.polcmd,
                            p.polroles::regrole[]::text, pg_get_expr(p.polqual, p.polrelid),
                            pg_get_expr(p.polwithcheck, p.polrelid))
           from pg_policy p where p.polrelid = c.oid order by p.polname
       ) as policies,
       array(
           select lower(privilege) from unnest(array['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER'])
               as privilege
           where has_table_privilege('fluxa_tenant', c.oid, privilege)
              or (privilege in ('SELECT', 'INSERT', 'UPDATE', 'REFERENCES')
                  and has_any_column_privilege('fluxa_tenant', c.oid, privilege))
       ) as granted
from pg_class c
where c.relnamespace = 'fluxa'::regnamespace and c.relkind in ('r', 'p', 'v', 'm')
order by c.relname;

-- name: write_canary
-- Names that no tenant can have. Events only if there is a month for them.
with written as (
    insert into fluxa.schemas (tenant, type, schema) select tenant, 'canary', 'true' from unnest($1::text[]) as tenant
), keyed as (
    insert into fluxa.request_keys (tenant, key, fingerprint, locked_until, expires_at)
    select tenant, 'canary', '', now(), now() from unnest($1::text[]) as tenant
), known as (
    insert into fluxa.idempotency_keys (tenant, id, source, received_at, ord)
    select tenant, 'canary', 'canary', now(), 0 from unnest($1::text[]) as tenant
), failed as (
    insert into fluxa.failures (tenant, correlation_id, queue, stage, attempt, error_code, detail, parked)
    select tenant, 'canary', 'canary', 'process', 1, 'canary', '', false from unnest($1::text[]) as tenant
)
insert into fluxa.events
    (received_at, ord, tenant, source, id, type, correlation_id, sha256, data_bytes, attempt, enqueued_at, claimed_at)
select now(), 0, tenant, 'canary', 'canary', 'canary', 'canary', '', 0, 1, now(), now() from unnest($1::text[]) as tenant
where to_regclass('fluxa.events_' || to_char(now() at time zone 'UTC', 'YYYY_MM')) is not null;

-- name: count_canary
select 'schemas' as name, array_agg(tenant) as seen from fluxa.schemas where tenant = any($1::text[])
union all
select 'request_keys', array_agg(tenant) from fluxa.request_keys where tenant = any($1::text[])
union all
select 'idempotency_keys', array_agg(tenant) from fluxa.idempotency_keys where tenant = any($1::text[])
union all
select 'failures', array_agg(tenant) from fluxa.failures where tenant = any($1::text[])
union all
select 'events', array_agg(tenant) from fluxa.events where tenant = any($1::text[]) and correlation_id = 'canary';
