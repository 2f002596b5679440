-- People and their sessions belong to a tenant as all else does: who acts for one sees no others.
select fluxa.keep_apart(target) from unnest(array['fluxa.sessions', 'fluxa.users']::regclass[]) as target;
