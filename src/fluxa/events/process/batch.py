"""The work in hand: deliveries, their records one by one, and what became of each so far."""

import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from fluxa.events.carriage import TENANT
from fluxa.events.event import Event
from fluxa.events.process import rules
from fluxa.events.store import FailedAttempt, StoredEvent, Written
from fluxa.kernel.errors import FluxaError
from fluxa.queue.backend import Delivery, Settlement
from fluxa.queue.outcome import DONE, Dead, Outcome
from fluxa.queue.policy import RetryPolicy
from fluxa.queue.record import Record
from fluxa.telemetry.catalogue import Stage


@dataclass(frozen=True, slots=True)
class Failed:
    """Why a record cannot be stored.

    Attributes:
        code: the error code.
        detail: the error's text.
        stage: where it failed.
    """

    code: str
    detail: str
    stage: Stage


@dataclass(slots=True, eq=False)
class Item:
    """One record of a delivery.

    Attributes:
        delivery: what it came in.
        record: the record; a stand-in where the message could not be read.
        event: the event, once it could be read.
        row: what is to be stored, once verified.
        failed: why not, if so.
        outcome: what becomes of it.
        judged: whether the outcome was decided before any work.
    """

    delivery: Delivery
    record: Record
    event: Event | None = None
    row: StoredEvent | None = None
    failed: Failed | None = None
    outcome: Outcome = DONE
    judged: bool = False

    @property
    def attempt(self) -> int:
        """Which attempt this is, from 1."""
        return self.record.attempt + self.delivery.received_count

    def fail(self, error: FluxaError, stage: Stage) -> None:
        """Remember why it cannot be stored."""
        at = f" (at {error.pointer})" if error.pointer else ""
        self.failed = Failed(error.code, error.detail + at, stage)


@dataclass(slots=True)
class Batch:
    """Deliveries that are stored and settled in one transaction.

    Attributes:
        items: all their records, in order.
        claimed_at: when they were taken from the queue.
        default_tenant: whose the records are that name no tenant.
        stored: what was committed, where the engine could not be part of the transaction.
    """

    items: list[Item]
    claimed_at: dt.datetime
    default_tenant: str
    stored: Written | None = None

    @classmethod
    def of(cls, deliveries: Iterable[Delivery], *, claimed_at: dt.datetime, default_tenant: str) -> "Batch":
        """The records of deliveries that are to be worked on."""
        items = [Item(delivery, record) for delivery in deliveries for record in delivery.records]
        return cls(items, claimed_at, default_tenant)

    @classmethod
    def judged(cls, settlements: Iterable[Settlement], *, claimed_at: dt.datetime, default_tenant: str) -> "Batch":
        """What is to be settled without work: unreadable, given back, or dead of its workers' crashes."""
        items = []
        for settlement in settlements:
            delivery = settlement.delivery
            records = delivery.records or (rules.unreadable(delivery),)
            for record, verdict in zip(records, settlement.outcomes, strict=True):
                failed = Failed(verdict.code, verdict.detail, Stage.PROCESS) if isinstance(verdict, Dead) else None
                items.append(Item(delivery, record, failed=failed, outcome=verdict, judged=True))
        return cls(items, claimed_at, default_tenant)

    @property
    def deliveries(self) -> list[Delivery]:
        """What is under lease."""
        return list({item.delivery.message_id: item.delivery for item in self.items}.values())

    @property
    def good(self) -> list[Item]:
        """The items that are to be stored."""
        return [item for item in self.items if item.failed is None and item.row is not None]

    @property
    def bad(self) -> list[Item]:
        """The items that failed."""
        return [item for item in self.items if item.failed is not None]

    def drop(self, lost: Sequence[Delivery]) -> None:
        """Forget deliveries that are another worker's now."""
        ids = {delivery.message_id for delivery in lost}
        self.items = [item for item in self.items if item.delivery.message_id not in ids]

    def decide(self, policy: RetryPolicy, *, now: dt.datetime, chance: Callable[[], float]) -> None:
        """Give every item that failed its outcome."""
        for item in self.items:
            failed = item.failed
            if failed is not None and not item.judged:
                item.outcome = rules.decide(
                    item.record,
                    item.delivery.received_count,
                    failed.code,
                    failed.detail,
                    policy=policy,
                    now=now,
                    chance=chance(),
                )

    def settlements(self) -> list[Settlement]:
        """All outcomes, by delivery."""
        outcomes: dict[str, list[Outcome]] = {}
        for item in self.items:
            outcomes.setdefault(item.delivery.message_id, []).append(item.outcome)
        return [Settlement(delivery, tuple(outcomes[delivery.message_id])) for delivery in self.deliveries]

    def failures(self) -> list[FailedAttempt]:
        """The failed attempts, for the trace."""
        return [self._failure(item, item.failed) for item in self.items if item.failed is not None]

    def _failure(self, item: Item, failed: Failed) -> FailedAttempt:
        event = item.event
        return FailedAttempt(
            tenant=item.record.headers.get(TENANT, self.default_tenant),
            correlation_id=item.record.correlation_id if event is None else event.correlation_id,
            source=None if event is None else event.source,
            id=item.record.id if event is None else event.id,
            queue=item.delivery.queue,
            stage=failed.stage,
            attempt=item.attempt,
            error_code=failed.code,
            detail=failed.detail,
            parked=isinstance(item.outcome, Dead),
        )
