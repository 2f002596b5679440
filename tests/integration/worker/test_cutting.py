"""Calls that are cut short: by their time, by a lost lease, by the end of the worker. Nothing is lost or burnt."""

import asyncio
import threading
from collections.abc import Sequence

import pytest

from fluxa import BreakerPolicy, JobInfo, QueueSpec, RetryPolicy
from fluxa.queue.worker.dispatcher import DispatcherConfig
from fluxa.telemetry.catalogue import LeasesLost, LoopBlocked
from integration.worker.workshop import Workshop

TWICE = RetryPolicy(attempts_max=2, base_s=0.01, cap_s=0.05)
NEVER = BreakerPolicy(failures=10_000)


@pytest.mark.req("QUEUE-4", "QUEUE-5")
@pytest.mark.parametrize("heeds", [True, False])
async def test_a_handler_that_takes_too_long_is_ended_and_its_place_is_free(workshop: Workshop, heeds: bool) -> None:  # noqa: FBT001 - a case
    await workshop.add(QueueSpec("jobs", concurrency=1, timeout_s=0.15, retry=TWICE, breaker=NEVER))
    ended: list[str] = []
    done: list[int] = []

    @workshop.app.handler("jobs")
    async def work(job: int) -> None:
        if job == 1:
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                ended.append("told")
                if heeds:
                    raise
                return  # it says that it is done, but its time was over
        done.append(job)

    await workshop.producer.send("jobs", [1, 2])
    async with workshop.running():
        await workshop.empty("jobs")
    (letter,) = await workshop.dead("jobs")
    assert (letter.record.body, letter.code, letter.attempts) == (b"1", "HandlerTimeout", 2)
    assert (ended, done) == (["told"] * 2, [2])


@pytest.mark.req("QUEUE-4")
async def test_a_batch_that_takes_too_long_is_tried_again_one_by_one(workshop: Workshop) -> None:
    await workshop.add(QueueSpec("jobs", batch=5, envelope_records=5, timeout_s=0.3, retry=TWICE, breaker=NEVER))
    done: list[int] = []

    @workshop.app.handler("jobs")
    async def work(jobs: Sequence[int]) -> None:
        if 3 in jobs:
            await asyncio.sleep(30)
        done.extend(jobs)

    await workshop.producer.send("jobs", list(range(5)))
    async with workshop.running():
        await workshop.empty("jobs")
    assert sorted(done) == [0, 1, 2, 4]
    assert [(letter.record.body, letter.code) for letter in await workshop.dead("jobs")] == [(b"3", "HandlerTimeout")]


@pytest.mark.req("QUEUE-3")
async def test_leases_are_renewed_while_a_slow_handler_runs(workshop: Workshop) -> None:
    await workshop.add(QueueSpec("jobs", lease_s=0.6))
    calls: list[int] = []

    @workshop.app.handler("jobs")
    async def work(_job: int, info: JobInfo) -> None:
        calls.append(info.attempt)
        await asyncio.sleep(2)

    await workshop.producer.send("jobs", [1])
    async with workshop.running(), workshop.running():  # the second worker would take what is not renewed
        await workshop.empty("jobs")
    assert calls == [1]
    assert workshop.settled("jobs").done == 1


@pytest.mark.req("QUEUE-3")
async def test_a_lost_lease_ends_the_handler_and_drops_its_outcome(workshop: Workshop) -> None:
    await workshop.add(QueueSpec("jobs", lease_s=0.6, concurrency=1))
    cut = asyncio.Event()
    attempts: list[int] = []

    @workshop.app.handler("jobs")
    async def work(_job: int, info: JobInfo) -> None:
        attempts.append(info.attempt)
        if len(attempts) == 1:
            try:
                await asyncio.sleep(30)
            finally:
                cut.set()

    await workshop.producer.send("jobs", [1])
    async with workshop.running():
        await workshop.until(lambda: len(attempts) == 1)
        await _steal(workshop)
        async with asyncio.timeout(10):
            await cut.wait()
        lost = await workshop.signals.wait_for(LeasesLost)
        await workshop.empty("jobs")
    assert (lost.queue, lost.messages) == ("jobs", 1)
    assert attempts == [1, 3]  # the thief's claim counts: it never settled
    assert workshop.settled("jobs").done == 1
    assert not await workshop.dead("jobs")


async def _steal(workshop: Workshop) -> None:
    """Let the lease end, claim the message as another worker would, and end that lease as well."""
    if workshop.database is not None and not hasattr(workshop.backend, "put"):
        await workshop.database.execute("update pgmq.q_jobs set vt = now(), read_ct = read_ct + 1")
        return
    message = workshop.backend._queues["jobs"].messages[1]  # type: ignore[attr-defined]  # the twin's inside
    message.read_count += 1
    message.visible_at = workshop.clock.now()


@pytest.mark.req("QUEUE-3")
async def test_a_stop_finishes_what_was_begun_and_gives_the_rest_back_at_once(workshop: Workshop) -> None:
    await workshop.add(QueueSpec("jobs", concurrency=2, envelope_records=5, lease_s=30))
    begun: list[tuple[int, int]] = []
    gate = asyncio.Event()

    @workshop.app.handler("jobs")
    async def work(job: int, info: JobInfo) -> None:
        begun.append((job, info.attempt))
        await gate.wait()

    await workshop.producer.send("jobs", list(range(10)))
    dispatcher = workshop.dispatcher()
    await dispatcher.start()
    await workshop.until(lambda: len(begun) == 2)
    stopping = asyncio.create_task(dispatcher.stop())
    ended, _ = await asyncio.wait((stopping,), timeout=0.3)
    assert not ended  # it waits for what was begun
    gate.set()
    await stopping
    assert workshop.settled("jobs").done == 2
    assert not await workshop.dead("jobs")
    async with workshop.running():
        await workshop.empty("jobs")
    assert sorted(job for job, _ in begun) == list(range(10))
    assert {attempt for _, attempt in begun} == {1}  # being given back is no attempt


@pytest.mark.req("QUEUE-3")
async def test_what_does_not_end_in_time_is_cut_short_and_given_back(workshop: Workshop) -> None:
    await workshop.add(QueueSpec("jobs", concurrency=2, lease_s=30))
    begun: list[int] = []
    told: list[int] = []

    @workshop.app.handler("jobs")
    async def work(job: int, info: JobInfo) -> None:
        begun.append(info.attempt)
        try:
            await asyncio.sleep(60)
        finally:
            told.append(job)

    await workshop.producer.send("jobs", [1, 2])
    async with workshop.running(DispatcherConfig(wait_s=0.05, stop_within_s=0.1)):
        await workshop.until(lambda: len(begun) == 2)
    assert sorted(told) == [1, 2]
    assert await workshop.ready("jobs") == 2
    claimed = await workshop.backend.claim("jobs", limit=2, lease_s=30)
    assert [(one.received_count, one.records[0].attempt) for one in claimed] == [(1, 0)] * 2


@pytest.mark.req("QUEUE-5")
async def test_a_thread_that_hangs_costs_its_queue_and_not_the_stop(workshop: Workshop) -> None:
    await workshop.add(QueueSpec("stuck", concurrency=1, timeout_s=0.2, retry=TWICE, breaker=NEVER))
    await workshop.add(QueueSpec("other"))
    gate = threading.Event()

    @workshop.app.handler("stuck")
    def hang(_job: int) -> None:
        gate.wait(60)

    @workshop.app.handler("other")
    async def work(_job: int) -> None: ...

    await workshop.producer.send("stuck", [1])
    try:
        async with workshop.running():
            await workshop.empty("stuck")
            await workshop.producer.send("other", list(range(10)))
            await workshop.empty("other")
    finally:
        gate.set()
    assert [letter.code for letter in await workshop.dead("stuck")] == ["HandlerTimeout"]


@pytest.mark.req("QUEUE-5")
async def test_a_handler_that_keeps_the_loop_is_noticed(workshop: Workshop) -> None:
    await workshop.add(QueueSpec("jobs"))

    @workshop.app.handler("jobs")
    async def work(_job: int) -> None:
        threading.Event().wait(1.5)  # blocks, as a call of a library without async does

    await workshop.producer.send("jobs", [1])
    async with workshop.running():
        blocked = await workshop.signals.wait_for(LoopBlocked)
    assert 1.0 < blocked.blocked_s < 10


@pytest.mark.req("QUEUE-4")
async def test_a_handler_that_leaves_the_program_fails_only_its_record(workshop: Workshop) -> None:
    await workshop.add(QueueSpec("jobs", retry=TWICE, breaker=NEVER))
    done: list[int] = []

    @workshop.app.handler("jobs")
    async def work(job: int) -> None:
        if job == 1:
            raise SystemExit(3)
        if job == 2:
            raise asyncio.CancelledError
        done.append(job)

    await workshop.producer.send("jobs", [1, 2, 3])
    async with workshop.running() as dispatcher:
        await workshop.empty("jobs")
        await dispatcher.check()
    assert done == [3]
    assert {(letter.record.body, letter.code) for letter in await workshop.dead("jobs")} == {
        (b"1", "HandlerError"),
        (b"2", "HandlerError"),
    }
