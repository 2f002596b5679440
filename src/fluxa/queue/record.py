"""The unit of work. Not: how several travel together (envelope) or what became of them (outcome)."""

import datetime as dt

import msgspec

from fluxa.kernel.errors import RetryClass


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """What went wrong before.

    Attributes:
        code: the last error's code.
        detail: the last error's text.
        first_at: when the first attempt failed.
        last_at: when the last attempt failed.
    """

    code: str
    detail: str
    first_at: dt.datetime
    last_at: dt.datetime


class Record(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """An event or a job on its way through a queue.

    Attributes:
        id: names the record; for an event, the event's id.
        body: the bytes as they were given; never re-serialised.
        content_type: what the bytes are.
        correlation_id: the story this belongs to (PIPE-10).
        created_at: when it was first sent.
        key: records of one key keep their order where the queue is ordered; None for no order.
        attempt: how many attempts have failed so far.
        redrives: how often a person or a task sent it back from the dead letters.
        headers: small facts about the body, for its consumer.
        failure: the last failure, if `attempt` is not 0.
    """

    id: str
    body: bytes
    created_at: dt.datetime
    correlation_id: str = ""
    content_type: str = "application/json"
    key: str | None = None
    attempt: int = 0
    redrives: int = 0
    headers: dict[str, str] = {}
    failure: Failure | None = None


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A record that was parked, and why (QUEUE-8).

    Attributes:
        message_id: its id in the dead-letter queue.
        queue: where it came from.
        record: what was parked; for a message that could not be read, its raw text as the body.
        code: the error code that parked it.
        retry: the class of that code when it was parked.
        reason: the error's text.
        attempts: attempts made in all.
        first_failed_at: when the first attempt failed.
        last_failed_at: when the last attempt failed.
        readable: whether the original message could be read; if not, a redrive sends the raw text back.
        parked_at: when it was put there.
        raw: the message's text as the engine holds it.
        facts: the headers' text beside it; None if another program put it there without.
    """

    message_id: str
    queue: str
    record: Record
    code: str
    retry: RetryClass
    reason: str
    attempts: int
    first_failed_at: dt.datetime
    last_failed_at: dt.datetime
    readable: bool = True
    parked_at: dt.datetime | None = None
    raw: str = ""
    facts: str | None = None
