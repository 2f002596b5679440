"""The forms of handlers on a real queue: what they get, and what becomes of what they return."""

import asyncio
import datetime as dt
import re
import threading
from collections.abc import Sequence

import msgspec
import pytest

from fluxa import (
    DONE,
    BreakerPolicy,
    Dead,
    FluxaError,
    JobInfo,
    KeyRule,
    Outcome,
    QueueSpec,
    Record,
    Retry,
    RetryPolicy,
    Snooze,
)
from fluxa.telemetry.catalogue import HandlersReturned, RecordParked, RecordRetried
from integration.worker.workshop import Workshop

SOON = RetryPolicy(attempts_max=3, base_s=0.01, cap_s=0.05)


class Job(msgspec.Struct):
    n: int


@pytest.mark.req("QUEUE-4")
async def test_a_single_handler_gets_each_record_typed_with_what_is_known_of_it(workshop: Workshop) -> None:
    await workshop.add(QueueSpec("jobs", envelope_records=3, timeout_s=30))
    seen: dict[int, JobInfo] = {}

    @workshop.app.handler("jobs")
    async def work(job: Job, info: JobInfo) -> None:
        seen[job.n] = info

    before = workshop.clock.now()
    ids = await workshop.producer.send(
        "jobs", [Job(n) for n in range(7)], correlation_id="story", headers={"a": "b"}, key="k"
    )
    async with workshop.running():
        await workshop.empty("jobs")
    assert sorted(seen) == list(range(7))
    info = seen[3]
    assert (info.queue, info.id, info.attempt, info.correlation_id) == ("jobs", ids[3], 1, "story")
    assert (info.key, info.headers, info.redrives) == ("k", {"a": "b"}, 0)
    assert before - dt.timedelta(seconds=1) <= info.created_at <= info.enqueued_at + dt.timedelta(seconds=1)
    assert dt.timedelta(seconds=25) < info.deadline - before < dt.timedelta(seconds=50)
    assert workshop.settled("jobs").done == 7
    calls = [one for one in workshop.signals.heard if isinstance(one, HandlersReturned)]
    assert sum(len(one.durations_s) for one in calls) == 7


@pytest.mark.req("QUEUE-4")
async def test_every_outcome_is_carried_out(workshop: Workshop) -> None:
    await workshop.add(QueueSpec("jobs", retry=SOON, breaker=BreakerPolicy(failures=100)))
    calls: list[tuple[int, int]] = []

    @workshop.app.handler("jobs")
    async def work(job: Job, info: JobInfo) -> Outcome | None:
        calls.append((job.n, info.attempt))
        now = workshop.clock.now()
        match job.n:
            case 0:
                return DONE
            case 1:
                return Dead("Odd", "because password=hunter2 was wrong")
            case 2:
                return Retry(now, "Later", "not yet")  # for ever, were there no limit
            case 3 if sum(n == 3 for n, _ in calls) < 5:
                return Snooze(now)
            case 4:
                raise FluxaError("ProviderRejected", "no such person")
            case 5:
                raise ValueError("something odd with token: abc123 in it")
        return None

    await workshop.producer.send("jobs", [*(Job(n) for n in range(6)), b"not json"])
    async with workshop.running():
        await workshop.empty("jobs")
    letters = {
        letter.record.body: (letter.code, letter.attempts, letter.reason) for letter in await workshop.dead("jobs")
    }
    assert letters[b'{"n":1}'] == ("Odd", 1, "because password=**** was wrong")
    assert letters[b'{"n":2}'] == ("Later", 3, "not yet")
    assert letters[b'{"n":4}'][:2] == ("ProviderRejected", 1)
    code, attempts, reason = letters[b'{"n":5}']
    assert (code, attempts) == ("HandlerError", 3)
    assert re.fullmatch(r"ValueError: something odd with token: \*{4} in it \(test_forms\.py, line \d+\)", reason)
    assert letters[b"not json"][:2] == ("SchemaValidation", 1)
    assert len(letters) == 5
    assert [attempt for n, attempt in calls if n == 3] == [1] * 5  # waiting is no attempt
    assert [attempt for n, attempt in calls if n == 5] == [1, 2, 3]
    parked = [one for one in workshop.signals.heard if isinstance(one, RecordParked)]
    assert {one.error_code for one in parked} == {
        "Odd",
        "Later",
        "ProviderRejected",
        "HandlerError",
        "SchemaValidation",
    }
    assert sum(isinstance(one, RecordRetried) for one in workshop.signals.heard) == 4


@pytest.mark.req("QUEUE-4")
async def test_a_batch_handler_gets_many_and_answers_for_each(workshop: Workshop) -> None:
    await workshop.add(QueueSpec("jobs", batch=4, concurrency=1, envelope_records=3, retry=SOON))
    sizes: list[int] = []

    @workshop.app.handler("jobs")
    async def work(jobs: Sequence[Job], infos: Sequence[JobInfo]) -> Sequence[Outcome] | None:
        assert len(jobs) == len(infos)
        sizes.append(len(jobs))
        return [Dead("Seven", "x") if job.n == 7 else DONE for job in jobs]

    await workshop.producer.send("jobs", [*(Job(n) for n in range(9)), b"null"])
    async with workshop.running():
        await workshop.empty("jobs")
    assert max(sizes) <= 4
    assert sum(sizes) == 9
    assert {(letter.record.body, letter.code) for letter in await workshop.dead("jobs")} == {
        (b'{"n":7}', "Seven"),
        (b"null", "SchemaValidation"),
    }


@pytest.mark.req("QUEUE-4")
async def test_one_bad_record_never_fails_its_batch(workshop: Workshop) -> None:
    await workshop.add(QueueSpec("jobs", batch=10, envelope_records=5, retry=SOON))
    batches: list[list[int]] = []
    done: set[int] = set()

    @workshop.app.handler("jobs")
    async def work(jobs: Sequence[Job]) -> None:
        batches.append([job.n for job in jobs])
        if any(job.n == 13 for job in jobs):
            raise FluxaError("ProviderRejected", "the whole batch, for one")  # permanent, yet the others live
        done.update(job.n for job in jobs)

    await workshop.producer.send("jobs", [Job(n) for n in range(20)])
    async with workshop.running():
        await workshop.empty("jobs")
    assert done == set(range(20)) - {13}
    (letter,) = await workshop.dead("jobs")
    assert (letter.record.body, letter.code, letter.attempts) == (b'{"n":13}', "ProviderRejected", 2)
    assert [13] in batches  # it was alone before it was parked


@pytest.mark.req("QUEUE-4")
@pytest.mark.parametrize("answer", [[DONE], [], "done", [DONE, None, DONE], 3, [DONE, "no"]])
async def test_a_batch_answer_that_fits_no_record_is_the_handlers_error(workshop: Workshop, answer: object) -> None:
    await workshop.add(QueueSpec("jobs", batch=2, envelope_records=2, retry=RetryPolicy(attempts_max=2, base_s=0.01)))

    @workshop.app.handler("jobs")
    async def work(jobs: Sequence[Job]) -> object:
        return answer if len(jobs) == 2 else "alone no better"

    await workshop.producer.send("jobs", [Job(1), Job(2)])
    async with workshop.running():
        await workshop.empty("jobs")
    letters = await workshop.dead("jobs")
    assert [(letter.code, letter.attempts) for letter in letters] == [("HandlerError", 2)] * 2
    assert "returned a str" in letters[0].reason or "returned" in letters[0].reason


@pytest.mark.req("QUEUE-4")
async def test_a_plain_function_runs_in_a_thread_and_blocks_nobody(workshop: Workshop) -> None:
    await workshop.add(QueueSpec("slow", concurrency=2, retry=SOON))
    await workshop.add(QueueSpec("quick"))
    gate, threads = threading.Event(), set()
    quick = asyncio.Event()

    @workshop.app.handler("slow")
    def block(job: Job, info: JobInfo) -> None:
        threads.add(threading.current_thread().name)
        assert info.attempt == 1
        gate.wait(10)
        if job.n == 1:
            raise StopIteration

    @workshop.app.handler("quick")
    async def work(record: Record) -> None:
        assert record.body == b"7"
        quick.set()

    await workshop.producer.send("slow", [Job(0), Job(1)])
    async with workshop.running():
        await workshop.until(lambda: bool(threads))
        await workshop.producer.send("quick", [7])
        async with asyncio.timeout(5):
            await quick.wait()
        gate.set()
        await workshop.until(lambda: workshop.settled("slow").done == 1)
    assert threads == {"slow-handler"}


@pytest.mark.req("QUEUE-5")
async def test_concurrency_is_of_calls_and_each_queue_has_its_own(workshop: Workshop) -> None:
    await workshop.add(QueueSpec("a", concurrency=3, envelope_records=10))
    await workshop.add(QueueSpec("b", concurrency=1, envelope_records=10))
    now = {"a": 0, "b": 0}
    most = {"a": 0, "b": 0}

    async def count(queue: str) -> None:
        now[queue] += 1
        most[queue] = max(most[queue], now[queue])
        await asyncio.sleep(0.002)
        now[queue] -= 1

    @workshop.app.handler("a")
    async def work_a(_job: int) -> None:
        await count("a")

    @workshop.app.handler("b")
    async def work_b(_job: int) -> None:
        await count("b")

    await workshop.producer.send("a", list(range(60)))
    await workshop.producer.send("b", list(range(20)))
    async with workshop.running():
        await workshop.empty("a")
        await workshop.empty("b")
    assert most == {"a": 3, "b": 1}


@pytest.mark.req("QUEUE-5")
@pytest.mark.parametrize("form", ["single", "batch"])
async def test_records_of_a_key_in_one_envelope_are_worked_on_in_order(workshop: Workshop, form: str) -> None:
    await workshop.add(QueueSpec("jobs", envelope_records=5, retry=SOON, keys=KeyRule(ordered=True)))
    seen: list[int] = []

    if form == "single":

        @workshop.app.handler("jobs")
        async def work(job: Job, info: JobInfo) -> None:
            await asyncio.sleep(0.001 * (5 - job.n))
            if job.n == 2 and info.attempt == 1:
                raise ValueError
            seen.append(job.n)
    else:

        @workshop.app.handler("jobs")
        async def work_all(jobs: Sequence[Job], infos: Sequence[JobInfo]) -> None:
            if infos[0].attempt == 1:
                raise ValueError
            seen.extend(job.n for job in jobs)

    await workshop.producer.send("jobs", [Job(n) for n in range(5)], key="k")
    async with workshop.running():
        await workshop.empty("jobs")
    assert sorted(seen) == list(range(5))
    assert seen[:2] == [0, 1]  # nothing behind a record that failed was begun before it
