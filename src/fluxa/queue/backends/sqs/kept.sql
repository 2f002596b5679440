-- What is known of messages that keep their place in a FIFO queue while they wait for another attempt.

-- name: write_kept
insert into fluxa.sqs_kept (queue, message_id, received, message)
select $1, given.message_id, given.received, given.message
from unnest($2::text[], $3::int[], $4::text[]) as given (message_id, received, message)
on conflict (queue, message_id) do update
set received = fluxa.sqs_kept.received + excluded.received, message = excluded.message, changed_at = clock_timestamp()

-- name: read_kept
select message_id, received, message from fluxa.sqs_kept where queue = $1 and message_id = any ($2::text[])

-- name: remove_kept
delete from fluxa.sqs_kept where queue = $1 and message_id = any ($2::text[])

-- name: prune_kept
-- SQS keeps no message longer than 14 days.
delete from fluxa.sqs_kept where changed_at < clock_timestamp() - interval '15 days'
