"""An operator's word reaches every worker, outlives outages, and says who and why."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from fluxa.kernel.clock import SystemClock
from fluxa.kernel.errors import FluxaError
from fluxa.postgres.listen import Listener
from fluxa.postgres.pool import Database, PoolConfig
from fluxa.queue.health.controls import Controls, PauseWatch
from fluxa.telemetry.catalogue import MaintenanceFinished, QueuePaused, QueueResumed, Status
from fluxa.testing.signals import Signals


@contextlib.asynccontextmanager
async def watching(
    database: Database, signals: Signals, *, listener: Listener | None = None, period_s: float = 0.05
) -> AsyncIterator[PauseWatch]:
    watch = PauseWatch(database, clock=SystemClock(), hook=signals.hear, listener=listener, period_s=period_s)
    await watch.start()
    try:
        yield watch
    finally:
        await watch.stop()


@pytest.mark.req("QUEUE-2")
async def test_a_pause_says_who_and_why_and_the_last_word_counts(database: Database) -> None:
    controls = Controls(database)
    first = await controls.pause("pulse", "ada", "provider is down")
    assert (first.paused, first.by, first.reason) == (True, "ada", "provider is down")
    await controls.pause("events", "ada", "moving house")
    await controls.resume("pulse", "bob")
    assert [(one.queue, one.paused, one.by) for one in await controls.all()] == [
        ("events", True, "ada"),
        ("pulse", False, "bob"),
    ]


@pytest.mark.parametrize(("by", "reason"), [("", "why"), ("ada", " "), (" ", "")])
async def test_a_pause_without_a_name_or_a_reason_is_refused(database: Database, by: str, reason: str) -> None:
    with pytest.raises(FluxaError, match="only with a word"):
        await Controls(database).pause("pulse", by, reason)
    with pytest.raises(FluxaError, match="only with a word"):
        await Controls(database).resume("pulse", " ")
    assert await Controls(database).all() == []


async def test_a_watch_knows_at_once_what_was_paused_before_it_began(database: Database) -> None:
    await Controls(database).pause("pulse", "ada", "night")
    signals = Signals()
    async with watching(database, signals) as watch:
        assert watch.is_paused("pulse")
        assert not watch.is_paused("events")
        assert watch.paused()["pulse"].reason == "night"
        assert signals.heard == [QueuePaused("pulse", "ada", "night")]


async def test_a_watch_follows(database: Database) -> None:
    signals = Signals()
    async with watching(database, signals) as watch:
        changed = asyncio.create_task(watch.wait_change(10))
        await Controls(database).pause("pulse", "ada", "night")
        await signals.wait_for(QueuePaused)
        assert watch.is_paused("pulse")
        await changed
        await Controls(database).resume("pulse", "ada")
        await signals.wait_for(QueueResumed)
        assert not watch.is_paused("pulse")


async def test_a_word_is_heard_before_the_next_look_is_due(database: Database, database_url: str) -> None:
    signals = Signals()
    listener = Listener(PoolConfig(url=database_url))
    await listener.start()
    try:
        async with watching(database, signals, listener=listener, period_s=3600):
            # The listener connects in the background; each word is a wake-up, so one of them is heard.
            async with asyncio.timeout(20):
                while not any(isinstance(signal, QueuePaused) for signal in signals.heard):
                    await Controls(database).pause("pulse", "ada", "night")
                    with contextlib.suppress(TimeoutError):
                        await signals.wait_for(QueuePaused, timeout_s=0.1)
    finally:
        await listener.stop()


async def test_an_outage_forgets_no_pause_and_is_told_once(database: Database) -> None:
    await Controls(database).pause("pulse", "ada", "night")
    signals = Signals()
    async with watching(database, signals, period_s=0.01) as watch:
        await database.execute("alter table fluxa.queue_controls rename to queue_controls_away")
        await signals.wait_for(MaintenanceFinished, lambda one: one.status is Status.FAILURE)
        assert watch.is_paused("pulse")
        await database.execute("update fluxa.queue_controls_away set paused = false")
        await database.execute("alter table fluxa.queue_controls_away rename to queue_controls")
        await signals.wait_for(QueueResumed)
        await signals.wait_for(MaintenanceFinished, lambda one: one.status is Status.SUCCESS)
        duties = [one for one in signals.heard if isinstance(one, MaintenanceFinished)]
        assert [one.status for one in duties] == [Status.FAILURE, Status.SUCCESS]


async def test_a_watch_that_cannot_learn_what_is_paused_does_not_start(database: Database) -> None:
    await database.execute("alter table fluxa.queue_controls rename to queue_controls_away")
    with pytest.raises(FluxaError):
        async with watching(database, Signals()):
            pass
