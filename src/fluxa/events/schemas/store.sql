-- The table fluxa.schemas: one JSON Schema for a tenant's event type.

-- name: put_schema
insert into fluxa.schemas as known (tenant, type, schema)
values ($1, $2, $3::jsonb)
on conflict (tenant, type) do update
set version = known.version + 1, schema = excluded.schema, updated_at = clock_timestamp()
where known.schema is distinct from excluded.schema
returning version, updated_at;

-- name: find_schema
select type, version, updated_at, schema::text as schema
from fluxa.schemas
where tenant = $1 and type = $2;

-- name: list_schemas
select type, version, updated_at
from fluxa.schemas
where tenant = $1 and type > $2
order by type
limit $3;

-- name: delete_schema
delete from fluxa.schemas where tenant = $1 and type = $2;

-- name: measure_change
select coalesce(sum(hashtextextended(concat_ws(chr(31), tenant, type, version, updated_at), 0)), 0)::text as mark
from fluxa.schemas;

-- name: list_versions
select tenant, type, version, updated_at
from fluxa.schemas;
