-- What mends the separation of tenants. Owner: repair.py.

-- name: word_step
-- The statement for a step, put into words by the server, which knows how names are quoted.
select case $1::text
    when 'create_role' then 'create role fluxa_tenant nologin noinherit'
    when 'take_role' then format('grant fluxa_tenant to %I', current_user)
    when 'no_superuser' then 'alter role fluxa_tenant nosuperuser'
    when 'no_bypass' then 'alter role fluxa_tenant nobypassrls'
    when 'no_login' then 'alter role fluxa_tenant nologin'
    when 'revoke_create' then 'revoke create on schema fluxa from fluxa_tenant, public'
    when 'revoke_role' then format('revoke %s from fluxa_tenant', $2::text::regrole)
    when 'give_back' then format(
        'alter table %s owner to %s', $2::text::regclass,
        (select relowner::regrole from pg_class where oid = 'fluxa.migrations'::regclass)
    )
    when 'revoke_function' then format('revoke execute on function %s from fluxa_tenant, public', $2::text::regprocedure)
    when 'revoke_queues' then 'revoke usage on schema pgmq from fluxa_tenant, public'
    when 'grant_schema' then 'grant usage on schema fluxa to fluxa_tenant'
    when 'secure' then format('alter table fluxa.%I enable row level security', $2::text)
    when 'keep_apart' then format('select fluxa.keep_apart(%L)', format('fluxa.%I', $2::text))
    when 'drop_policy' then format('drop policy %I on fluxa.%I', $3::text, $2::text)
    when 'no_force' then format('alter table fluxa.%I no force row level security', $2::text)
    when 'revoke' then format('revoke %s on fluxa.%I from fluxa_tenant, public', $3::text, $2::text)
    when 'grant' then format('grant %s on fluxa.%I to fluxa_tenant', $3::text, $2::text)
end

-- name: wait_briefly
-- Rather not mended now than everybody waiting behind it.
select set_config('lock_timeout', '5s', true)
