"""What keeps a worker from claiming: a breaker, a pause, want of memory, others who share its capacity."""

import asyncio
import time
from collections.abc import Sequence

import pytest

from fluxa import BreakerPolicy, FluxaError, JobInfo, QueueSpec, RetryPolicy
from fluxa.kernel.errors import ErrorCode
from fluxa.postgres.transaction import Transaction
from fluxa.queue.backend import Delivery, Envelope, Settlement
from fluxa.queue.record import Failure, Record
from fluxa.queue.worker.dispatcher import DispatcherConfig
from fluxa.queue.worker.limits import guard
from fluxa.queue.worker.triage import SUSPECT_CRASHES
from fluxa.resilience.budget import BudgetPolicy
from fluxa.telemetry.catalogue import BreakerChanged, MemoryLow, MemoryRecovered
from integration.worker.workshop import Workshop

QUICK = RetryPolicy(attempts_max=4, base_s=0.01, cap_s=0.02)


@pytest.mark.req("QUEUE-6", "HARDEN-1")
async def test_a_queue_whose_work_all_fails_rests_and_burns_no_attempts(workshop: Workshop) -> None:
    breaker = BreakerPolicy(failures=3, rest_s=0.3, rest_max_s=1.0, probes=1)
    await workshop.add(QueueSpec("jobs", concurrency=2, envelope_records=10, retry=QUICK, breaker=breaker))
    calls: list[float] = []
    is_well = False

    @workshop.app.handler("jobs")
    async def work(_job: int) -> None:
        calls.append(time.monotonic())
        if not is_well:
            raise FluxaError("ProviderUnavailable", "down")

    await workshop.producer.send("jobs", list(range(100)))
    async with workshop.running() as dispatcher:
        await workshop.signals.wait_for(BreakerChanged, lambda one: one.state == "open" and one.rest_s > 0.5)
        report = dispatcher.reports()[0]
        assert (report.breaker, report.last_error_code) == ("open", "ProviderUnavailable")
        assert report.rests_until is not None
        assert report.error_streak >= 4
        # Three failures open it, with two calls at once up to four; then one probe a rest.
        assert len(calls) <= 6
        is_well = True
        await workshop.empty("jobs")
        assert dispatcher.reports()[0].breaker == "closed"
    assert not await workshop.dead("jobs")
    rests = [one.rest_s for one in workshop.signals.heard if isinstance(one, BreakerChanged) and one.state == "open"]
    assert rests == sorted(rests)
    assert 0.2 < rests[0] < 0.4 < rests[1] < 1.2
    assert workshop.settled("jobs").done == 100
    assert workshop.settled("jobs").snoozed > 0


@pytest.mark.req("QUEUE-6")
async def test_bad_records_do_not_speak_against_the_queue(workshop: Workshop) -> None:
    await workshop.add(QueueSpec("jobs", breaker=BreakerPolicy(failures=2, rest_s=60)))

    @workshop.app.handler("jobs")
    async def work(_job: int) -> None:
        raise FluxaError("ProviderRejected", "no such address")

    await workshop.producer.send("jobs", list(range(20)))
    async with workshop.running():
        await workshop.empty("jobs")
    assert len(await workshop.dead("jobs")) == 20
    assert not any(isinstance(one, BreakerChanged) for one in workshop.signals.heard)


@pytest.mark.req("QUEUE-6")
async def test_repeats_of_a_few_bad_records_do_not_let_a_healthy_queue_rest(workshop: Workshop) -> None:
    breaker = BreakerPolicy(failures=3, rest_s=60)
    await workshop.add(QueueSpec("jobs", concurrency=1, retry=QUICK, breaker=breaker))

    @workshop.app.handler("jobs")
    async def work(job: int) -> None:
        if job % 10 == 0:
            raise ValueError("never this one")

    await workshop.producer.send("jobs", list(range(1, 101)))
    async with workshop.running():
        await workshop.empty("jobs")
    assert len(await workshop.dead("jobs")) == 10
    assert workshop.settled("jobs").done == 90
    assert not any(isinstance(one, BreakerChanged) for one in workshop.signals.heard)


@pytest.mark.req("QUEUE-6")
async def test_a_handler_that_fails_for_everything_lets_its_queue_rest(workshop: Workshop) -> None:
    await workshop.add(QueueSpec("jobs", concurrency=1, breaker=BreakerPolicy(failures=3, rest_s=60)))
    tries = 0

    @workshop.app.handler("jobs")
    async def work(_job: int) -> None:
        nonlocal tries
        tries += 1
        raise ValueError("a bad build")

    await workshop.producer.send("jobs", list(range(100)))
    async with workshop.running():
        await workshop.signals.wait_for(BreakerChanged)
    assert tries == 3


@pytest.mark.req("QUEUE-6", "HARDEN-1")
async def test_retries_beyond_the_budget_come_later_and_are_not_lost(workshop: Workshop) -> None:
    budget = BudgetPolicy(share=0.1, floor_per_s=20, window_s=0.1)
    spec = QueueSpec(
        "jobs", concurrency=1, retry=RetryPolicy(attempts_max=3, base_s=0.001, cap_s=1.0), budget=budget,
        breaker=BreakerPolicy(failures=10_000),
    )  # fmt: skip
    await workshop.add(spec)
    second: list[float] = []

    @workshop.app.handler("jobs")
    async def work(_job: int, info: JobInfo) -> None:
        if info.attempt == 1:
            raise FluxaError("ProviderUnavailable", "down")
        second.append(time.monotonic())

    await workshop.producer.send("jobs", list(range(30)))
    async with workshop.running():
        await workshop.until(lambda: len(second) == 30)
        await workshop.empty("jobs")
    assert second[-1] - second[0] > 0.4  # without the budget all of them would have come within milliseconds
    assert workshop.settled("jobs").done == 30


@pytest.mark.req("QUEUE-5")
async def test_a_paused_queue_is_left_alone_and_resumed(workshop: Workshop) -> None:
    await workshop.add(QueueSpec("jobs", concurrency=1))
    await workshop.add(QueueSpec("other"))
    done: list[int] = []

    @workshop.app.handler("jobs")
    async def work(job: int) -> None:
        done.append(job)

    @workshop.app.handler("other")
    async def work_other(_job: int) -> None: ...

    workshop.paused.add("jobs")
    await workshop.producer.send("jobs", [1])
    await workshop.producer.send("other", [1])
    async with workshop.running():
        await workshop.empty("other")
        assert not done
        workshop.paused.clear()
        await workshop.empty("jobs")
    assert done == [1]


@pytest.mark.req("QUEUE-5")
async def test_want_of_memory_stops_claims_and_not_the_work_in_hand(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = [50]
    monkeypatch.setattr(guard.MemoryGuard.__init__, "__kwdefaults__", {"read": lambda: used[0]})
    await workshop.add(QueueSpec("jobs", concurrency=1))
    begun: list[int] = []
    gate = asyncio.Event()

    @workshop.app.handler("jobs")
    async def work(job: int) -> None:
        begun.append(job)
        await gate.wait()

    await workshop.producer.send("jobs", [1])
    async with workshop.running(DispatcherConfig(wait_s=0.05, memory_limit_bytes=100)):
        await workshop.until(lambda: begun == [1])
        used[0] = 101
        low = await workshop.signals.wait_for(MemoryLow)
        assert (low.used_bytes, low.limit_bytes) == (101, 100)
        await workshop.producer.send("jobs", [2])
        gate.set()
        await workshop.until(lambda: workshop.settled("jobs").done == 1)
        assert begun == [1]
        used[0] = 95  # below the limit, and not by enough
        assert not any(isinstance(one, MemoryRecovered) for one in workshop.signals.heard)
        used[0] = 80
        await workshop.signals.wait_for(MemoryRecovered)
        await workshop.empty("jobs")
    assert begun == [1, 2]


@pytest.mark.req("QUEUE-5")
async def test_shared_capacity_goes_by_priority_and_nobody_starves(workshop: Workshop) -> None:
    await workshop.add(QueueSpec("urgent", priority=1, concurrency=4, envelope_records=50))
    await workshop.add(QueueSpec("patient", priority=9, concurrency=4, envelope_records=50))
    order: list[str] = []
    running = most = 0

    async def work(queue: str) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.02)
        running -= 1
        order.append(queue)

    @workshop.app.handler("urgent")
    async def urgent(_job: int) -> None:
        await work("urgent")

    @workshop.app.handler("patient")
    async def patient(_job: int) -> None:
        await work("patient")

    await workshop.producer.send("patient", list(range(20)))
    await workshop.producer.send("urgent", list(range(600)))
    async with workshop.running(DispatcherConfig(wait_s=0.05, capacity=2)):
        await workshop.until(lambda: order.count("patient") == 20, timeout_s=100)
        assert order.count("urgent") > 100  # it comes first
    assert most == 2
    assert "patient" in order[:450]  # and not always


@pytest.mark.req("QUEUE-5")
@pytest.mark.parametrize("capacity", [0, 4])
async def test_a_queue_that_hangs_keeps_its_own_share(workshop: Workshop, capacity: int) -> None:
    await workshop.add(QueueSpec("hung", priority=1, concurrency=4, timeout_s=60))
    await workshop.add(QueueSpec("brisk", priority=9, concurrency=4, envelope_records=100))
    hanging: list[int] = []
    done: list[int] = []

    @workshop.app.handler("hung")
    async def hang(job: int) -> None:
        hanging.append(job)
        await asyncio.sleep(600)

    @workshop.app.handler("brisk")
    async def work(jobs: Sequence[int]) -> None:
        done.extend(jobs)

    await workshop.producer.send("hung", list(range(50)))
    async with workshop.running(DispatcherConfig(wait_s=0.05, capacity=capacity, stop_within_s=0.1)):
        await workshop.until(lambda: len(hanging) == 4)
        await workshop.producer.send("brisk", list(range(2000)))
        await workshop.empty("brisk")
    assert sorted(done) == list(range(2000))
    assert len(hanging) == 4


@pytest.mark.req("QUEUE-3")
async def test_hundreds_that_one_crash_made_suspicious_are_soon_done_one_at_a_time(workshop: Workshop) -> None:
    await workshop.add(QueueSpec("jobs", concurrency=4))
    at_once: list[int] = []
    running = 0

    @workshop.app.handler("jobs")
    async def work(_job: int) -> None:
        nonlocal running
        running += 1
        at_once.append(running)
        await asyncio.sleep(0)
        running -= 1

    now = workshop.clock.now()
    crash = Failure(code=ErrorCode.HANDLER_CRASH, detail="a worker died", first_at=now, last_at=now)
    for number in range(300):
        record = Record(id=f"job-{number}", body=b"1", created_at=now, attempt=SUSPECT_CRASHES, failure=crash)
        await workshop.backend.send("jobs", [Envelope((record,))])
    began_s = time.monotonic()
    async with workshop.running():
        await workshop.empty("jobs", timeout_s=60)
    assert workshop.settled("jobs").done == 300
    assert set(at_once) == {1}
    # Each has its turn 20 ms after the one before; all coming back together took a fifth of a second for each.
    assert time.monotonic() - began_s < 30


@pytest.mark.req("QUEUE-3")
async def test_a_suspect_begins_only_when_those_put_off_are_back_in_the_queue(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    await workshop.add(QueueSpec("jobs", concurrency=4))
    settle, may_settle, asked = workshop.backend.settle, asyncio.Event(), asyncio.Event()
    begun: list[int] = []

    async def settle_late(settlements: Sequence[Settlement], *, tx: Transaction | None = None) -> list[Delivery]:
        asked.set()
        await may_settle.wait()
        return await settle(settlements, tx=tx)

    monkeypatch.setattr(workshop.backend, "settle", settle_late)

    @workshop.app.handler("jobs")
    async def work(job: int) -> None:
        begun.append(job)

    now = workshop.clock.now()
    crash = Failure(code=ErrorCode.HANDLER_CRASH, detail="a worker died", first_at=now, last_at=now)
    for number in range(3):
        record = Record(id=f"job-{number}", body=b"1", created_at=now, attempt=SUSPECT_CRASHES, failure=crash)
        await workshop.backend.send("jobs", [Envelope((record,))])
    async with workshop.running():
        await asyncio.wait_for(asked.wait(), 10)
        await asyncio.sleep(0.3)  # long enough for a suspect that waits for nothing
        assert not begun
        may_settle.set()
        await workshop.empty("jobs")
    assert len(begun) == 3
