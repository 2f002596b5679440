"""What to do with claimed messages before a handler sees them: park, split, isolate, or hand out. Pure."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from fluxa.kernel.errors import ErrorCode
from fluxa.queue.backend import Delivery, Settlement
from fluxa.queue.outcome import Dead, Outcome, Snooze
from fluxa.queue.policy import RetryPolicy
from fluxa.queue.record import Record

SUSPECT_CRASHES = 2
"""A record that so many workers died with is worked on alone: one crash is chance, or somebody's restart."""

SUSPECT_GAP_S = 0.02
"""Suspects that have to wait for their turn come back one after another, this far apart: coming back together, all but
one would be put off again each time, and hundreds that one crash made suspicious would take minutes."""


@dataclass(frozen=True, slots=True)
class Triaged:
    """Claimed messages, sorted. To be carried out in this order.

    Attributes:
        settle: settle these first, whatever happens to the rest: parked, split, or given back.
        work: hand these out.
        alone: hand this one out when all of `work` is settled, with nothing else in hand: it may kill the worker.
    """

    settle: tuple[Settlement, ...]
    work: tuple[Delivery, ...]
    alone: Delivery | None

    def put_off(self, now: dt.datetime) -> Self:
        """The same, with the suspect given back for a moment: another one is having the time alone."""
        if self.alone is None:
            return self
        return replace(self, settle=(*self.settle, _put_off(self.alone, now, len(self.settle) + 1)), alone=None)


def _put_off(suspect: Delivery, now: dt.datetime, place: int) -> Settlement:
    later = Snooze(now + dt.timedelta(seconds=SUSPECT_GAP_S * place))
    return Settlement(suspect, (later,) * len(suspect.records))


def triage(deliveries: Sequence[Delivery], policy: RetryPolicy, *, now: dt.datetime, ordered: bool = False) -> Triaged:
    """Sort what was claimed, so that a record that kills workers cannot take its neighbours along.

    - What cannot be read is parked with the code of its defect.
    - A record that crashed as often as the policy allows is parked as `HandlerCrash`.
    - Several records in one message that crashed repeatedly are sent again, each in its own message;
      not so in an ordered queue, where what is sent again keeps its place and its company: it is handed out alone.
    - Of the suspects that remain one is handed out, alone; the others go back, each for a moment longer, their crashes
      counted.
    """
    settle: list[Settlement] = []
    work: list[Delivery] = []
    alone: Delivery | None = None
    put_off = 0
    for delivery in deliveries:
        outcomes = _before_work(delivery, policy, now, ordered=ordered)
        if outcomes is not None:
            settle.append(Settlement(delivery, outcomes))
        elif not _is_suspect(delivery):
            work.append(delivery)
        elif alone is None:
            alone = delivery
        else:
            put_off += 1
            settle.append(_put_off(delivery, now, put_off))
    return Triaged(tuple(settle), tuple(work), alone)


def _before_work(
    delivery: Delivery, policy: RetryPolicy, now: dt.datetime, *, ordered: bool
) -> tuple[Outcome, ...] | None:
    if delivery.defect:
        return (Dead(delivery.defect.code, delivery.defect.detail),)
    verdicts = [policy.crashed(record, delivery.received_count) for record in delivery.records]
    split = not ordered and len(delivery.records) > 1 and _is_suspect(delivery)
    if not split and not any(verdicts):
        return None
    # A settlement counts the crashes before it, so giving a record back is no way round the limit.
    return tuple(verdict or Snooze(now) for verdict in verdicts)


def _is_suspect(delivery: Delivery) -> bool:
    return delivery.received_count > SUSPECT_CRASHES or any(map(_has_crashed, delivery.records))


def _has_crashed(record: Record) -> bool:
    failure = record.failure
    return failure is not None and failure.code == ErrorCode.HANDLER_CRASH and record.attempt >= SUSPECT_CRASHES
