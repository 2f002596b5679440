"""What comes of a handler's call: its answer or its error becomes one outcome for each record. Pure."""

import datetime as dt
import re
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.queue.outcome import DONE, Dead, Done, Outcome, Retry, Snooze
from fluxa.queue.record import Record
from fluxa.queue.registry import QueueSpec
from fluxa.queue.worker.handlers import HandlerSpec, JobInfo

_TEXT_MAX = 1000
_SECRETS = (
    re.compile(r"(?P<keep>://[^:/@\s]*:)[^@\s]+(?=@)"),
    re.compile(r"(?P<keep>(?i:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{6,}"),
    re.compile(
        r"(?P<keep>(?i:password|passwd|secret|token|api[_-]?key|access[_-]?key|authorization|signature|credential)"
        r"s?[\"']?\s*[=:]\s*[\"']?)[^\s\"',;&)}]+"
    ),
)


@dataclass(frozen=True, slots=True)
class Tried:
    """One record whose attempt just ended.

    Attributes:
        record: as it came.
        received_count: how often its message was claimed; all but the last claim ended in a crash.
        in_company: whether others were in the same call, so that nobody knows whose fault an error was.
    """

    record: Record
    received_count: int
    in_company: bool = False


def as_fluxa(error: BaseException) -> FluxaError:
    """What a handler raised, as one of our errors: its own code if it has one, else `HandlerError`.

    The text tells the exception's type, message and place, without what looks like a secret.
    """
    if isinstance(error, FluxaError):
        return error
    text = str(error).strip()
    kind = type(error).__name__
    return FluxaError(ErrorCode.HANDLER_ERROR, harmless(f"{kind}: {text}" if text else kind) + _place(error))


def _place(error: BaseException) -> str:
    """Where in the code it was raised: without that a message such as a KeyError's says little."""
    steps = traceback.extract_tb(error.__traceback__)
    return f" ({PurePath(steps[-1].filename).name}, line {steps[-1].lineno})" if steps else ""


def harmless(text: str) -> str:
    """A text without passwords of URLs, bearer tokens, and values named like secrets; not longer than 1000."""
    for pattern in _SECRETS:
        text = pattern.sub(r"\g<keep>****", text)
    return text[:_TEXT_MAX]


def failed(tried: Tried, error: FluxaError, spec: QueueSpec, *, now: dt.datetime, chance: float) -> Outcome:
    """What becomes of a record whose call failed.

    One that was in company is always tried again, because next time it is alone: a permanent error may be another's.
    """
    detail = harmless(error.detail + (f" (at {error.pointer})" if error.pointer else ""))
    if tried.in_company:
        pause_s = spec.retry.delay_s(tried.record.attempt + tried.received_count, chance)
        return Retry(now + dt.timedelta(seconds=pause_s), error.code, detail)
    outcome = spec.retry.decide(
        tried.record, error.code, detail, now=now, chance=chance, received_count=tried.received_count
    )
    if isinstance(outcome, Retry) and error.code == ErrorCode.PROVIDER_THROTTLED and error.retry_after_s is not None:
        # The provider says when; up to a tenth later, so that they do not all come back at once.
        pause_s = max(0.0, error.retry_after_s) * (1 + chance / 10)
        return Retry(now + dt.timedelta(seconds=pause_s), outcome.code, outcome.detail)
    return outcome


def answered(answer: object, tried: Sequence[Tried], handler: HandlerSpec, spec: QueueSpec) -> Sequence[Outcome]:
    """The outcomes that a batch handler gave, one for each record.

    Raises:
        FluxaError: `HandlerError`, if there is not one for each.
    """
    if answer is None:
        return [DONE] * len(tried)
    if not isinstance(answer, Sequence) or len(answer) != len(tried):
        what = f"{len(answer)} outcomes" if isinstance(answer, Sequence) else f"a {type(answer).__name__}"
        raise FluxaError(
            ErrorCode.HANDLER_ERROR,
            f"{handler.name} returned {what} for {len(tried)} jobs: it returns None, or one outcome for each in order",
        )
    return [outcome_of(one, each, handler, spec) for one, each in zip(answer, tried, strict=True)]


def outcome_of(answer: object, tried: Tried, handler: HandlerSpec, spec: QueueSpec) -> Outcome:
    """The outcome that a handler gave for one record; one that asks for more attempts than there are is parked.

    Raises:
        FluxaError: `HandlerError`, if it is none.
    """
    match answer:
        case None | Done():
            return DONE
        case Retry(at=at, code=code, detail=detail):
            if at.tzinfo is None:
                raise FluxaError(ErrorCode.HANDLER_ERROR, f"{handler.name} returned a Retry whose time has no zone")
            if tried.record.attempt + tried.received_count >= spec.retry.attempts_max:
                return Dead(str(code), harmless(detail))
            return Retry(at, str(code), harmless(detail))
        case Dead(code=code, detail=detail):
            return Dead(str(code), harmless(detail))
        case Snooze(until=until):
            if until.tzinfo is None:
                raise FluxaError(ErrorCode.HANDLER_ERROR, f"{handler.name} returned a Snooze whose time has no zone")
            return answer
        case _:
            raise FluxaError(
                ErrorCode.HANDLER_ERROR, f"{handler.name} returned a {type(answer).__name__}, which is no outcome"
            )


def due(outcome: Retry | Snooze) -> Snooze:
    """To wait, without an attempt, until a record that stands before may be tried again."""
    match outcome:
        case Retry(at=at) | Snooze(until=at):
            return Snooze(at)


def job_info(queue: str, tried: Tried, *, enqueued_at: dt.datetime, deadline: dt.datetime) -> JobInfo:
    """What a handler may know of a record."""
    record = tried.record
    return JobInfo(
        queue=queue,
        id=record.id,
        attempt=record.attempt + tried.received_count,
        enqueued_at=enqueued_at,
        created_at=record.created_at,
        correlation_id=record.correlation_id,
        deadline=deadline,
        key=record.key,
        redrives=record.redrives,
        headers=record.headers,
        content_type=record.content_type,
    )
