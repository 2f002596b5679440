"""What becomes of the records of external queues (QUEUE-13)."""

import datetime as dt
from dataclasses import dataclass, field

import pytest

from fluxa.application import Fluxa
from fluxa.kernel.errors import ErrorCode, FluxaError, RetryClass
from fluxa.providers.answers import NotSentError, OutcomeUnknownError
from fluxa.providers.http_endpoint import Parcel
from fluxa.queue.outcome import Dead, Outcome, Snooze
from fluxa.queue.record import Failure, Record
from fluxa.queue.registry import QueueSpec
from fluxa.queue.worker.handlers import JobInfo
from fluxa.station.queues.jobs import External, register
from fluxa.testing.clock import ManualClock

pytestmark = pytest.mark.req("QUEUE-13")

QUEUE = "package_generation"


@dataclass
class Endpoint:
    """An endpoint that does as it is told."""

    error: FluxaError | None = None
    parcels: list[Parcel] = field(default_factory=list)

    async def deliver(self, parcel: Parcel) -> None:
        self.parcels.append(parcel)
        if self.error is not None:
            raise self.error


class Line:
    """The handler of the external queue, as the worker would call it."""

    def __init__(self, error: FluxaError | None = None, *, dedupe_s: float = 3600.0) -> None:
        self.clock, self.endpoint, self.slept_s = ManualClock(), Endpoint(error), list[float]()
        self.app = Fluxa()
        external = External(self.endpoint, timeout_s=90.0, place_wait_s=10.0, dedupe_s=dedupe_s)
        register(self.app, {QUEUE: external}, self.clock, sleep=self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.clock.advance(seconds)

    async def work(self, *, failed_before_s: float | None = None) -> Outcome | None:
        now = self.clock.now()
        failure = None
        if failed_before_s is not None:
            first = now - dt.timedelta(seconds=failed_before_s)
            failure = Failure(code="OutcomeUnknown", detail="", first_at=first, last_at=first)
        record = Record(
            id="r1", body=b"\x00<x/>", created_at=now, content_type="text/xml", correlation_id="c1", failure=failure
        )
        info = JobInfo(
            queue=QUEUE,
            id="r1",
            attempt=1 if failure is None else 2,
            enqueued_at=now,
            created_at=now,
            correlation_id="c1",
            deadline=now + dt.timedelta(seconds=60),
            key=None,
            redrives=0,
            headers={},
            content_type="text/xml",
        )
        outcome: Outcome | None = await self.app.handlers.get(QUEUE).function(record, info)
        assert outcome is None or isinstance(outcome, Dead | Snooze)
        return outcome


async def test_a_record_is_handed_over_as_it_is() -> None:
    line = Line()
    assert await line.work() is None
    assert await line.work(failed_before_s=1.0) is None
    assert line.endpoint.parcels[0] == Parcel("r1", b"\x00<x/>", "text/xml", "c1", 1)
    assert line.endpoint.parcels[1].attempt == 2


async def test_what_was_not_tried_comes_back_without_an_attempt_when_the_way_is_free() -> None:
    line = Line(NotSentError(ErrorCode.PROVIDER_UNAVAILABLE, "rests", retry_after_s=120.0))
    free_at = line.clock.now() + dt.timedelta(seconds=120)
    assert await line.work() == Snooze(free_at)
    assert line.slept_s == [10.0]  # the slot rests too, so a long queue is not turned over while nothing goes


async def test_an_unknown_outcome_is_sent_again_while_the_endpoint_remembers_the_id() -> None:
    line = Line(OutcomeUnknownError("no answer"))
    with pytest.raises(OutcomeUnknownError):
        await line.work()
    with pytest.raises(OutcomeUnknownError):
        await line.work(failed_before_s=3599.0)
    policy = line.app.registry.get(QUEUE).retry
    assert policy.class_of(ErrorCode.OUTCOME_UNKNOWN) is RetryClass.TRANSIENT
    dead = await line.work(failed_before_s=3600.0)
    assert isinstance(dead, Dead)
    assert dead.code == ErrorCode.OUTCOME_UNKNOWN


async def test_without_memory_of_ids_a_person_decides_about_an_unknown_outcome() -> None:
    line = Line(OutcomeUnknownError("no answer"), dedupe_s=0.0)
    assert isinstance(await line.work(), Dead)
    assert line.app.registry.get(QUEUE).retry.class_of(ErrorCode.OUTCOME_UNKNOWN) is RetryClass.PERMANENT


async def test_other_failures_are_for_the_policy_of_the_queue() -> None:
    line = Line(FluxaError(ErrorCode.PROVIDER_REJECTED, "422"))
    with pytest.raises(FluxaError, match="422"):
        await line.work()


def test_a_handler_may_take_as_long_as_a_delivery_may() -> None:
    spec = Line().app.registry.get(QUEUE)
    assert spec.timeout_s >= 100.0
    assert spec.external


def test_an_endpoint_for_a_queue_that_is_not_external_is_refused() -> None:
    external = External(Endpoint(), timeout_s=1.0, place_wait_s=1.0, dedupe_s=0.0)
    for name in ("pulse", "no_such_queue"):
        with pytest.raises(FluxaError, match="package_generation") as caught:
            register(Fluxa(), {name: external}, ManualClock())
        assert caught.value.code == ErrorCode.CONFIGURATION


def test_queues_without_an_endpoint_have_no_handler() -> None:
    app = Fluxa()
    app.queue(QueueSpec("exports", external=True))
    register(app, {"exports": External(Endpoint(), timeout_s=1.0, place_wait_s=1.0, dedupe_s=0.0)}, ManualClock())
    assert QUEUE not in app.handlers
    assert "exports" in app.handlers
