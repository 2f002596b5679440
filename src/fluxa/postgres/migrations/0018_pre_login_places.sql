-- Where users have logged in from lately, so that strangers who lock a name do not lock its owner out there.
create table fluxa.login_places (
    -- Of the name and the address together, and of the name: neither can be read here.
    digest      bytea primary key,
    name_digest bytea not null,
    seen_at     timestamptz not null
);
create index login_places_name on fluxa.login_places (name_digest);
create index login_places_seen on fluxa.login_places (seen_at);
