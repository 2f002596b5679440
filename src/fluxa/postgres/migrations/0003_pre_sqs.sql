-- SQS: texts of messages that keep their place in a FIFO queue between attempts.

create table fluxa.sqs_kept (
    queue      text not null,
    message_id text not null,
    received   int not null,
    message    text not null,
    changed_at timestamptz not null default now(),
    primary key (queue, message_id)
);

create index sqs_kept_changed on fluxa.sqs_kept using brin (changed_at);
