"""What every process stands on: its telemetry, its socket, its database, and the way it serves. Not: its own work."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import fluxa
from fluxa.apps.database import open_database, open_valkey, open_wakeups
from fluxa.apps.serving.counting import counted
from fluxa.apps.serving.identity import Identity, open_access, open_identity
from fluxa.apps.serving.observe import Telemetry, observe
from fluxa.apps.serving.process import Tie
from fluxa.apps.serving.renewal import renew_ground, rotation_of
from fluxa.apps.serving.rotation import Rotation
from fluxa.apps.serving.server import Draining, limits_of, listen, serve, url_of
from fluxa.apps.serving.sessions import keep_sessions
from fluxa.apps.serving.tracing import TracedApp, counting, open_traces
from fluxa.apps.settings import Settings, listed
from fluxa.apps.settings.tables.buckets import rules_of
from fluxa.auth.sessions import Sessions
from fluxa.kernel.clock import Clock, SystemClock
from fluxa.kernel.ids import Tenant
from fluxa.kernel.lifecycle import Lifetime
from fluxa.operations.alarms.samples import Sampler
from fluxa.operations.ledger import Ledger
from fluxa.postgres.listen import Listener, Notifier
from fluxa.postgres.pool import Database
from fluxa.providers.valkey import ValkeyLink
from fluxa.queue.health.reports import worker_id
from fluxa.telemetry.duty import Duty
from fluxa.web import health, openapi, problems
from fluxa.web.app import App
from fluxa.web.identity import Access, Guard
from fluxa.web.identity.bindings import Bindings
from fluxa.web.limits import Addresses, Counting, Limiter, SharedWindows, networks
from fluxa.web.routes import Auth, Route

if TYPE_CHECKING:
    from fluxa.telemetry.otlp import Otlp


@dataclass(frozen=True, slots=True)
class Ground:
    """A process that is about to serve.

    Attributes:
        service: which one.
        settings: what it was told.
        tie: its tie to a supervisor.
        told: its telemetry.
        life: starts its parts, and stops them in reverse when it ends.
        database: its pool.
        valkey: what all processes share quickly; None where the settings name no server.
        clock: the time.
        draining: whether it has begun to stop.
        sessions: who is logged in.
        listener: hears what other processes announce.
        notifier: announces.
        identity: who a caller is, by API key or access token.
        traces: what its spans are told to, where they are.
        access: which roles may call what.
        rotation: tells of secrets that changed.
        ledger: where acts are written down.
        addresses: whose request it is, behind trusted proxies too.
    """

    service: str
    settings: Settings
    tie: Tie
    told: Telemetry
    life: Lifetime
    database: Database
    valkey: ValkeyLink | None
    bound: socket.socket
    clock: Clock
    sessions: Sessions
    listener: Listener
    notifier: Notifier
    identity: Identity
    access: Access
    rotation: Rotation
    ledger: Ledger
    addresses: Addresses
    draining: Draining = field(default_factory=Draining)
    traces: "Otlp | None" = None

    @property
    def bindings(self) -> Bindings:
        """What changes which roles may call what."""
        return Bindings(self.database, self.ledger, Tenant(self.settings.default_tenant))

    async def serve(
        self,
        rows: Sequence[Route],
        *,
        stopping: asyncio.Event,
        checks: Mapping[str, health.Check],
        refreshes: Sequence[health.Refresh] = (),
        guards: Mapping[Auth, Guard] | None = None,
        drain: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Serve these rows, and the pages that every process has, until `stopping` is set.

        Args:
            rows: the process's own.
            stopping: set by whoever wants an end.
            checks: what makes it ready, besides that it takes work and that the database answers.
            refreshes: bring gauges up to date before a scrape.
            guards: who may call rows with other authentication than an API key.
            drain: what is to be done once stopping begins, besides saying that it is not ready.
        """

        async def begin_end() -> None:
            self.draining.begin()
            if drain is not None:
                await drain()

        if self.traces is not None:
            refreshes = (*refreshes, counting(self.traces, self.told))
        table = [
            *rows,
            *health.routes(
                self.service, self._readiness(checks), self.told.metrics, [self._spared(one) for one in refreshes]
            ),
            problems.route(),
        ]
        table.append(openapi.route(table, version=fluxa.__version__))
        address = url_of(self.bound)
        app = App(
            table,
            identify=self.identity.identify,
            access=self.access,
            guards=guards,
            counting=self._counting(),
            hook=self.told.hook,
            logger=self.told.logger,
        )
        await self.bindings.tell(self.service, table, version=fluxa.__version__)
        await serve(
            app if self.traces is None else TracedApp(app, self.traces),
            self.bound,
            limits_of(self.settings),
            stopping=stopping,
            ready=lambda: self.told.ready(self.service, address, self.tie),
            drain=begin_end,
        )

    def _spared(self, refresh: health.Refresh) -> health.Refresh:
        return health.sparing(refresh, Duty("gauges", clock=self.clock, hook=self.told.hook))

    def _readiness(self, checks: Mapping[str, health.Check]) -> health.Readiness:
        """What is asked of the process's own checks, and of what every process has."""
        ready = {"accepting": self.draining.check, "database": self.database.check, **checks}
        spared = set()
        if self.valkey is not None:
            ready["cache"] = self.valkey.check
            if self.settings.session_store != "valkey":
                spared.add("cache")  # without it requests are counted, or refused, as each bucket says; the rest works
        return health.Readiness(ready, self.told.logger, spared=spared)

    def _counting(self) -> Counting:
        """The buckets, counted for all processes where there is a Valkey."""
        limiter = Limiter(
            rules_of(self.settings.buckets),
            shared=None if self.valkey is None else SharedWindows(self.valkey),
            clock=self.clock,
            hook=self.told.hook,
        )
        return Counting(limiter, self.addresses)


@contextlib.asynccontextmanager
async def ground(settings: Settings, service: str, tie: Tie) -> AsyncIterator[Ground]:
    """Open what every service needs: the port that its settings name, and the database, its schema checked.

    Raises:
        FluxaError: whatever keeps the process from starting.
    """
    told = observe(service, settings.log_level)
    life = Lifetime()
    setting = f"{service}_port"
    bound = listen(tie, getattr(settings, f"{service}_host"), getattr(settings, setting), setting=setting)
    try:
        clock = SystemClock()
        traces = await open_traces(life, settings, service, told, clock)
        database = await open_database(life, settings, service, hook=told.hook)
        valkey = await open_valkey(life, settings)
        sessions = keep_sessions(settings, database, valkey, clock)
        await life.start(
            Sampler(
                database,
                worker_id(service),
                service,
                lambda: counted(service, told.metrics),
                clock=clock,
                hook=told.hook,
            )
        )
        listener, notifier = await open_wakeups(life, settings, database)
        ledger = Ledger(database, hook=told.hook)
        identity = await open_identity(
            life, settings, database, listener, sessions, clock=clock, hook=told.hook, audit=ledger
        )
        told.metrics.follow_caches(identity.caches)
        access = await open_access(life, settings, database, listener, ledger, clock=clock, hook=told.hook)
        rotation = rotation_of(settings, told.logger)
        renew_ground(rotation, database=database, listener=listener, valkey=valkey, identity=identity, traces=traces)
        await life.start(rotation)
        yield Ground(
            service,
            settings,
            tie,
            told,
            life,
            database,
            valkey,
            bound,
            clock,
            sessions,
            listener,
            notifier,
            identity,
            access,
            rotation,
            ledger,
            Addresses(networks(listed(settings.http_trusted_proxies))),
            traces=traces,
        )
    finally:
        bound.close()
        await life.stop()
        told.logger.info("stopped")
