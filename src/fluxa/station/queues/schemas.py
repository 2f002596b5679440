"""What the queue routes take and answer. Not: how it is found, or the drain's own report (drain)."""

import datetime as dt
from typing import Annotated

import msgspec
from msgspec import Meta

from fluxa.kernel.errors import RetryClass

Text = Annotated[str, Meta(min_length=1, max_length=200)]
Reason = Annotated[str, Meta(min_length=1, max_length=1000, pattern=r"\S")]
Names = Annotated[tuple[Text, ...], Meta(max_length=1000)]


class PauseRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why a queue is paused.

    Attributes:
        reason: for whoever finds it paused.
    """

    reason: Reason


class ControlView(msgspec.Struct, frozen=True, kw_only=True):
    """The last word about a queue.

    Attributes:
        queue: which one.
        paused: whether nothing is claimed from it.
        by: who said so.
        reason: why.
        changed_at: when.
    """

    queue: str
    paused: bool
    by: str
    reason: str
    changed_at: dt.datetime


class LetterView(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter without its body.

    Attributes:
        id: in the dead-letter queue.
        queue: where it came from.
        record_id: the record's id; of an event, the event's.
        key: what its order is kept by; null if nothing.
        correlation_id: the story it belongs to.
        content_type: what its body is.
        body_bytes: how long its body is.
        headers: small facts that travelled with it.
        created_at: when it was first sent.
        error_code: what parked it.
        retry_class: what may be done with it: transient, permanent or security.
        reason: the error's text.
        attempts: attempts made in all.
        redrives: how often it was sent back before.
        first_failed_at: when the first attempt failed.
        last_failed_at: when the last one did.
        readable: whether the message could be read; if not, its body is the message as it lies there.
    """

    id: str
    queue: str
    record_id: str
    key: str | None
    correlation_id: str
    content_type: str
    body_bytes: int
    headers: dict[str, str]
    created_at: dt.datetime
    error_code: str
    retry_class: RetryClass
    reason: str
    attempts: int
    redrives: int
    first_failed_at: dt.datetime
    last_failed_at: dt.datetime
    readable: bool


class WholeLetterView(LetterView, frozen=True, kw_only=True):
    """A dead letter with its body.

    Attributes:
        body: the body, where it is text; else null.
        body_base64: the body, where it is not; else null.
    """

    body: str | None
    body_base64: bytes | None


class LetterPage(msgspec.Struct, frozen=True):
    """A page of dead letters, oldest first.

    Attributes:
        items: the letters.
        next: `after` of the next page; null on the last one.
    """

    items: list[LetterView]
    next: str | None
