"""Schedules on a real Postgres: each due time once, across processes, kills and clocks that were set (QUEUE-14)."""

import asyncio
import datetime as dt
import os
import sys
from collections import Counter
from pathlib import Path

import asyncpg
import pytest

from fluxa.kernel.clock import SystemClock
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.operations.cron import Missed, Schedule
from fluxa.operations.cron.runner import CronRunner
from fluxa.postgres.listen import Listener
from fluxa.postgres.pool import Database, PoolConfig
from fluxa.queue.registry import QueueSpec, Registry
from fluxa.telemetry.catalogue import MaintenanceFinished, ScheduleRan, Status
from integration.cron.running import PAST, QUEUE, Cron
from making.stack import until

pytestmark = pytest.mark.req("QUEUE-14")

_PROGRAM = Path(__file__).with_name("cron_worker.py")
_STATEMENTS_MAX = 40


async def test_a_due_time_becomes_a_record_a_row_and_a_next_time(cron: Cron) -> None:
    await cron.add()
    assert await cron.runner.run_due() == 0
    await cron.miss(0)
    due_at = await cron.next_at()
    assert await cron.runner.run_due() == 1
    (record,) = await cron.sent()
    (run,) = await cron.schedules.history()
    assert record.body == b'{"a": 1}'
    assert record.headers == {"schedule": "digest", "due_at": due_at.isoformat()}
    assert (run.status, run.due_at, run.record_id, run.worker) == ("sent", due_at, record.id, "here")
    assert record.id == f"cron-digest-{due_at:%Y%m%dT%H%MZ}"
    assert record.correlation_id
    assert await cron.next_at() > due_at
    assert (await cron.signals.wait_for(ScheduleRan)).late_s < 120


@pytest.mark.parametrize(
    ("missed", "minutes", "runs"),
    [(Missed.ONCE, 90, 1), (Missed.ALL, 30, 31), (Missed.ALL, 500, 100), (Missed.SKIP, 90, 1)],
)
async def test_what_was_missed_is_made_up_for_as_the_schedule_says(
    cron: Cron, missed: Missed, minutes: int, runs: int
) -> None:
    await cron.add(missed=missed)
    await cron.miss(minutes)
    await cron.runner.run_due()
    records = await cron.sent()
    statuses = await cron.statuses()
    # The minute may turn while the test runs: then one more is due.
    assert len(records) - runs in ((0, 1) if minutes == 30 else (0,))
    assert statuses["sent"] == len(records) == len({record.id for record in records})
    assert statuses["skipped"] == (0 if minutes == 30 else 1)


async def test_a_schedule_that_skips_lets_old_times_go(cron: Cron) -> None:
    await cron.add(when="@yearly", missed=Missed.SKIP)
    await cron.database.execute("update fluxa.schedules set next_at = '2024-01-01'")
    await cron.runner.run_due()
    assert await cron.sent() == []
    (run,) = await cron.schedules.history()
    assert run.status == "skipped"
    assert "were missed" in run.detail


async def _workers(url: str, count: int) -> list[asyncio.subprocess.Process]:
    environment = {"PATH": os.defpath, "PYTHONPATH": os.pathsep.join(sys.path)}
    workers = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, _PROGRAM, url, f"worker-{number}"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=environment,
        )
        for number in range(count)
    ]
    for worker in workers:
        assert worker.stdout is not None
        assert await worker.stdout.readline() == b"ready\n"
    return workers


async def _at_the_gate(database: Database, count: int) -> bool:
    waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
    return bool(await database.fetch_value(waiting) == count)


async def test_four_processes_at_once_run_each_due_time_once(cron: Cron, database_url: str) -> None:
    names = [f"job-{number}" for number in range(60)]
    for name in names:
        await cron.add(name, missed=Missed.ALL)
    await cron.miss(9)
    workers = await _workers(database_url, 4)
    async with cron.database.transaction() as gate:  # behind which all four arrive before one can begin
        await gate.execute("lock table fluxa.schedules in access exclusive mode")
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write(b"go\n")
            await worker.stdin.drain()
        await until(lambda: _at_the_gate(cron.database, 4))
    assert [await worker.wait() for worker in workers] == [0] * 4
    runs = await cron.schedules.history(limit=10_000)
    records = await cron.sent()
    assert Counter(record.id for record in records) == Counter(run.record_id for run in runs)
    assert max(Counter(record.id for record in records).values()) == 1
    by_name = Counter(run.name for run in runs)
    assert set(by_name) == set(names)
    assert all(count in (10, 11) for count in by_name.values())
    assert len({run.worker for run in runs}) > 1, "one process did everything: nothing was shown"


async def test_a_kill_before_any_statement_leaves_all_of_a_run_or_nothing(cron: Cron, database_url: str) -> None:
    await cron.add(missed=Missed.ALL)
    before_each: list[str] = []
    for fatal in range(1, _STATEMENTS_MAX):
        await cron.database.execute("truncate fluxa.schedule_runs")
        await cron.sent()
        await cron.database.execute("delete from pgmq.q_pulse")
        await cron.miss(2)
        due_at = await cron.next_at()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, _PROGRAM, database_url, "dying", str(fatal)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={"PATH": os.defpath, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        said, _ = await process.communicate(b"go\n")
        before_each.append(said.decode().removeprefix("ready\n"))
        runs = await cron.schedules.history()
        held = await cron.database.fetch_value("select count(*) from pgmq.q_pulse")
        assert (len(runs) == 0) == (held == 0) == (await cron.next_at() == due_at), before_each[-1]
        async with asyncio.timeout(10):  # the server may hold the dead one's lock for a moment
            while await cron.next_at() == due_at:
                await cron.runner.run_due()
        records = await cron.sent()
        assert len(records) in (3, 4)
        assert len({record.id for record in records}) == len(records)
        if process.returncode == 0:
            break
    else:
        pytest.fail(f"it never came to its end: {before_each}")
    assert any("schedule_runs" in statement for statement in before_each)
    assert any("pgmq" in statement for statement in before_each)
    assert "commit" in before_each


async def test_a_clock_that_was_set_back_runs_no_due_time_twice(cron: Cron) -> None:
    await cron.add(missed=Missed.ALL)
    await cron.miss(20)
    await cron.runner.run_due()
    first = await cron.sent()
    await cron.miss(20)  # as somebody leaves it whose clock says that it is that long ago
    await cron.runner.run_due()
    again = await cron.sent()
    assert len(again) <= 1  # the minute may have turned
    assert not {record.id for record in first} & {record.id for record in again}


async def test_a_clock_that_was_ahead_does_not_silence_a_schedule(cron: Cron) -> None:
    await cron.add()
    await cron.database.execute("update fluxa.schedules set next_at = now() + interval '3 days'")
    await cron.runner.start()
    try:
        async with asyncio.timeout(10):
            while await cron.next_at() > SystemClock().now() + dt.timedelta(minutes=2):  # noqa: ASYNC110 - a table
                await asyncio.sleep(0.02)
    finally:
        await cron.runner.stop()


async def test_a_schedule_that_cannot_be_read_is_told_and_keeps_no_other_waiting(cron: Cron) -> None:
    await cron.add("lost")
    await cron.database.execute("update fluxa.schedules set timezone = 'Europe/Nowhere'")
    await cron.add("good")
    await cron.miss(3)
    await cron.runner.run_due()
    assert {record.headers["schedule"] for record in await cron.sent()} == {"good"}
    (failed,) = await cron.schedules.history(status="failed")
    assert failed.name == "lost"
    assert "Europe/Nowhere" in failed.detail
    assert await cron.next_at("lost") > SystemClock().now()


async def test_a_process_leaves_schedules_of_queues_it_does_not_know_to_others(cron: Cron) -> None:
    await cron.add()
    await cron.database.execute("update fluxa.schedules set queue = 'thumbnails'")
    await cron.miss(0)
    assert await cron.runner.run_due() == 0
    assert await cron.schedules.history() == []
    knowing = Registry([QueueSpec("thumbnails")])
    clock = SystemClock()
    other = CronRunner(
        cron.database,
        cron.backend,
        knowing,
        clock=clock,
        hook=cron.signals.hear,
        worker="other",
    )
    assert await other.run_due() == 1
    assert await cron.statuses() == {"sent": 1}


async def test_a_queue_that_is_not_there_yet_is_made(cron: Cron) -> None:
    await cron.add()
    await cron.database.execute("update fluxa.schedules set queue = 'revalidation'")
    await cron.miss(0)
    await cron.runner.run_due()
    assert await cron.statuses() == {"sent": 1}


async def test_a_schedule_that_comes_in_the_middle_of_a_turn_waits_until_its_queue_is_made(cron: Cron) -> None:
    await cron.runner._make_queues()
    await cron.add()
    await cron.database.execute("update fluxa.schedules set queue = 'revalidation'")
    await cron.miss(0)
    assert not await cron.runner._next()
    assert await cron.runner.run_due() == 1
    assert await cron.statuses() == {"sent": 1}


async def test_a_queue_whose_tables_are_gone_fails_its_own_run_only(cron: Cron) -> None:
    """Postgres refuses the statement in the middle of the transaction; what surrounds it goes on."""
    await cron.add()
    await cron.runner.run_due()
    await cron.database.execute("drop table pgmq.q_pulse")
    await cron.miss(0)
    await cron.runner.run_due()
    (run,) = await cron.schedules.history()
    assert (run.status, run.record_id) == ("failed", "")
    told = await cron.signals.wait_for(ScheduleRan)
    assert (told.status, told.error_code) == ("failed", ErrorCode.DB_REJECTED)


async def test_it_sleeps_until_the_next_time_and_wakes_for_a_change(database: Database, database_url: str) -> None:
    asked: list[str] = []
    watched = Database(PoolConfig(url=database_url), probe=asked.append)
    await watched.start()
    listener = Listener(PoolConfig(url=database_url))
    await listener.start()
    cron = Cron(watched, listener=listener)
    await cron.runner.start()
    try:
        async with asyncio.timeout(10):
            while not any("min(next_at)" in statement for statement in asked):  # noqa: ASYNC110 - a probe tells no one
                await asyncio.sleep(0.01)
        quiet = len(asked)
        await asyncio.sleep(1.0)
        assert len(asked) - quiet <= 20, "it polls"  # one more look for the listener's own start
        other = Cron(database)
        await other.add("new")
        await other.miss(0)
        await other.schedules.enable("new", by="the test")  # says that something has changed
        await cron.signals.wait_for(ScheduleRan, lambda signal: signal.schedule == "new")
    finally:
        await cron.runner.stop()
        await listener.stop()
        await watched.stop()


async def test_an_outage_is_told_once_and_waited_out(cron: Cron, database_url: str) -> None:
    await cron.add()
    await cron.database.execute("alter table fluxa.schedules rename to away")
    await cron.runner.start()
    try:
        failed = await cron.signals.wait_for(MaintenanceFinished)
        assert (failed.task, failed.status) == ("cron", Status.FAILURE)
        connection = await asyncpg.connect(database_url)
        await connection.execute("alter table fluxa.away rename to schedules")
        await connection.execute(PAST, 0)
        await connection.close()
        await cron.signals.wait_for(ScheduleRan, timeout_s=20)
        await cron.signals.wait_for(MaintenanceFinished, lambda signal: signal.status is Status.SUCCESS)
    finally:
        await cron.runner.stop()
    assert len([signal for signal in cron.signals.heard if isinstance(signal, MaintenanceFinished)]) == 2


async def test_operators_words(cron: Cron) -> None:
    await cron.add()
    with pytest.raises(FluxaError) as taken:
        await cron.add()
    assert taken.value.code == ErrorCode.REFUSED
    await cron.schedules.add(Schedule("digest", "@daily", QUEUE), by="mia", replace=True)
    standing = await cron.schedules.get("digest")
    assert (standing.schedule.expression, standing.changed_by, standing.enabled) == ("@daily", "mia", True)
    await cron.schedules.disable("digest", by="kim")
    await cron.miss(5)
    assert await cron.runner.run_due() == 0
    await cron.schedules.enable("digest", by="kim")
    assert await cron.next_at() > SystemClock().now()
    record_id = await cron.runner.run_now("digest")
    assert [record.id for record in await cron.sent()] == [record_id]
    assert await cron.statuses() == {"manual": 1}
    await cron.schedules.remove("digest")
    for verb in (cron.schedules.get("digest"), cron.schedules.remove("digest"), cron.runner.run_now("digest")):
        with pytest.raises(FluxaError) as missing:
            await verb
        assert missing.value.code == ErrorCode.NOT_FOUND
    assert len(await cron.schedules.history(name="digest")) == 1


async def test_a_manual_run_that_fails_leaves_nothing(cron: Cron) -> None:
    await cron.add()
    await cron.database.execute("update fluxa.schedules set queue = 'nowhere'")
    with pytest.raises(FluxaError, match="no queue nowhere"):
        await cron.runner.run_now("digest")
    assert await cron.schedules.history() == []


async def test_history_is_forgotten_after_its_days(cron: Cron) -> None:
    await cron.add(missed=Missed.ALL)
    await cron.miss(3)
    await cron.runner.run_due()
    count = len(await cron.schedules.history())
    await cron.database.execute(
        "update fluxa.schedule_runs set started_at = started_at - interval '91 days' "
        "where due_at < now() - interval '2 minutes'"
    )
    assert await cron.schedules.prune(90) in (1, 2)
    assert len(await cron.schedules.history()) < count
