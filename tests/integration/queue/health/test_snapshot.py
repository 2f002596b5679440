"""Snapshots of queues: what is known is right, what is not is UNKNOWN with its reason, and nothing else suffers."""

import time

import msgspec
import pytest

from fluxa.kernel.clock import SystemClock
from fluxa.postgres.pool import Database, PoolConfig
from fluxa.queue.backend import DeadLetterFilter
from fluxa.queue.dead_letters.tasks import RedriveTasks
from fluxa.queue.health.controls import Controls
from fluxa.queue.health.facts import QueueHealth, Snapshot, State, Watermark
from fluxa.queue.health.probing import ALL
from fluxa.queue.health.reports import QueueReport, Reporter
from fluxa.telemetry.catalogue import ProbeFailed
from fluxa.testing.signals import Signals
from integration.queue.health.looking import QUICK, as_stranger, engine, fill, park, reader


def by_name(snapshot: Snapshot) -> dict[str, QueueHealth]:
    return {health.queue: health for health in snapshot.queues}


async def report(database: Database, *reports: QueueReport, worker: str = "w-1") -> None:
    one = Reporter(database, worker, lambda: reports, clock=SystemClock(), hook=lambda _signal: None)
    await one._write(reports)


@pytest.mark.req("QUEUE-10")
async def test_a_queue_is_shown_with_all_that_is_known_of_it(database: Database) -> None:
    await park(database, "near", ["ProviderRejected", "HandlerError", "HandlerError"])
    await fill(database, "near", 6)
    await engine(database).claim("near", limit=2, lease_s=30)
    now = SystemClock().now()
    await report(database, QueueReport("near", 2, 1, now, now, "HandlerError", "closed"))
    await Controls(database).pause("near", "ada", "provider is down")
    tasks = RedriveTasks(database, engine(database))
    task = await tasks.create("near", DeadLetterFilter(codes=("HandlerError",)), rate_per_s=1.0)
    await tasks.pause(task.redrive_id)
    near = by_name(await reader(database).read())["near"]
    assert (near.queue_length, near.ready, near.in_flight, near.dead, near.exact) == (6, 4, 2, 3, True)
    assert near.oldest_age_s is not None
    assert 0 <= near.oldest_age_s < 60
    assert near.dead_by_code == {"HandlerError": 2, "ProviderRejected": 1}
    assert (near.last_success_at, near.error_streak, near.last_error_code) == (now, 1, "HandlerError")
    assert near.workers is not None
    assert [one.worker for one in near.workers] == ["w-1"]
    assert near.breaker == "closed"
    assert (near.state, near.paused, near.watermark) == (State.PAUSED, True, Watermark.HIGH)
    assert near.pause is not None
    assert (near.pause.by, near.pause.reason) == ("ada", "provider is down")
    assert [(one.measure, one.value, one.limit) for one in near.exceeded] == [("depth", 6, 5), ("dead", 3, 0)]
    assert near.redrives is not None
    assert [(one.redrive_id, one.state, one.total, one.moved) for one in near.redrives] == [
        (task.redrive_id, "paused", 2, 0)
    ]
    assert near.unknown == {}


async def test_queues_that_were_never_made_and_those_of_other_programs(database: Database) -> None:
    await fill(database, "near", 0)
    await database.execute("select pgmq.create('Other'), pgmq.create('theirs'), pgmq.create('theirs_dlq')")
    await database.execute("select pgmq.send('Other', '{}'), pgmq.send('theirs', '{}'), pgmq.send('theirs_dlq', '{}')")
    await database.execute("select pgmq.create('very-odd')")
    snapshot = await reader(database).read()
    found = by_name(snapshot)
    assert [*found] == ["near", "far", "never", "Other", "theirs", "very-odd"]
    assert (found["never"].state, found["never"].queue_length, found["never"].unknown) == (State.OK, 0, {})
    other = found["Other"]
    assert (other.foreign, other.state, other.queue_length, other.ready, other.dead) == (True, State.FOREIGN, 1, 1, 0)
    assert (found["theirs"].dead, found["theirs"].foreign) == (1, True)
    assert found["very-odd"].state is State.UNKNOWN
    assert found["very-odd"].queue_length is None
    await report(database, QueueReport("theirs"))
    served = by_name(await reader(database).read())["theirs"]
    assert (served.foreign, served.state) == (True, State.HIGH)  # a dead letter, and somebody serves it


@pytest.mark.req("QUEUE-7")
async def test_a_permission_that_was_revoked_makes_that_part_unknown_and_only_that(database: Database) -> None:
    for queue in ("near", "far"):
        await fill(database, queue, 3)
    signals = Signals()
    async with as_stranger(database) as (pool, role):
        await database.execute(f"revoke all on pgmq.q_near from {role}")
        await database.execute(f"revoke all on fluxa.queue_controls from {role}")
        found = by_name(await reader(pool, hook=signals.hear).read())
    near, far = found["near"], found["far"]
    assert near.state is State.UNKNOWN
    assert (near.queue_length, near.ready, near.in_flight, near.oldest_age_s, near.dead) == (None,) * 5
    assert near.watermark is Watermark.UNKNOWN
    assert "permission denied" in near.unknown["metrics"]
    assert far.queue_length == 3
    assert far.paused is None
    assert far.state is State.UNKNOWN
    assert set(far.unknown) == {"controls"}
    assert near.error_streak == 0
    told = {(one.queue, one.probe, one.error_code) for one in signals.heard if isinstance(one, ProbeFailed)}
    assert told == {("near", "metrics", "DBRejected"), (ALL, "controls", "DBRejected")}
    shown = msgspec.json.decode(msgspec.json.encode(near))
    assert shown["queue_length"] is None
    assert shown["unknown"]["metrics"].startswith("DBRejected")


@pytest.mark.req("QUEUE-7")
async def test_a_table_under_lock_makes_its_queue_unknown_in_time_and_the_others_known(database: Database) -> None:
    for queue in ("near", "far"):
        await fill(database, queue, 3)
    signals = Signals()
    async with database.transaction() as handle:
        await handle.execute("lock table pgmq.q_near in access exclusive mode")
        began_s = time.monotonic()
        found = by_name(await reader(database, hook=signals.hear).read(why_slow=True))
        assert time.monotonic() - began_s < QUICK.budget_s + 1
    assert found["near"].queue_length is None
    assert found["near"].unknown["metrics"] == "Timeout: no answer within 0.5 s"
    assert found["far"].queue_length == 3
    assert found["far"].why_slow is not None
    assert (await reader(database).read(["near"])).queues[0].queue_length == 3


@pytest.mark.req("QUEUE-7")
async def test_without_postgres_everything_is_unknown_and_the_answer_still_comes(database: Database) -> None:
    await fill(database, "near", 3)
    away = Database(PoolConfig(url=database.config.url))
    signals = Signals()
    one = reader(away, hook=signals.hear)
    snapshot = await one.read()
    assert {health.state for health in snapshot.queues} == {State.UNKNOWN}
    assert all(health.queue_length is None and health.workers is None for health in snapshot.queues)
    assert set(snapshot.unknown) == {"names"}
    assert all(signal.error_code == "DBConnectionError" for signal in signals.heard if isinstance(signal, ProbeFailed))
    await away.start()
    try:
        assert by_name(await one.read())["near"].queue_length == 3
    finally:
        await away.stop()


async def test_why_slow_is_told_only_when_asked_for(database: Database) -> None:
    await fill(database, "near", 1)
    (near,) = (await reader(database).read(["near"])).queues
    assert near.why_slow is None
    assert near.unknown == {}
    (near,) = (await reader(database).read(["near"], why_slow=True)).queues
    assert near.why_slow is not None
    assert near.why_slow.dead_rows is not None
