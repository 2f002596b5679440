-- What the bearer of an API key is to its tenant. Keys made before could do everything, and still can.
alter table fluxa.api_keys add column role text not null default 'admin'
    check (role in ('admin', 'manager', 'analyst', 'agent', 'integration', 'service'));
alter table fluxa.api_keys alter column role drop default;
