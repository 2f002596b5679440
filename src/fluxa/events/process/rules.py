"""What the processor decides without waiting: attempts, outcomes, how much to claim, whose fault an error is."""

import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

import msgspec

from fluxa.kernel.errors import ErrorCode
from fluxa.queue.backend import Delivery
from fluxa.queue.outcome import Outcome
from fluxa.queue.policy import RetryPolicy
from fluxa.queue.record import Record

T = TypeVar("T")

FIRST_CLAIM = 16
"""Messages to claim when nothing is known of their size; few enough to leave some to the other lanes."""
_DATA_FAULTS = ("22", "23", "54")
"""SQLSTATE classes that a row can bring about: data exception, integrity, program limit."""
CROWD = 8
"""Records in one claim that show more than one producer at work."""
_OLDEST = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
_AHEAD_MAX = dt.timedelta(days=1)


def attempts_before(record: Record, received_count: int) -> int:
    """Attempts that have failed so far, those included that ended because a worker died."""
    return record.attempt + received_count - 1


def decide(
    record: Record, received_count: int, code: str, detail: str, *, policy: RetryPolicy, now: dt.datetime, chance: float
) -> Outcome:
    """What becomes of a record that failed, crashes counted.

    Args:
        record: as it came.
        received_count: how often its envelope was claimed.
        code: the error code.
        detail: the error's text.
        policy: how the queue repeats.
        now: the time of the failure.
        chance: in [0, 1), spreads retries.
    """
    counted = msgspec.structs.replace(record, attempt=attempts_before(record, received_count))
    return policy.decide(counted, code, detail, now=now, chance=chance)


def unreadable(delivery: Delivery) -> Record:
    """What stands for the record of a message that could not be read."""
    return Record(id=f"message-{delivery.message_id}", body=b"", created_at=delivery.enqueued_at)


def is_plausible_arrival(moment: dt.datetime, now: dt.datetime) -> bool:
    """Whether an event can have come through the door then; each month with an event becomes a table."""
    if moment.tzinfo is None or moment < _OLDEST:
        return False
    return moment <= now or moment <= now + _AHEAD_MAX


def is_fault_of_data(code: str, sqlstate: str | None) -> bool:
    """Whether Postgres refused a row for what is in it, rather than the statement or the moment."""
    return code == ErrorCode.DB_REJECTED and sqlstate is not None and sqlstate[:2] in _DATA_FAULTS


def halves(items: Sequence[T]) -> tuple[Sequence[T], Sequence[T]]:
    """Two parts that differ by one at most."""
    middle = len(items) // 2
    return items[:middle], items[middle:]


def batches(deliveries: Iterable[Delivery], records_max: int) -> Iterator[list[Delivery]]:
    """Deliveries in groups of about so many records; one that has more by itself is a group of its own."""
    group: list[Delivery] = []
    records = 0
    for delivery in deliveries:
        size = max(1, len(delivery.records))
        if group and records + size > records_max:
            yield group
            group, records = [], 0
        group.append(delivery)
        records += size
    if group:
        yield group


def next_limit(messages: int, records: int, *, records_aim: int, limit_max: int) -> int:
    """How many messages to claim next so that they hold about so many records, going by the last claim."""
    if not messages:
        return min(limit_max, FIRST_CLAIM)
    return max(1, min(limit_max, records_aim * messages // max(1, records)))


def is_hurried(records: int, *, records_aim: int) -> bool:
    """Whether events come faster than one by one, but so few at a time that a short wait saves many transactions.

    A transaction with a handful of events costs nearly what one with hundreds does. Events that come one by one
    are never kept waiting; where they come faster than that costs, they gather by themselves and count as a crowd.
    """
    return CROWD <= records < records_aim // 8
