"""What an outside service answered, and what that means: delivered, failed, or unknown (decision 0013). Pure."""

import datetime as dt
import email.utils
from collections.abc import Mapping
from dataclasses import dataclass, field

from fluxa.kernel.errors import ErrorCode, FluxaError

_SHOWN_CHARS = 300
_PAUSE_MAX_S = 3600.0
"""The longest pause that a target can ask for; beyond that it is asked again."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer.

    Attributes:
        status: the status code.
        headers: by lower-case name; of a repeated one, the last.
        body: its beginning, as far as it was read.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(slots=True)
class Progress:
    """How far a call has come: what was not sent cannot have been done, and a status that has arrived is known.

    Attributes:
        sent: whether anything of the request may have left this machine.
        answered: the answer's head, once it is there.
    """

    sent: bool = False
    answered: Answer | None = None


class TransportError(Exception):
    """The connection failed, or what came over it was no HTTP; `Progress` says whether the request was sent."""


class OutcomeUnknownError(FluxaError):
    """The request was sent and no answer came: it may have been done, or not."""

    def __init__(self, detail: str) -> None:
        super().__init__(ErrorCode.OUTCOME_UNKNOWN, detail)


class NotSentError(FluxaError):
    """The call was kept here by its pace, its budget or its breaker: nothing was tried, so no attempt counts.

    `retry_after_s` says when another try makes sense.
    """

    def __init__(self, code: ErrorCode, detail: str, *, retry_after_s: float) -> None:
        super().__init__(code, detail, retry_after_s=retry_after_s)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an answer means.

    Attributes:
        error: what to raise; None if it was delivered.
        against_target: whether it speaks against the target as a whole, not only against this piece of work.
    """

    error: FluxaError | None = None
    against_target: bool = False


DELIVERED = Verdict()


def judge(answer: Answer, *, now: dt.datetime) -> Verdict:
    """What an answer means by its status (RFC 9110, and the Standard Webhooks specification)."""
    status = answer.status
    if status in range(200, 300):
        return DELIVERED
    pause_s = retry_after_s(answer.headers.get("retry-after"), now=now)
    said = f"It answered {status}{_shown(answer.body)}."
    code, against_target = _meaning(status)
    if status in range(300, 400):
        said = f"It answered {status}: redirects are not followed, name the final URL."
    elif code is ErrorCode.PROVIDER_THROTTLED:
        # One that says when it will listen is well; one that only refuses is asked ever more rarely.
        against_target = pause_s is None
    return Verdict(FluxaError(code, said, retry_after_s=pause_s), against_target=against_target)


def _meaning(status: int) -> tuple[ErrorCode, bool]:
    """The error of a status that is no success, and whether it speaks against the whole target."""
    match status:
        case 429:
            return ErrorCode.PROVIDER_THROTTLED, False
        case 401 | 403 | 407:
            return ErrorCode.PROVIDER_UNAUTHORIZED, True
        case 408 | 425:
            return ErrorCode.PROVIDER_UNAVAILABLE, True
        case _ if status in range(400, 500):
            # The wrong address refuses everything; any other refusal is about this piece of work alone.
            return ErrorCode.PROVIDER_REJECTED, status in (404, 405, 410)
        case _ if status in range(300, 400):
            return ErrorCode.PROVIDER_REJECTED, True
        case _:
            return ErrorCode.PROVIDER_UNAVAILABLE, True


def retry_after_s(value: str | None, *, now: dt.datetime) -> float | None:
    """Seconds that a `Retry-After` asks for, as a number or a date (RFC 9110 §10.2.3); None if none is valid."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        # A number of many digits is no pause anybody waits for; parsing it could be made slow.
        return min(float(text[:10]), _PAUSE_MAX_S)
    try:
        at = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=dt.UTC)
    return min(max(0.0, (at - now).total_seconds()), _PAUSE_MAX_S)


def _shown(body: bytes) -> str:
    """The beginning of a body for people: printable, on one line."""
    text = body[: _SHOWN_CHARS * 4].decode("utf-8", "replace")
    clean = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return f": {clean[:_SHOWN_CHARS]}" if clean else ""
