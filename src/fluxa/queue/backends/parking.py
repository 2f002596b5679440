"""What is written beside a parked message, and how a dead letter is read and sent back. Shared by all engines."""

import datetime as dt
from typing import Any

import msgspec

from fluxa.kernel import json
from fluxa.kernel.errors import ErrorCode, RetryClass
from fluxa.queue.backend import DeadLetterFilter, Defect, Envelope
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
        record_id: the record's id; None for a message that could not be read.
        key: the record's key, if it has one.
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
    record_id: str | None = None
    key: str | None = None


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
        parked_at=enqueued_at,
        raw=raw,
        facts=facts,
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


def harmless(text: str, limit: int = 4000) -> str:
    """Text that any engine's headers hold: no NUL, no lone surrogates, no megabytes."""
    return text[:limit].encode("utf-8", "replace").decode().replace("\x00", "\N{REPLACEMENT CHARACTER}")


def moment_text(moment: dt.datetime) -> str:
    """A time in the form that the SQL function `fluxa.failed_at` gives: UTC, fixed width, so that text compares."""
    return moment.astimezone(dt.UTC).isoformat(timespec="microseconds").removesuffix("+00:00")


def is_meant(which: DeadLetterFilter, *, message_id: str, parked_at: dt.datetime, raw: str, facts: str | None) -> bool:
    """Whether a filter means a message of a dead-letter queue, by what was written when it was parked.

    For engines that cannot ask Postgres; there the statements of the dead letters' owner say the same.
    """
    headers, message = _object(facts), _object(raw)
    record_id = headers.get("record_id") or message.get("id") or f"message-{message_id}"
    key = headers.get("key") or message.get("key")
    failed_at = dt.datetime.fromisoformat(headers["last_failed_at"]) if "last_failed_at" in headers else parked_at
    return (
        (which.up_to is None or int(message_id) <= int(which.up_to))
        and (not which.codes or read_code(facts) in which.codes)
        and (not which.message_ids or message_id in which.message_ids)
        and (not which.record_ids or record_id in [harmless(one) for one in which.record_ids])
        and (not which.keys or key in [harmless(one) for one in which.keys])
        and (which.failed_from is None or failed_at >= which.failed_from)
        and (which.failed_before is None or failed_at < which.failed_before)
    )


def read_code(facts: str | None) -> str:
    """The code in a letter's headers, whatever has happened to its message since."""
    return str(_object(facts).get("code", ErrorCode.MALFORMED_MESSAGE))


def _object(text: str | None) -> dict[str, Any]:
    """The fields of a JSON object; none, if it is something else."""
    found = json.decode(text) if text is not None else None
    return found if isinstance(found, dict) else {}


def redriven(letter: DeadLetter) -> str:
    """The message text that goes back to the queue: with a new count of attempts, or untouched if not readable.

    What cannot be read is never packed anew: that would give altered bytes a valid digest.
    """
    if not letter.readable:
        return letter.raw
    record = msgspec.structs.replace(letter.record, attempt=0, redrives=letter.record.redrives + 1, failure=None)
    return encode(Envelope((record,)))


def key_of(letter: DeadLetter) -> str | None:
    """The key that a dead letter's message had; of one that cannot be read, its headers know."""
    key = letter.record.key if letter.readable else _object(letter.facts).get("key")
    return str(key) if key is not None else None


def with_key(facts: str, key: str | None) -> str:
    """Headers that name the key of the message they came from, where its records could not be read."""
    found = _object(facts)
    return json.text({**found, "key": key}) if key is not None and found.get("key") is None else facts
