"""A whole stack on one machine: database, migrations, the local user's key, and the supervised services."""

import asyncio
import datetime as dt
import secrets
import socket
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from os import getpid
from pathlib import Path

import msgspec

from fluxa.apps.database import locate, pool_config
from fluxa.apps.serving.observe import Telemetry
from fluxa.apps.serving.process import stop_on_signals
from fluxa.apps.serving.server import bind, url_of
from fluxa.apps.settings import Settings, environment_of
from fluxa.apps.stack import home
from fluxa.apps.stack.home import Credentials, RunLock, RunState
from fluxa.apps.stack.supervisor import ChildPlan, RestartPolicy, Supervisor
from fluxa.auth.keys.api_keys import ApiKeys
from fluxa.auth.roles import Role
from fluxa.kernel.clock import Clock
from fluxa.kernel.errors import FluxaError
from fluxa.kernel.lifecycle import Lifetime
from fluxa.operations.ledger import Ledger
from fluxa.postgres import migrate
from fluxa.postgres.pool import Database

_STOP_MARGIN_S = 10.0
"""What a child may need beyond its requests in flight: the last flush, the pool, the embedded Postgres."""
_SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class Sockets:
    """What the services of a stack listen on; bound before anything starts, so that a taken port is told at once."""

    ingest: socket.socket
    query: socket.socket
    station: socket.socket
    worker: socket.socket | None
    processors: tuple[socket.socket, ...]

    @classmethod
    def bind(cls, settings: Settings, processors: int) -> "Sockets":
        """Bind them all.

        Raises:
            FluxaError: `Configuration`, if one is taken; none stays bound then.
        """
        bound: list[socket.socket] = []
        worker = None
        try:
            bound.append(bind(settings.ingest_host, settings.ingest_port, setting="ingest_port"))
            bound.append(bind(settings.query_host, settings.query_port, setting="query_port"))
            bound.append(bind(settings.station_host, settings.station_port, setting="station_port"))
            if _has_work(settings):
                worker = bind(settings.worker_host, settings.worker_port, setting="worker_port")
                bound.append(worker)
            first = len(bound)
            for number in range(processors):
                port = settings.processor_port + number if settings.processor_port else 0
                bound.append(bind(settings.processor_host, port, setting="processor_port"))
        except BaseException:
            for one in bound:
                one.close()
            raise
        for one in bound:
            one.listen(settings.http_backlog)  # who connects while a service starts waits instead of being refused
        return cls(bound[0], bound[1], bound[2], worker, tuple(bound[first:]))

    async def close(self) -> None:
        """Close what is still open."""
        for one in (self.ingest, self.query, self.station, *self.processors, *([self.worker] if self.worker else ())):
            one.close()


class Stack:
    """What `fluxa up` runs.

    Args:
        settings: of the stack and, through their environment, of its services.
        processors: how many of them.
        told: where the supervisor's signals go.
        clock: says when it was ready.
        on_line: called with a process's name and each line it writes.
        on_ready: called once all services are ready.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        processors: int,
        told: Telemetry,
        clock: Clock,
        on_line: Callable[[str, str], None],
        on_ready: Callable[[RunState], None],
    ) -> None:
        self._settings = settings
        self._home = settings.home_folder
        self._processors = processors
        self._told = told
        self._clock = clock
        self._on_line = on_line
        self._on_ready = on_ready
        self._stopping = asyncio.Event()
        self._supervisor: Supervisor | None = None

    async def run(self) -> None:
        """Run until a signal asks for the end; a second one ends everything at once.

        Raises:
            FluxaError: `Refused`, if a stack runs on this home; whatever keeps it from starting.
        """
        life = Lifetime()
        with stop_on_signals(self._ask):
            try:
                if await self._unless_stopped(self._start(life)):
                    await self._stopping.wait()
            finally:
                await life.stop()

    def _ask(self) -> None:
        if self._stopping.is_set() and self._supervisor is not None:
            self._supervisor.kill()
        self._stopping.set()

    async def _unless_stopped(self, work: Awaitable[None]) -> bool:
        """Whether the work was done; it is given up when the end is asked for."""
        task = asyncio.ensure_future(work)
        asked = asyncio.create_task(self._stopping.wait())
        await asyncio.wait((task, asked), return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()
        if task.done():
            await task
            return True
        task.cancel()
        await asyncio.wait((task,))
        return False

    async def _start(self, life: Lifetime) -> None:
        settings = self._settings
        home.prepare(self._home)
        await life.start(RunLock(self._home))
        sockets = Sockets.bind(settings, self._processors)
        life.on_stop(sockets.close)
        url = await locate(life, settings, hook=self._told.hook)
        credentials = await self._prepare_database(url)
        supervisor = self._supervisor = self._supervise(sockets, credentials)
        life.on_stop(supervisor.stop)
        await supervisor.start()
        state = self._state(sockets, supervisor)
        life.on_stop(self._forget)
        home.write_run_state(self._home, state)
        self._on_ready(state)

    async def _prepare_database(self, url: str) -> Credentials:
        database = Database(pool_config(self._settings, url, "up"))
        await database.start()
        try:
            if self._settings.database_url is None:
                for step in await migrate.migrate(database):
                    self._told.logger.info("migrated", number=step.number, name=step.name)
            else:
                await migrate.check(database)  # a database of others is changed when they say so: fluxa db migrate
            return await _ensure_credentials(self._home, database, self._settings.default_tenant, self._clock.now())
        finally:
            await database.stop()

    def _supervise(self, sockets: Sockets, credentials: Credentials) -> Supervisor:
        # Children must not bind by themselves: what they listen on is handed to them.
        cron_secrets = self._settings.cron_secrets or credentials.cron_secret
        secret_key = self._settings.secret_key or credentials.secret_key
        environment = environment_of(
            msgspec.structs.replace(
                self._settings, home=str(self._home), cron_secrets=cron_secrets, secret_key=secret_key
            )
        )

        def plan(name: str, command: str, listen: socket.socket) -> ChildPlan:
            return ChildPlan(name, (sys.executable, "-m", "fluxa", command), environment, listen)

        processors = [
            plan("processor" if self._processors == 1 else f"processor-{number}", "processor", listen)
            for number, listen in enumerate(sockets.processors, start=1)
        ]
        stop_s = self._settings.shutdown_notice_s + self._settings.shutdown_timeout_s + _STOP_MARGIN_S
        return Supervisor(
            [
                *processors,
                plan("query", "query", sockets.query),
                plan("ingest", "ingest", sockets.ingest),
                plan("station", "station", sockets.station),
                *([plan("worker", "worker", sockets.worker)] if sockets.worker is not None else []),
            ],
            hook=self._told.hook,
            clock=self._clock,
            on_line=self._on_line,
            on_change=lambda: self._changed(sockets),
            policy=RestartPolicy(stop_s=stop_s),
        )

    def _changed(self, sockets: Sockets) -> None:
        """Keep the state file true after a restart."""
        if self._supervisor is None:
            return
        try:
            if home.read_run_state(self._home) is not None:
                home.write_run_state(self._home, self._state(sockets, self._supervisor))
        except FluxaError as error:
            # The stack works without it: only the process ids that it names are old.
            self._told.logger.warning("state not written", detail=error.detail)

    def _state(self, sockets: Sockets, supervisor: Supervisor) -> RunState:
        return RunState(
            pid=getpid(),
            started_at=self._clock.now(),
            ingest_url=url_of(sockets.ingest),
            query_url=url_of(sockets.query),
            station_url=url_of(sockets.station),
            worker_url=url_of(sockets.worker) if sockets.worker is not None else "",
            processor_urls=tuple(url_of(one) for one in sockets.processors),
            children=supervisor.pids,
        )

    async def _forget(self) -> None:
        home.remove_run_state(self._home)


def _has_work(settings: Settings) -> bool:
    """Whether a worker would have anything to do: one without handlers refuses to start."""
    return settings.app is not None or bool(settings.external_queues)


async def _ensure_credentials(folder: Path, database: Database, tenant: str, now: dt.datetime) -> Credentials:
    """The local user's credentials: a key that this database knows, and a secret for cron jobs; made if missing."""
    keys = ApiKeys(database, Ledger(database))
    kept = found = home.read_credentials(folder)
    stored = None if found is None else await keys.find(found.key_id)
    if found is None or stored is None or not stored.is_valid(now):
        made = await keys.create(tenant, "local user, made by fluxa up", role=Role.ADMIN)
        found = Credentials(tenant=tenant, key_id=made.key.key_id, api_key=made.token)
    secret = (kept.cron_secret if kept else "") or secrets.token_urlsafe(_SECRET_BYTES)
    secret_key = (kept.secret_key if kept else "") or secrets.token_urlsafe(_SECRET_BYTES)
    found = msgspec.structs.replace(found, cron_secret=secret, secret_key=secret_key)
    if found != kept:
        home.write_credentials(folder, found)
    return found
