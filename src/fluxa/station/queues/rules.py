"""Pure decisions of the queue routes: the JSON forms of what the engines hand over."""

from typing import Any

from fluxa.queue.dead_letters.choice import class_of
from fluxa.queue.record import DeadLetter
from fluxa.station.queues.schemas import LetterView, WholeLetterView

LETTER_ID_PATTERN = r"^[0-9]{1,18}$"
"""What the id of a dead letter looks like, as OpenAPI says it."""


def view(letter: DeadLetter) -> LetterView:
    """A dead letter in a list."""
    return LetterView(**_facts(letter))


def whole_view(letter: DeadLetter) -> WholeLetterView:
    """A dead letter on its own."""
    body = letter.record.body
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return WholeLetterView(**_facts(letter), body=None, body_base64=body)
    return WholeLetterView(**_facts(letter), body=text, body_base64=None)


def _facts(letter: DeadLetter) -> dict[str, Any]:
    record = letter.record
    return {
        "id": letter.message_id,
        "queue": letter.queue,
        "record_id": record.id,
        "key": record.key,
        "correlation_id": record.correlation_id,
        "content_type": record.content_type,
        "body_bytes": len(record.body),
        "headers": record.headers,
        "created_at": record.created_at,
        "error_code": letter.code,
        "retry_class": class_of(letter),
        "reason": letter.reason,
        "attempts": letter.attempts,
        "redrives": record.redrives,
        "first_failed_at": letter.first_failed_at,
        "last_failed_at": letter.last_failed_at,
        "readable": letter.readable,
    }
