"""One real fault for each alarm, in a real stack, mended when its block ends. Not: what is told of it (test_alarms)."""

import asyncio
import contextlib
import json
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import asyncpg
import httpx
import psutil

from acceptance.operations import alarmed
from fluxa.kernel.clock import SystemClock
from fluxa.operations.cron.schedule import Schedule
from fluxa.operations.cron.schedules import Schedules
from fluxa.postgres.pool import Database, PoolConfig
from fluxa.queue.backends.pgmq import PgmqBackend
from fluxa.queue.producer import Producer
from making.stack import Program, fluxa, running, until

SINK, SINK_FILE = "archive", "audit/log.jsonl"
"""Where the audit log is sent."""


class Stage:
    """The processes of a stack. What is to break has a worker of its own, so that one fault is no fault of another."""

    station: httpx.AsyncClient
    query: httpx.AsyncClient
    key: str
    ingest: Program
    orders: Program
    mirror: Program

    def __init__(self, home: Path, url: str, settings: Mapping[str, str]) -> None:
        self.url = url
        self.database = Database(PoolConfig(url=url, size_max=4))
        backend = PgmqBackend(self.database, listener=None, notifier=None, clock=SystemClock())
        self.producer = Producer(backend, alarmed.app.registry, SystemClock())
        self.home = home
        self._settings = {
            **settings,
            "FLUXA_DATABASE_URL": url,
            "PYTHONPATH": os.pathsep.join((str(Path("src").absolute()), str(Path("tests").absolute()))),
        }
        self._life = AsyncExitStack()
        self._watching: Program

    async def __aenter__(self) -> Self:
        await self.database.start()
        self._life.push_async_callback(self.database.stop)
        self.mirror = await self.begin("query", port=MIRROR_PORT)  # before the station, which asks it from its start on
        made, self._watching, query, self.ingest, self.orders, _ = await asyncio.gather(
            asyncio.to_thread(
                fluxa, "apikey", "create", "--role", "admin", home=self.home, stdin=b"", **self._settings
            ),
            self.begin("station"),
            self.begin("query"),
            self.begin("ingest"),
            self.begin("worker", "--queues", "orders", build="bad"),
            self.begin("worker", "--queues", "mails,imports"),
        )
        assert made.returncode == 0, made.stderr
        self.key = made.stdout.split()[-1]
        self.station, self.query = [await self._client(program) for program in (self._watching, query)]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._watching.stop()  # first: that the others end is no fault
        await self._life.aclose()

    async def begin(self, service: str, *args: str, build: str = "first", port: int = 0) -> Program:
        """Begin a process of a build; it ends with the stage, or before."""
        settings = {**self._settings, "FLUXA_APP": f"{alarmed.__name__}:{build}"}
        program = await self._life.enter_async_context(
            running(service, "--port", str(port), *args, home=self.home, **settings)
        )
        await program.line(lambda line: '"event": "ready"' in line)
        return program

    async def send(self, queue: str, count: int) -> None:
        """Put work into a queue."""
        await self.producer.send(queue, [b"{}"] * count)

    async def ask(self, path: str, body: Mapping[str, object] | None = None) -> None:
        """What an operator asks of the station."""
        answer = await self.station.post(path, json=body)
        assert answer.is_success, answer.text

    async def _client(self, program: Program) -> httpx.AsyncClient:
        url = json.loads(await program.line(lambda line: '"event": "ready"' in line))["url"]
        headers = {"authorization": f"Bearer {self.key}"}
        return await self._life.enter_async_context(
            httpx.AsyncClient(base_url=url, headers=headers, trust_env=False, timeout=30.0)
        )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


MIRROR_PORT = _free_port()
"""Of the process that synthetic checks ask: it comes back where it was."""

Block = Callable[[Stage], AbstractAsyncContextManager[None]]


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong, and what is told of it.

    Attributes:
        block: in which it is wrong.
        fires: which alarms, and of which queue, service or schedule.
        says: words that somebody who reads of the alarm needs, by alarm.
    """

    block: Block
    fires: Mapping[str, str]
    says: Mapping[str, str]


@contextlib.asynccontextmanager
async def bad_build(stage: Stage) -> AsyncIterator[None]:
    """A deployment whose handler fails; it is rolled back, and what it parked is sent again."""
    await stage.send("orders", 6)
    yield
    await stage.orders.stop()
    await stage.begin("worker", "--queues", "orders")
    await stage.ask("/api/queues/orders/redrives", {"all": True})


@contextlib.asynccontextmanager
async def killed_process(stage: Stage) -> AsyncIterator[None]:
    """A process that is killed; another is started in its place."""

    async def heard() -> bool:
        query = "select count(*) from fluxa.process_samples where pid = $1"
        return bool(await stage.database.fetch_value(query, stage.ingest.process.pid))

    await until(heard)
    await stage.ingest.stop(signal.SIGKILL)
    yield
    await stage.begin("ingest")


@contextlib.asynccontextmanager
async def closed_page(stage: Stage) -> AsyncIterator[None]:
    """A process that somebody ends in good order, and that users need all the same."""
    await stage.mirror.stop()
    yield
    stage.mirror = await stage.begin("query", port=MIRROR_PORT)


@contextlib.asynccontextmanager
async def missing_worker(stage: Stage) -> AsyncIterator[None]:
    """Work for a queue whose worker was not started."""
    await stage.send("parcels", 1)
    yield
    await stage.begin("worker", "--queues", "parcels")


@contextlib.asynccontextmanager
async def deep_queue(stage: Stage) -> AsyncIterator[None]:
    """A queue that somebody has paused and forgotten, while work comes in."""
    await stage.ask("/api/queues/mails/pause", {"reason": "a look at the mail server"})
    await stage.send("mails", 25)
    yield
    await stage.ask("/api/queues/mails/resume")


@contextlib.asynccontextmanager
async def unknown_queue(stage: Stage) -> AsyncIterator[None]:
    """A schedule whose queue no running process knows: the build that does was not started yet."""
    await Schedules(stage.database).add(Schedule("digest", "@daily", "digests"), by="mia")
    await stage.database.execute("update fluxa.schedules set next_at = clock_timestamp() where name = 'digest'")
    yield
    await stage.begin("worker", "--queues", "digests", build="app")


@contextlib.asynccontextmanager
async def altered_record(stage: Stage) -> AsyncIterator[None]:
    """A record that somebody alters in the queue; it is put into quarantine."""
    async with stage.database.transaction() as tx:
        await stage.producer.send("imports", [b"amount: 10"], tx=tx)
        altered = await tx.execute(
            "update pgmq.q_imports set message = replace(message::text, 'amount: 10', 'amount: 99')::jsonb"
            " where message->>'body' = 'amount: 10'"
        )
        assert altered == 1
    yield
    await stage.ask("/api/queues/imports/redrives", {"all": True})


@contextlib.asynccontextmanager
async def lost_column(stage: Stage) -> AsyncIterator[None]:
    """A migration by hand that takes away what requests need."""
    await stage.database.execute("alter table fluxa.events rename column subject to topic")
    statuses = {(await stage.query.get("/v1/events")).status_code for _ in range(8)}
    assert statuses <= {500, 502, 503}, statuses
    yield
    await stage.database.execute("alter table fluxa.events rename column topic to subject")


@contextlib.asynccontextmanager
async def altered_log(stage: Stage) -> AsyncIterator[None]:
    """Somebody with all rights in the database who alters the audit log, past its triggers."""

    async def alter(actor: str) -> str:
        async with stage.database.transaction() as tx:
            await tx.execute("set local session_replication_role = replica")
            was: str = await tx.fetch_value("select actor from fluxa.ledger where number = 1")
            assert await tx.execute("update fluxa.ledger set actor = $1 where number = 1", actor) == 1
        return was

    was = await alter("nobody")
    yield
    await alter(was)


@contextlib.asynccontextmanager
async def blocked_sink(stage: Stage) -> AsyncIterator[None]:
    """A folder that stands where the audit log is to be appended to, while people go on to act."""
    file = stage.home / SINK_FILE
    aside = file.with_name("aside")

    def blocked() -> bool:
        if file.is_file():
            file.rename(aside)
        with contextlib.suppress(FileExistsError):  # a sink that was just writing has made it anew
            file.mkdir(parents=True)
        return file.is_dir()

    await until(blocked)
    answer = await stage.station.put("/api/flags/pricing.new", json={"is_on": True})
    assert answer.is_success, answer.text
    yield
    file.rmdir()


@contextlib.asynccontextmanager
async def lost_policy(stage: Stage) -> AsyncIterator[None]:
    """A table on which somebody has turned the tenants' policies off."""
    await stage.database.execute("alter table fluxa.schemas disable row level security")
    yield
    await stage.database.execute("alter table fluxa.schemas enable row level security")


@contextlib.asynccontextmanager
async def guessed_keys(stage: Stage) -> AsyncIterator[None]:
    """Somebody who tries keys."""
    for number in range(30):
        headers = {"authorization": f"Bearer {stage.key[:-4]}{number:04}"}
        assert (await stage.query.get("/v1/events", headers=headers)).status_code == 401
    yield


@contextlib.asynccontextmanager
async def runaway_query(stage: Stage) -> AsyncIterator[None]:
    """Queries that do not end, on all of the machine's processors."""
    async with AsyncExitStack() as life:
        for _ in range(2 * (psutil.cpu_count() or 1)):
            connection = await asyncpg.connect(stage.url)
            life.push_async_callback(connection.close)
            query = "select count(*) from generate_series(1, 100000000000) as n where n % 7 = 3"
            life.push_async_callback(_terminated, asyncio.ensure_future(connection.execute(query)), connection, stage)
        yield


async def _terminated(query: "asyncio.Future[str]", connection: asyncpg.Connection, stage: Stage) -> None:
    await stage.database.execute("select pg_terminate_backend($1)", connection.get_server_pid())
    with contextlib.suppress(asyncpg.PostgresError, ConnectionError):
        await query


FAULTS = (
    (Fault(bad_build, {"ProcessorErrorRate": "", "DLQDepth": "orders"}, {"DLQDepth": "HandlerError"}),),
    (Fault(killed_process, {"ProcessSilent": "ingest"}, {"ProcessSilent": "silent for"}),),
    (Fault(closed_page, {"SyntheticCheckFailed": "health"}, {"SyntheticCheckFailed": "no answer"}),),
    (Fault(missing_worker, {"QueueUnserved": "parcels"}, {"QueueUnserved": "1 messages"}),),
    (
        Fault(
            deep_queue,
            {"QueueDepthHigh": "mails", "QueueOldestAge": "mails"},
            {"QueueDepthHigh": "messages, where 20 are the mark"},
        ),
    ),
    (Fault(unknown_queue, {"MissedSchedule": "digest"}, {"MissedSchedule": "due at"}),),
    (Fault(altered_record, {"TamperedRecords": "imports"}, {}),),
    (Fault(altered_log, {"LedgerBroken": ""}, {"LedgerBroken": "as station found"}),),
    (Fault(lost_policy, {"TenantPoliciesBroken": ""}, {"TenantPoliciesBroken": "as station found"}),),
    (Fault(blocked_sink, {"AuditSinkLag": SINK}, {"AuditSinkLag": "entries wait; it last failed with"}),),
    (Fault(guessed_keys, {"AuthenticationFailures": ""}, {"AuthenticationFailures": " in 10 s"}),),
    (
        Fault(lost_column, {"APIGateway5xx": "query"}, {"APIGateway5xx": "8 of"}),
        Fault(runaway_query, {"DBHighCPU": ""}, {"DBHighCPU": "generate_series"}),
    ),
)
"""All of them. The rows are done side by side; what is in one row, one after the other, since it disturbs."""
