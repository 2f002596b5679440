"""What is written beside a parked message, and how a dead letter is read and sent back. Shared by all engines."""

import datetime as dt

import msgspec

from fluxa.kernel import json
from fluxa.kernel.errors import ErrorCode, RetryClass
from fluxa.queue.backend import Defect, Envelope
from fluxa.queue.envelope import decode, encode
from fluxa.queue.record import DeadLetter, Record


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """The headers of a message in a dead-letter queue; any client of the engine can read them.

    Attributes:
        queue: where it came from.
        code: the error code that parked it.
        retry: the class of that code when it was parked.
        reason: the error's text.
        attempts: attempts made in all.
        first_failed_at: when the first attempt failed.
        last_failed_at: when the last attempt failed.
        readable: whether the original message could be read.
        redrives: how often it had been sent back before.
    """

    queue: str
    code: str
    retry: RetryClass
    reason: str
    attempts: int
    first_failed_at: dt.datetime
    last_failed_at: dt.datetime
    readable: bool
    redrives: int


_decode_facts = msgspec.json.Decoder(Facts)


def write_facts(facts: Facts) -> str:
    """The headers as JSON text."""
    return json.text(facts)


def read_letter(*, queue: str, message_id: str, enqueued_at: dt.datetime, raw: str, facts: str | None) -> DeadLetter:
    """A dead letter as it lies in the dead-letter queue.

    One that was altered since it was parked is shown as not readable, with the code of the defect, so that a
    redrive treats it as what it is now. One without our headers was put there by another program.
    """
    found = _facts(queue, enqueued_at, facts)
    content = decode(raw, message_id=message_id, enqueued_at=enqueued_at) if found.readable else None
    code, retry, reason = found.code, found.retry, found.reason
    if isinstance(content, tuple) and len(content) == 1:
        record = content[0]
    else:
        record = Record(id=f"message-{message_id}", body=raw.encode(), created_at=enqueued_at, redrives=found.redrives)
        if isinstance(content, Defect):
            code, retry, reason = content.code, RetryClass.SECURITY, f"altered after it was parked: {content.detail}"
    return DeadLetter(
        message_id=message_id,
        queue=found.queue,
        record=record,
        code=code,
        retry=retry,
        reason=reason,
        attempts=found.attempts,
        first_failed_at=found.first_failed_at,
        last_failed_at=found.last_failed_at,
        readable=isinstance(content, tuple),
    )


def _facts(queue: str, enqueued_at: dt.datetime, text: str | None) -> Facts:
    if text is not None:
        try:
            return _decode_facts.decode(text)
        except msgspec.ValidationError:
            pass  # another program's headers say nothing to us
    return Facts(
        queue=queue,
        code=ErrorCode.MALFORMED_MESSAGE,
        retry=RetryClass.PERMANENT,
        reason="another program put this message into the dead-letter queue",
        attempts=0,
        first_failed_at=enqueued_at,
        last_failed_at=enqueued_at,
        readable=True,
        redrives=0,
    )


def redriven(letter: DeadLetter, raw: str) -> str:
    """The message text that goes back to the queue: with a new count of attempts, or untouched if not readable.

    What cannot be read is never packed anew: that would give altered bytes a valid digest.
    """
    if not letter.readable:
        return raw
    record = msgspec.structs.replace(letter.record, attempt=0, redrives=letter.record.redrives + 1, failure=None)
    return encode(Envelope((record,)))
