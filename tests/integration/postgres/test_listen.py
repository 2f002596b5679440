"""Wake-ups over a real server: heard, missed while away, made up for after a restart."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fluxa.postgres.embedded import EmbeddedPostgres
from fluxa.postgres.listen import Listener, Notifier
from fluxa.postgres.pool import Database, PoolConfig

_LISTENS = "select count(*) from pg_stat_activity where application_name = 'fluxa-listen' and query ilike 'listen%'"


async def _listening(database: Database) -> None:
    async with asyncio.timeout(20):
        while not await database.fetch_value(_LISTENS):  # noqa: ASYNC110 - the server sends no event
            await asyncio.sleep(0.01)


@pytest.fixture
async def listener(database: Database) -> AsyncIterator[Listener]:
    """A listener that hears."""
    ears = Listener(PoolConfig(url=database.config.url), reconnect_s=0.02)
    await ears.start()
    await _listening(database)
    yield ears
    await ears.stop()


async def test_a_waiter_is_woken_by_its_topic_and_no_other(database: Database, listener: Listener) -> None:
    notifier = Notifier(database)
    waiting = asyncio.create_task(listener.wait("orders", 20))
    other = asyncio.create_task(listener.wait("mail", 0.3))
    await asyncio.sleep(0)
    notifier.announce("orders")
    assert await waiting is True
    assert await other is False
    await notifier.stop()


async def test_a_wake_up_that_came_while_nobody_waited_is_not_lost(database: Database, listener: Listener) -> None:
    notifier = Notifier(database)
    notifier.announce("orders")
    await notifier.stop()
    assert await listener.wait("orders", 20) is True
    assert await listener.wait("orders", 0.05) is False


async def test_each_wake_up_is_for_one_waiter(database: Database, listener: Listener) -> None:
    waiting = [asyncio.create_task(listener.wait("orders", 20)) for _ in range(3)]
    await asyncio.sleep(0)
    notifier = Notifier(database)
    for left in (2, 1, 0):
        notifier.announce("orders")
        await notifier.stop()
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        assert len(done) == 1
        waiting = [task for task in waiting if task not in done]
        assert len(waiting) == left


async def test_a_waiter_that_is_cancelled_passes_its_wake_up_on(listener: Listener) -> None:
    first = asyncio.create_task(listener.wait("orders", 20))
    second = asyncio.create_task(listener.wait("orders", 20))
    await asyncio.sleep(0)
    listener.hear("orders")
    first.cancel()
    assert await second is True
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_a_cut_connection_is_opened_again_and_its_waiters_look_once(
    database: Database, listener: Listener
) -> None:
    await listener.wait("orders", 0.01)
    await database.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'fluxa-listen'"
    )
    assert await listener.wait("orders", 20) is True
    await _listening(database)
    notifier = Notifier(database)
    notifier.announce("orders")
    assert await listener.wait("orders", 20) is True
    await notifier.stop()


async def test_it_hears_again_after_a_restart_and_an_announcement_in_between_is_no_failure(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path, settings={"fsync": "off"})
    await server.start()
    config = PoolConfig(url=server.url)
    database = Database(config)
    await database.start()
    listener, notifier = Listener(config, reconnect_s=0.02), Notifier(database)
    await listener.start()
    await _listening(database)
    assert await listener.wait("orders", 0.01) is False
    await server.force_stop()
    notifier.announce("orders")
    await notifier.stop()
    await server.start()
    assert await listener.wait("orders", 20) is True
    notifier.announce("orders")
    assert await listener.wait("orders", 20) is True
    await notifier.stop()
    await listener.stop()
    await database.stop()
    await server.force_stop()


async def test_a_silent_connection_is_asked_whether_it_lives(database: Database) -> None:
    ears = Listener(PoolConfig(url=database.config.url), probe_s=0.02)
    await ears.start()
    await _listening(database)
    # The question takes the place of LISTEN as the last statement that was run.
    async with asyncio.timeout(20):
        while await database.fetch_value(_LISTENS):  # noqa: ASYNC110 - the server sends no event
            await asyncio.sleep(0.01)
    notifier = Notifier(database)
    notifier.announce("orders")
    assert await ears.wait("orders", 20) is True
    await notifier.stop()
    await ears.stop()
    await ears.stop()


async def test_announcements_are_spaced_and_the_same_topic_is_sent_once(database_url: str) -> None:
    sent: list[str] = []
    database = Database(PoolConfig(url=database_url), probe=sent.append)
    await database.start()
    notifier = Notifier(database, spacing_s=0.05)
    for _ in range(100):
        notifier.announce("orders")
    await notifier.stop()
    assert len(sent) == 1
    await database.stop()
