-- name: take_import_lock
-- One import a queue at a time, so that two of one file do not both find a letter missing.
select pg_advisory_xact_lock(x'666c7578'::int, hashtext($1))
