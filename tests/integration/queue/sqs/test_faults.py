"""SQS when things break: killed processes, a server that goes away and comes back, connections that are cut."""

import asyncio
import contextlib
import dataclasses
import os
import random
import signal
import sys
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from aws.queues import make_backend
from aws.servers import Ministack
from fluxa import Fluxa
from fluxa.kernel.clock import SystemClock
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.postgres.pool import Database
from fluxa.postgres.transaction import Transaction
from fluxa.queue.backend import Envelope, Settlement
from fluxa.queue.backends.sqs import Sqs, SqsBackend
from fluxa.queue.outcome import DONE
from fluxa.queue.record import Record
from fluxa.queue.registry import QueueSpec
from fluxa.queue.worker.dispatcher import Dispatcher, DispatcherConfig
from fluxa.queue.worker.handlers import JobInfo
from fluxa.telemetry.catalogue import silent

QUEUE = "killed"
_PROGRAM = Path(__file__).with_name("killed.py")
_NAMES = [f"r{n}" for n in range(10)]


def _envelopes(*names: str) -> list[Envelope]:
    now = SystemClock().now()
    return [Envelope((Record(id=name, body=b"{}", created_at=now),)) for name in names]


@contextlib.asynccontextmanager
async def _opened(server: Ministack, database: Database, endpoint: str | None = None) -> AsyncIterator[SqsBackend]:
    options = dataclasses.replace(server.sqs, prefix=f"t{uuid.uuid4().hex[:8]}-")
    sqs = Sqs(dataclasses.replace(options, endpoint=endpoint or options.endpoint))
    await sqs.start()
    try:
        backend = make_backend(sqs, database, SystemClock())
        await backend.create(QUEUE)
        yield backend
    finally:
        await sqs.stop()


async def _dies(url: str, backend: SqsBackend, what: str) -> None:
    options = backend.places._sqs.options
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(_PROGRAM),
        url,
        str(options.endpoint),
        options.prefix,
        what,
        env={"PATH": os.defpath, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert await asyncio.wait_for(process.wait(), 60) == -signal.SIGKILL


async def _worked_off(backend: SqsBackend, database: Database, count: int) -> Counter[str]:
    """Let a worker serve the queue until each record had its effect and the queue is empty; calls, by record."""
    await database.execute("create table if not exists effects (id text not null)")
    calls: Counter[str] = Counter()
    app = Fluxa()
    app.queue(QueueSpec(QUEUE, batch=10))

    @app.handler(QUEUE)
    async def work(_body: dict[str, str], info: JobInfo, tx: Transaction) -> None:
        calls[info.id] += 1
        await tx.execute("insert into effects values ($1)", info.id)

    dispatcher = Dispatcher(
        backend=backend,
        registry=app.registry,
        handlers=app.handlers,
        database=database,
        clock=SystemClock(),
        hook=silent,
        randomness=random.Random(1),  # noqa: S311 - spreads retries
        config=DispatcherConfig(wait_s=0.5),
    )
    await dispatcher.start()
    try:
        async with asyncio.timeout(40):
            while (  # noqa: ASYNC110 - both are servers, not events
                await database.fetch_value("select count(distinct id) from effects") < count
                or (await backend.metrics(QUEUE)).depth
            ):
                await asyncio.sleep(0.1)
    finally:
        await dispatcher.stop()
    return calls


@pytest.mark.req("QUEUE-1", "QUEUE-3")
async def test_a_worker_killed_between_sending_again_and_deleting_loses_nothing(
    ministack: Ministack, database: Database, database_url: str
) -> None:
    async with _opened(ministack, database) as backend:
        await backend.send(QUEUE, _envelopes(*_NAMES))
        await _dies(database_url, backend, "settle")
        assert (await backend.metrics(QUEUE)).depth == 20, "each is there twice: the copy, and the one not deleted"
        await asyncio.to_thread(ministack.tell, do="advance", seconds=40)
        await _worked_off(backend, database, len(_NAMES))
    effects = await database.fetch("select id, count(*) as times from effects group by id")
    assert {row["id"]: row["times"] for row in effects} == dict.fromkeys(_NAMES, 1)


@pytest.mark.req("QUEUE-1")
async def test_a_relay_killed_between_sending_and_settling_loses_nothing(
    ministack: Ministack, database: Database, database_url: str
) -> None:
    async with _opened(ministack, database) as backend:
        async with database.transaction() as tx:
            await backend.send(QUEUE, _envelopes(*_NAMES), tx=tx)
        await _dies(database_url, backend, "relay")
        await database.execute("update pgmq.q_killed_outbox set vt = now()")  # its lease runs out
        assert await backend.relay.drain(QUEUE) == len(_NAMES)
        assert (await backend.metrics(QUEUE)).depth == 2 * len(_NAMES)
        await _worked_off(backend, database, len(_NAMES))
    effects = await database.fetch("select id, count(*) as times from effects group by id")
    assert {row["id"]: row["times"] for row in effects} == dict.fromkeys(_NAMES, 1)


@pytest.mark.req("QUEUE-1")
async def test_what_is_sent_in_a_transaction_that_rolls_back_never_arrives(
    ministack: Ministack, database: Database
) -> None:
    async with _opened(ministack, database) as backend:
        with contextlib.suppress(ZeroDivisionError):
            async with database.transaction() as tx:
                await backend.send(QUEUE, _envelopes("gone"), tx=tx)
                raise ZeroDivisionError
        assert await backend.relay.drain(QUEUE) == 0
        assert (await backend.metrics(QUEUE)).depth == 0


@pytest.mark.req("QUEUE-1")
async def test_a_server_that_comes_back_is_found_again_by_the_same_process(
    own_ministack: Ministack, database: Database
) -> None:
    async with _opened(own_ministack, database) as backend:
        await backend.send(QUEUE, _envelopes("before"))
        await asyncio.to_thread(own_ministack.stop)
        for attempt in (backend.send(QUEUE, _envelopes("lost?")), backend.claim(QUEUE, limit=1, lease_s=5)):
            with pytest.raises(FluxaError) as caught:
                await attempt
            assert caught.value.code == ErrorCode.PROVIDER_UNAVAILABLE
        async with database.transaction() as tx:
            await backend.send(QUEUE, _envelopes("meanwhile"), tx=tx)
        await asyncio.to_thread(own_ministack.start)
        await backend.relay.drain(QUEUE)
        claimed = await backend.claim(QUEUE, limit=10, lease_s=5, wait_s=5)
        assert sorted(one.records[0].id for one in claimed) == ["before", "meanwhile"]
        assert await backend.settle([Settlement(one, (DONE,)) for one in claimed]) == []


class Cuts:
    """Hands connections on to a server, and can cut all of them."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._open: set[asyncio.StreamWriter] = set()

    async def hand_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._open |= {writer, far_writer}
        await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
        self._open -= {writer, far_writer}

    def cut(self) -> int:
        for writer in list(self._open):
            writer.transport.abort()
        return len(self._open)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.transport.abort()


@pytest.mark.req("QUEUE-1", "QUEUE-3")
async def test_connections_that_are_cut_lose_nothing(ministack: Ministack, database: Database) -> None:
    cuts = Cuts(ministack.port)
    proxy = await asyncio.start_server(cuts.hand_on, "127.0.0.1", 0)
    endpoint = f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}"
    async with proxy, _opened(ministack, database, endpoint) as backend:
        stop = asyncio.Event()

        async def cutting() -> None:
            while not stop.is_set():
                await asyncio.sleep(0.15)
                cuts.cut()

        cutter = asyncio.create_task(cutting())
        sent: list[str] = []
        for name in (f"c{n}" for n in range(30)):
            while name not in sent:
                with contextlib.suppress(FluxaError):
                    await backend.send(QUEUE, _envelopes(name))
                    sent.append(name)
        stop.set()
        await cutter
        calls = await _worked_off(backend, database, len(sent))
    effects = await database.fetch("select id, count(*) as times from effects group by id")
    assert {row["id"]: row["times"] for row in effects} == dict.fromkeys(sent, 1)
    assert set(calls) == set(sent)
