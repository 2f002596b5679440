"""What a settlement means for the engine, as values: which messages to send again and which to park. Pure."""

import datetime as dt
from dataclasses import dataclass

import msgspec

from fluxa.kernel.errors import ErrorCode, retry_class
from fluxa.queue.backend import Delivery, Envelope, Settlement
from fluxa.queue.backends.parking import Facts, harmless, write_facts
from fluxa.queue.envelope import encode
from fluxa.queue.outcome import Dead, Done, Outcome, Retry, Snooze
from fluxa.queue.record import Failure, Record


@dataclass(frozen=True, slots=True)
class Again:
    """A message to send again.

    Attributes:
        origin: the id of the claimed message that it follows from.
        message: its text.
        delay_s: seconds before it can be claimed.
    """

    origin: str
    message: str
    delay_s: float


@dataclass(frozen=True, slots=True)
class Parked:
    """A message for the dead-letter queue.

    Attributes:
        origin: the id of the claimed message that it follows from.
        message: its text.
        facts: its headers, JSON text.
    """

    origin: str
    message: str
    facts: str


@dataclass(frozen=True, slots=True)
class Effects:
    """What follows when a claimed message is removed."""

    again: tuple[Again, ...]
    parked: tuple[Parked, ...]


NOTHING = Effects((), ())
"""The effects of a settlement whose records are all done."""


def effects(settlement: Settlement, *, now: dt.datetime) -> Effects:
    """What a settlement asks of the engine besides removing the message.

    Raises:
        ValueError: if there is not one outcome for each record (one in all for a delivery with a defect).
    """
    delivery, outcomes = settlement.delivery, settlement.outcomes
    if len(outcomes) != (1 if delivery.defect else len(delivery.records)):
        raise ValueError(f"message {delivery.message_id} has {len(delivery.records)} records, {len(outcomes)} outcomes")
    if all(isinstance(outcome, Done) for outcome in outcomes):
        return NOTHING
    again: list[Again] = []
    parked: list[Parked] = []
    if delivery.defect:
        _unreadable(delivery, outcomes[0], now, again, parked)
    for record, outcome in zip(delivery.records, outcomes, strict=False):
        match outcome:
            case Retry(at=at, code=code, detail=detail):
                failed = _failed(record, delivery.received_count, code, detail, now)
                again.append(_again(delivery, encode(Envelope((failed,))), at, now))
            case Snooze(until=until):
                again.append(_again(delivery, encode(Envelope((_snoozed(record, delivery, now),))), until, now))
            case Dead(code=code, detail=detail):
                failed = _failed(record, delivery.received_count, code, detail, now)
                parked.append(_parked(delivery, encode(Envelope((failed,))), _facts(delivery, failed, outcome, now)))
            case Done():
                pass
    return Effects(tuple(again), tuple(parked))


def _unreadable(
    delivery: Delivery, outcome: Outcome, now: dt.datetime, again: list[Again], parked: list[Parked]
) -> None:
    """A message with a defect goes on as the text it is: it has no records to count attempts in."""
    match outcome:
        case Retry(at=at) | Snooze(until=at):
            again.append(_again(delivery, delivery.raw, at, now))
        case Dead():
            parked.append(_parked(delivery, delivery.raw, _facts(delivery, None, outcome, now)))
        case Done():
            pass


def _failed(record: Record, received_count: int, code: str, detail: str, now: dt.datetime) -> Record:
    """The record after one more failed attempt; claims that were never settled were attempts too."""
    first_at = record.failure.first_at if record.failure else now
    failure = Failure(code=harmless(code), detail=harmless(detail), first_at=first_at, last_at=now)
    return msgspec.structs.replace(record, attempt=record.attempt + received_count, failure=failure)


def _snoozed(record: Record, delivery: Delivery, now: dt.datetime) -> Record:
    """The record as it was, but for the workers that died while they held it."""
    crashes = delivery.received_count - 1
    if not crashes:
        return record
    return _failed(record, crashes, ErrorCode.HANDLER_CRASH, "a worker died or lost its lease while it held it", now)


def _facts(delivery: Delivery, failed: Record | None, outcome: Dead, now: dt.datetime) -> Facts:
    first_at = failed.failure.first_at if failed and failed.failure else now
    return Facts(
        queue=delivery.queue,
        code=harmless(outcome.code),
        retry=retry_class(outcome.code),
        reason=harmless(outcome.detail),
        attempts=failed.attempt if failed else delivery.received_count,
        first_failed_at=first_at,
        last_failed_at=now,
        readable=failed is not None,
        redrives=failed.redrives if failed else 0,
        record_id=harmless(failed.id) if failed else None,
        key=harmless(failed.key) if failed and failed.key is not None else None,
    )


def _again(delivery: Delivery, message: str, at: dt.datetime, now: dt.datetime) -> Again:
    return Again(delivery.message_id, message, max(0.0, (at - now).total_seconds()))


def _parked(delivery: Delivery, message: str, facts: Facts) -> Parked:
    return Parked(delivery.message_id, message, write_facts(facts))
