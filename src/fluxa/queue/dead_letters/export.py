"""Dead letters as lines of JSON that say all there is to say, and back. The form; reading it back in is next door."""

import base64
import datetime as dt
import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace

import msgspec

from fluxa.kernel import json
from fluxa.kernel.errors import ErrorCode, FluxaError, RetryClass
from fluxa.queue.backend import DeadLetterFilter, ParkedText, QueueBackend
from fluxa.queue.dead_letters.pages import read_pages
from fluxa.queue.record import DeadLetter

VERSION = 1


class ExportedRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The record for people and other programs; an import goes by `raw` alone.

    Attributes:
        body_base64: the bytes.
        body_text: the same as text, where they are UTF-8.
    """

    id: str
    content_type: str
    correlation_id: str
    created_at: dt.datetime
    key: str | None
    attempt: int
    redrives: int
    headers: dict[str, str]
    body_base64: str
    body_text: str | None


class ExportedLetter(msgspec.Struct, frozen=True, kw_only=True):
    """One line of an export.

    Attributes:
        fluxa_dead_letter: the form's version.
        queue: whose dead letter it is.
        message_id: its id there; it gets a new one when it is read back in.
        parked_at: when it was put there.
        digest: SHA-256 over `raw` and `facts`, which are all that an import needs.
        record: what was parked; none if it could not be read.
        raw: the message's text as the engine holds it.
        facts: the headers' text beside it.
    """

    fluxa_dead_letter: int
    queue: str
    message_id: str
    parked_at: dt.datetime
    digest: str
    code: str
    retry_class: RetryClass
    reason: str
    attempts: int
    first_failed_at: dt.datetime
    last_failed_at: dt.datetime
    readable: bool
    record: ExportedRecord | None
    raw: str
    facts: str | None


_decode = msgspec.json.Decoder(ExportedLetter)


def digest(raw: str, facts: str | None) -> str:
    """What tells a message from all others: SHA-256 over its text and its headers' text."""
    return hashlib.sha256(json.encode([raw, facts])).hexdigest()


def export_line(queue: str, letter: DeadLetter) -> bytes:
    """A letter as one line of JSON, without the line's end."""
    return json.encode(
        ExportedLetter(
            fluxa_dead_letter=VERSION,
            queue=queue,
            message_id=letter.message_id,
            parked_at=letter.parked_at or letter.last_failed_at,
            digest=digest(letter.raw, letter.facts),
            code=letter.code,
            retry_class=letter.retry,
            reason=letter.reason,
            attempts=letter.attempts,
            first_failed_at=letter.first_failed_at,
            last_failed_at=letter.last_failed_at,
            readable=letter.readable,
            record=_record(letter) if letter.readable else None,
            raw=letter.raw,
            facts=letter.facts,
        )
    )


def _record(letter: DeadLetter) -> ExportedRecord:
    record = letter.record
    try:
        text = record.body.decode()
    except UnicodeDecodeError:
        text = None
    return ExportedRecord(
        id=record.id,
        content_type=record.content_type,
        correlation_id=record.correlation_id,
        created_at=record.created_at,
        key=record.key,
        attempt=record.attempt,
        redrives=record.redrives,
        headers=record.headers,
        body_base64=base64.b64encode(record.body).decode(),
        body_text=text,
    )


async def export(backend: QueueBackend, queue: str, which: DeadLetterFilter) -> AsyncIterator[bytes]:
    """The letters that are there now as lines of JSON, each with its end, oldest first; a page in memory at a time."""
    if which.up_to is None:
        which = replace(which, up_to=(await backend.summarize_dead(queue, which)).last_id or "0")
    async for letters in read_pages(backend, queue, which):
        for letter in letters:
            yield export_line(queue, letter) + b"\n"


def read_line(line: bytes) -> tuple[str, ParkedText]:
    """The queue that a line names, and the message it holds.

    Raises:
        FluxaError: `InvalidRequest`, if it is no line of an export, or was altered since.
    """
    try:
        found = _decode.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FluxaError(ErrorCode.INVALID_REQUEST, f"it is no exported dead letter: {error}") from None
    if found.fluxa_dead_letter != VERSION:
        raise FluxaError(ErrorCode.INVALID_REQUEST, f"form {found.fluxa_dead_letter} is not known; update Fluxa")
    if digest(found.raw, found.facts) != found.digest:
        raise FluxaError(ErrorCode.INVALID_REQUEST, "it was altered since it was exported: its digest does not match")
    if found.parked_at.tzinfo is None:
        raise FluxaError(ErrorCode.INVALID_REQUEST, "parked_at has no time zone")
    return found.queue, ParkedText(found.raw, found.facts, found.parked_at)
