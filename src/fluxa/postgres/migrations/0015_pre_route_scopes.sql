-- What an API key that is narrowed must be narrowed to, where a route takes one. Owner: fluxa.web.identity.bindings.
alter table fluxa.routes add column scope text;
