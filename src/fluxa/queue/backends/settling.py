"""What a settlement means for the engine, as values: which messages to send again and which to park. Pure."""

import datetime as dt
from collections.abc import Iterable
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
class Kept:
    """What stays of a message in its own place, as ordered queues want it.

    Attributes:
        origin: the id of the claimed message, which keeps it.
        message: its text from now on.
        delay_s: seconds before it can be claimed.
    """

    origin: str
    message: str
    delay_s: float


@dataclass(frozen=True, slots=True)
class Effects:
    """What follows when a claimed message is removed, or replaced by what is kept of it."""

    again: tuple[Again, ...]
    parked: tuple[Parked, ...]
    kept: Kept | None = None


NOTHING = Effects((), ())
"""The effects of a settlement whose records are all done."""


def effects(settlement: Settlement, *, now: dt.datetime, in_place: bool = False) -> Effects:
    """What a settlement asks of the engine besides removing the message.

    Args:
        settlement: the delivery and its outcomes.
        now: the time that delays are counted from.
        in_place: whether what is tried again keeps the message's place, all of it together and no sooner than the
            last of it may be; else each record is sent again by itself.

    Raises:
        ValueError: if there is not one outcome for each record (one in all for a delivery with a defect).
    """
    delivery, outcomes = settlement.delivery, settlement.outcomes
    if len(outcomes) != (1 if delivery.defect else len(delivery.records)):
        raise ValueError(f"message {delivery.message_id} has {len(delivery.records)} records, {len(outcomes)} outcomes")
    if all(isinstance(outcome, Done) for outcome in outcomes):
        return NOTHING
    if delivery.defect:
        return _unreadable(delivery, outcomes[0], now, in_place=in_place)
    left: list[tuple[Record, dt.datetime]] = []
    parked: list[Parked] = []
    for record, outcome in zip(delivery.records, outcomes, strict=True):
        match outcome:
            case Retry(at=at, code=code, detail=detail):
                left.append((_failed(record, delivery.received_count, code, detail, now), at))
            case Snooze(until=until):
                left.append((_snoozed(record, delivery, now), until))
            case Dead(code=code, detail=detail):
                failed = _failed(record, delivery.received_count, code, detail, now)
                parked.append(_parked(delivery, encode(Envelope((failed,))), _facts(delivery, failed, outcome, now)))
            case Done():
                pass
    if left and in_place:
        text = encode(Envelope(tuple(record for record, _ in left)))
        return Effects((), tuple(parked), Kept(delivery.message_id, text, _delay_s(max(at for _, at in left), now)))
    again = [Again(delivery.message_id, encode(Envelope((record,))), _delay_s(at, now)) for record, at in left]
    return Effects(tuple(again), tuple(parked))


def _unreadable(delivery: Delivery, outcome: Outcome, now: dt.datetime, *, in_place: bool) -> Effects:
    """A message with a defect goes on as the text it is: it has no records to count attempts in."""
    match outcome:
        case Retry(at=at) | Snooze(until=at):
            if in_place:
                return Effects((), (), Kept(delivery.message_id, delivery.raw, _delay_s(at, now)))
            return Effects((Again(delivery.message_id, delivery.raw, _delay_s(at, now)),), ())
        case Dead():
            return Effects((), (_parked(delivery, delivery.raw, _facts(delivery, None, outcome, now)),))
        case Done():
            return NOTHING


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


def _delay_s(at: dt.datetime, now: dt.datetime) -> float:
    return max(0.0, (at - now).total_seconds())


def _parked(delivery: Delivery, message: str, facts: Facts) -> Parked:
    return Parked(delivery.message_id, message, write_facts(facts))


def one_key_each(envelopes: Iterable[Envelope]) -> list[str | None]:
    """The key of each envelope, for queues with a rule for keys.

    Raises:
        ValueError: if the records of one do not share their key: no rule could be kept for it.
    """
    keys = []
    for envelope in envelopes:
        own = {record.key for record in envelope.records}
        if len(own) != 1:
            raise ValueError("in a queue with a rule for keys an envelope holds records of one key")
        keys.append(own.pop())
    return keys
