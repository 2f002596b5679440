"""Redrive tasks: what is moved, what stays, orders while they run, and their pace."""

import asyncio
import datetime as dt
import itertools
import time
from collections import Counter

import pytest

from fluxa.kernel.clock import SystemClock
from fluxa.kernel.errors import ErrorCode, FluxaError, RetryClass
from fluxa.postgres.pool import Database
from fluxa.queue.backend import DeadLetterFilter, Delivery, Settlement
from fluxa.queue.backends.pgmq import PgmqBackend
from fluxa.queue.dead_letters.quarantine import Quarantine
from fluxa.queue.dead_letters.runner import RedriveRunner
from fluxa.queue.dead_letters.tasks import RedriveState, RedriveTask, RedriveTasks
from fluxa.queue.outcome import Dead
from fluxa.queue.policy import RetryPolicy
from fluxa.queue.registry import QueueSpec, Registry
from fluxa.telemetry.catalogue import RedriveAdvanced, RedriveEnded, RedrivesSeen
from fluxa.testing.signals import Signals
from making.dead_letters import BEGAN, fill, parked
from making.stack import until

pytestmark = pytest.mark.req("QUEUE-9")

ALL = DeadLetterFilter()
QUEUE = "orders"


@pytest.fixture
def backend(database: Database) -> PgmqBackend:
    """The engine."""
    return PgmqBackend(database, listener=None, notifier=None, clock=SystemClock())


@pytest.fixture
def tasks(database: Database, backend: PgmqBackend) -> RedriveTasks:
    """The tasks of that engine."""
    return RedriveTasks(database, backend)


@pytest.fixture
def signals() -> Signals:
    """What the runner tells."""
    return Signals()


@pytest.fixture
def runner(database: Database, backend: PgmqBackend, signals: Signals) -> RedriveRunner:
    """A runner that steps when told."""
    return RedriveRunner(database, backend, clock=SystemClock(), hook=signals.hear)


async def finish(tasks: RedriveTasks, runner: RedriveRunner, task: RedriveTask) -> RedriveTask:
    """Step until the task runs no more."""
    async with asyncio.timeout(30):
        while True:
            wait_s = await runner.step()
            if (now := await tasks.get(task.redrive_id)).state is not RedriveState.RUNNING:
                return now
            await asyncio.sleep(wait_s)


async def _none_runs(tasks: RedriveTasks) -> None:
    async def ended() -> bool:
        return not await tasks.list(states=[RedriveState.RUNNING])

    await until(ended)


async def in_queue(backend: PgmqBackend) -> list[Delivery]:
    """What the queue holds, in order."""
    return await backend.claim(QUEUE, limit=10_000, lease_s=300)


def names(deliveries: list[Delivery]) -> list[str]:
    """The records' ids."""
    return [one.id for delivery in deliveries for one in delivery.records]


MIXED = [
    *(parked(f"t{n}", "HandlerError", key=f"k{n % 3}") for n in range(6)),
    *(parked(f"p{n}", "SchemaValidation") for n in range(3)),
    *(parked(f"s{n}", "HashMismatch") for n in range(2)),
    *(parked(f"a{n}", "HandlerError", tampered=True) for n in range(4)),
    *(parked(f"l{n}", "HandlerTimeout", redrives=5) for n in range(2)),
]


async def test_a_plan_says_what_the_task_then_does(
    backend: PgmqBackend, tasks: RedriveTasks, runner: RedriveRunner, database: Database
) -> None:
    await fill(backend, QUEUE, MIXED)
    plan = await tasks.plan(QUEUE, ALL)
    assert plan.by_code == {"HandlerError": 6}
    assert plan.by_class == {RetryClass.TRANSIENT: 6}
    assert plan.refused_by_code == {"SchemaValidation": 3, "HashMismatch": 2}
    assert (plan.looped, plan.quarantined, plan.total) == (2, 4, 17)
    assert (await backend.metrics(QUEUE)).dead == 17
    task = await finish(tasks, runner, await tasks.create(QUEUE, ALL, by="ann"))
    assert (task.state, task.total, task.handled) == (RedriveState.DONE, 17, 17)
    assert (task.moved, task.refused, task.looped, task.quarantined, task.gone) == (6, 7, 2, 4, 0)
    assert task.refused_by_code == plan.refused_by_code
    assert (task.created_by, task.ended_at is not None) == ("ann", True)
    moved = await in_queue(backend)
    assert names(moved) == [f"t{n}" for n in range(6)]
    assert {(one.records[0].attempt, one.records[0].redrives, one.records[0].failure) for one in moved} == {
        (0, 1, None)
    }
    assert moved[0].records[0].body == b'{"v":"genuine"}'
    held = await Quarantine(database, backend).list(QUEUE)
    assert [(one.code, one.redrive_id) for one in held] == [("HashMismatch", task.redrive_id)] * 4
    assert all("altered" in one.raw for one in held)


async def test_forced_codes_and_filters_decide_what_moves(
    backend: PgmqBackend, tasks: RedriveTasks, runner: RedriveRunner
) -> None:
    ids = await fill(backend, QUEUE, MIXED)
    for which, forced, expected in (
        (DeadLetterFilter(keys=("k1",)), (), ["t1", "t4"]),
        (DeadLetterFilter(record_ids=("t5", "p0")), (), ["t5"]),
        (DeadLetterFilter(codes=("SchemaValidation",)), ("HashMismatch",), []),
        (DeadLetterFilter(message_ids=(ids[7], ids[6], "9999", "x")), ("SchemaValidation",), ["p0", "p1"]),
        (DeadLetterFilter(codes=("HashMismatch",)), ("HashMismatch",), ["s0", "s1"]),
    ):
        task = await finish(tasks, runner, await tasks.create(QUEUE, which, forced))
        assert names(await in_queue(backend)) == expected
        assert task.moved == len(expected)
    task = await finish(tasks, runner, await tasks.create(QUEUE, ALL, redrives_max=None))
    assert names(await in_queue(backend)) == ["t0", "t2", "t3", "l0", "l1"]
    assert (task.quarantined, task.refused_by_code) == (4, {"SchemaValidation": 1})


async def test_what_is_parked_after_the_start_is_not_part_of_it(
    backend: PgmqBackend, tasks: RedriveTasks, runner: RedriveRunner
) -> None:
    await fill(backend, QUEUE, [parked("a"), parked("b")])
    task = await tasks.create(QUEUE, ALL)
    await fill(backend, QUEUE, [parked("late")])
    task = await finish(tasks, runner, task)
    assert (task.total, task.moved) == (2, 2)
    assert names(await in_queue(backend)) == ["a", "b"]


async def test_a_task_for_nothing_is_done_at_once(backend: PgmqBackend, tasks: RedriveTasks) -> None:
    await backend.create(QUEUE)
    task = await tasks.create(QUEUE, ALL)
    assert (task.state, task.total, task.gone) == (RedriveState.DONE, 0, 0)


async def test_the_same_order_twice_is_one_task(backend: PgmqBackend, tasks: RedriveTasks) -> None:
    await fill(backend, QUEUE, [parked("a")])
    first = await tasks.create(QUEUE, ALL, redrive_id="mine")
    assert await tasks.create(QUEUE, ALL, redrive_id="mine") == first
    assert [one.redrive_id for one in await tasks.list()] == ["mine"]


async def test_a_task_pauses_goes_on_and_is_cancelled(
    backend: PgmqBackend, tasks: RedriveTasks, runner: RedriveRunner
) -> None:
    await fill(backend, QUEUE, [parked(str(n)) for n in range(1200)])
    task = await tasks.create(QUEUE, ALL)
    await runner.step()
    assert (await tasks.pause(task.redrive_id)).moved == 500
    assert (await tasks.pause(task.redrive_id)).state is RedriveState.PAUSED
    assert await runner.step() > 0
    assert (await tasks.get(task.redrive_id)).moved == 500
    assert [one.redrive_id for one in await tasks.list(QUEUE, [RedriveState.PAUSED])] == [task.redrive_id]
    await tasks.resume(task.redrive_id)
    await runner.step()
    ended = await tasks.cancel(task.redrive_id)
    assert (ended.state, ended.moved, ended.gone) == (RedriveState.CANCELLED, 1000, 0)
    await runner.step()
    assert (await backend.metrics(QUEUE)).dead == 200
    for verb in (tasks.pause, tasks.resume):
        with pytest.raises(FluxaError, match="is cancelled") as refused:
            await verb(task.redrive_id)
        assert refused.value.code == ErrorCode.REFUSED
    with pytest.raises(FluxaError) as missing:
        await tasks.get("nobody")
    assert missing.value.code == ErrorCode.NOT_FOUND


async def test_what_others_take_away_meanwhile_is_counted_as_gone(
    backend: PgmqBackend, tasks: RedriveTasks, runner: RedriveRunner
) -> None:
    ids = await fill(backend, QUEUE, [parked(str(n)) for n in range(1200)])
    task = await tasks.create(QUEUE, ALL)
    await runner.step()
    assert await backend.purge(QUEUE, ids[600:700]) == 100
    task = await finish(tasks, runner, task)
    assert (task.moved, task.gone, task.total) == (1100, 100, 1200)


async def test_several_runners_and_tasks_move_each_letter_once_and_in_order(
    database: Database, backend: PgmqBackend, tasks: RedriveTasks, signals: Signals
) -> None:
    await fill(backend, QUEUE, [parked(f"{n}", key=f"k{n % 5}") for n in range(3000)])
    made = [
        await tasks.create(QUEUE, ALL),
        await tasks.create(QUEUE, DeadLetterFilter(keys=("k1", "k2"))),
        await tasks.create(QUEUE, ALL, rate_per_s=100_000),
    ]
    runners = [RedriveRunner(database, backend, clock=SystemClock(), hook=signals.hear) for _ in range(3)]
    for one in runners:
        await one.start()
    await _none_runs(tasks)
    for one in runners:
        await one.stop()
    ended = [await tasks.get(one.redrive_id) for one in made]
    assert sum(one.moved for one in ended) == 3000
    assert all(one.moved + one.gone == one.total for one in ended)
    assert Counter(names(await in_queue(backend))) == Counter(str(n) for n in range(3000))


async def test_one_task_keeps_the_order_of_its_letters(
    backend: PgmqBackend, tasks: RedriveTasks, runner: RedriveRunner
) -> None:
    await fill(backend, QUEUE, [parked(str(n)) for n in range(1100)])
    await finish(tasks, runner, await tasks.create(QUEUE, ALL))
    assert names(await in_queue(backend)) == [str(n) for n in range(1100)]


async def test_a_rate_is_held_whoever_runs_it(
    database: Database, backend: PgmqBackend, tasks: RedriveTasks, signals: Signals
) -> None:
    await fill(
        backend, QUEUE, [parked(str(n), "SchemaValidation" if n % 3 == 0 else "HandlerError") for n in range(1800)]
    )
    runners = [RedriveRunner(database, backend, clock=SystemClock(), hook=signals.hear) for _ in range(2)]
    began = time.monotonic()
    task = await tasks.create(QUEUE, ALL, rate_per_s=400)
    for one in runners:
        await one.start()
    await _none_runs(tasks)
    took_s = time.monotonic() - began
    task = await tasks.get(task.redrive_id)
    for one in runners:
        await one.stop()
    assert task.moved == 1200
    # The last chunk goes when the one before it is paid for.
    assert (1200 - 80) / 400 <= took_s <= 1200 / 400 * 1.05 + 0.3


async def test_a_task_in_whose_way_something_stands_fails_and_can_be_resumed(
    database: Database, backend: PgmqBackend, tasks: RedriveTasks, runner: RedriveRunner, signals: Signals
) -> None:
    await fill(backend, QUEUE, [parked("a")])
    task = await tasks.create(QUEUE, ALL)
    await database.execute("alter table pgmq.q_orders rename to q_away")
    await runner.step()
    failed = await tasks.get(task.redrive_id)
    assert (failed.state, failed.moved) == (RedriveState.FAILED, 0)
    assert "q_orders" in failed.detail
    assert (await signals.wait_for(RedriveEnded)).state == "failed"
    assert (await backend.summarize_dead(QUEUE, ALL)).total == 1
    await database.execute("alter table pgmq.q_away rename to q_orders")
    await tasks.resume(task.redrive_id)
    assert (await finish(tasks, runner, task)).moved == 1


async def test_signals_add_up_and_an_idle_runner_asks_once(
    database: Database, backend: PgmqBackend, tasks: RedriveTasks, signals: Signals
) -> None:
    await fill(backend, QUEUE, MIXED)
    asked: list[str] = []
    database._probe = asked.append
    runner = RedriveRunner(database, backend, clock=SystemClock(), hook=signals.hear)
    task = await tasks.create(QUEUE, ALL)
    await finish(tasks, runner, task)
    heard = [one for one in signals.heard if isinstance(one, RedriveAdvanced)]
    assert sum(one.moved for one in heard) == 6
    assert sum(one.refused for one in heard) == 7
    assert sum(one.quarantined for one in heard) == 4
    asked.clear()
    assert await runner.step() == 5.0
    assert len(asked) == 1
    assert [one.running for one in signals.heard if isinstance(one, RedrivesSeen)] == [1, 0]


async def test_a_letter_that_fails_again_shows_how_often(
    backend: PgmqBackend, tasks: RedriveTasks, runner: RedriveRunner
) -> None:
    await fill(backend, QUEUE, [parked("a")])
    for turn in itertools.count(1):
        task = await finish(tasks, runner, await tasks.create(QUEUE, ALL))
        if task.looped:
            break
        (delivery,) = await in_queue(backend)
        await backend.settle([Settlement(delivery, (Dead("HandlerError", "again"),))])
        (letter,) = await backend.dead_letters(QUEUE, ALL, limit=2)
        assert letter.record.redrives == turn
    assert turn == 6


async def test_a_queues_own_classes_count(database: Database, backend: PgmqBackend) -> None:
    strict = RetryPolicy(overrides={"CardDeclined": RetryClass.PERMANENT, "SchemaValidation": RetryClass.TRANSIENT})
    registry = Registry([QueueSpec(QUEUE, retry=strict)])
    tasks = RedriveTasks(database, backend, registry=registry)
    await fill(backend, QUEUE, [parked("a", "CardDeclined"), parked("b", "SchemaValidation"), parked("c", "Other")])
    plan = await tasks.plan(QUEUE, ALL)
    assert (plan.by_code, plan.refused) == ({"Other": 1}, 2)
    with pytest.raises(FluxaError, match="Did you mean orders"):
        await tasks.create("order", ALL)


async def test_times_choose_letters(backend: PgmqBackend, tasks: RedriveTasks, runner: RedriveRunner) -> None:
    hours = [BEGAN + dt.timedelta(hours=n) for n in range(6)]
    await fill(backend, QUEUE, [parked(str(n), at=at) for n, at in enumerate(hours)])
    which = DeadLetterFilter(failed_from=hours[1], failed_before=hours[4])
    task = await finish(tasks, runner, await tasks.create(QUEUE, which))
    assert task.total == 3
    assert names(await in_queue(backend)) == ["1", "2", "3"]


@pytest.fixture
async def held(database: Database, backend: PgmqBackend, tasks: RedriveTasks, runner: RedriveRunner) -> Quarantine:
    """Two messages in quarantine."""
    await fill(backend, QUEUE, [parked("a", tampered=True), parked("b", tampered=True), parked("c")])
    await finish(tasks, runner, await tasks.create(QUEUE, ALL))
    return Quarantine(database, backend)


@pytest.mark.req("QUEUE-8")
async def test_quarantine_shows_releases_and_ends(held: Quarantine, backend: PgmqBackend) -> None:
    first, second = await held.list()
    assert await held.counts() == {QUEUE: 2}
    assert await held.get(first.quarantine_id) == first
    assert await held.release([first.quarantine_id, 999]) == 1
    (letter,) = await backend.dead_letters(QUEUE, ALL, limit=9)
    assert (letter.raw, letter.facts, letter.parked_at) == (first.raw, first.facts, first.parked_at)
    assert letter.code == "HashMismatch"
    assert await held.purge([first.quarantine_id, second.quarantine_id]) == 1
    assert await held.list() == []
    with pytest.raises(FluxaError, match="quarantine"):
        await held.get(second.quarantine_id)
