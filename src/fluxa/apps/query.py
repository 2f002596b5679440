"""The query service: finds events, tells their stories, streams new ones."""

import asyncio

import fluxa
from fluxa.apps.database import open_database
from fluxa.apps.engines import object_store
from fluxa.apps.observe import observe
from fluxa.apps.process import Tie
from fluxa.apps.server import Draining, limits_of, listen, serve, url_of
from fluxa.apps.settings import Settings
from fluxa.auth.api_keys import ApiKeys
from fluxa.auth.key_guard import KeyGuard
from fluxa.events.query.routes import QueryDoor, routes
from fluxa.events.query.store import EventReads
from fluxa.events.query.tail import Tailer
from fluxa.kernel.clock import SystemClock
from fluxa.kernel.lifecycle import Lifetime
from fluxa.web import health, openapi, problems
from fluxa.web.app import App
from fluxa.web.identity import bearer

SERVICE = "query"


async def query(settings: Settings, stopping: asyncio.Event, tie: Tie) -> None:
    """Run until `stopping` is set; streams are told to connect again elsewhere.

    Raises:
        FluxaError: whatever keeps the service from starting.
    """
    told = observe(SERVICE, settings.log_level)
    clock = SystemClock()
    life = Lifetime()
    bound = listen(tie, settings.query_host, settings.query_port, setting="query_port")
    address = url_of(bound)
    try:
        database = await open_database(life, settings, SERVICE, hook=told.hook)
        objects = object_store(settings)
        reads = EventReads(database)
        tailer = Tailer(reads, hook=told.hook, clock=clock)
        await life.start(tailer)
        draining = Draining()
        readiness = health.Readiness(
            {"accepting": draining.check, "database": database.check, "object_store": objects.check}, told.logger
        )
        rows = [
            *routes(QueryDoor(reads, objects, tailer, clock)),
            *health.routes(SERVICE, readiness, told.metrics),
            problems.route(),
        ]
        rows.append(openapi.route(rows, version=fluxa.__version__))
        verify = KeyGuard(ApiKeys(database), clock).verify
        app = App(rows, identify=bearer(verify), hook=told.hook, logger=told.logger)

        async def drain() -> None:
            draining.begin()
            await tailer.stop()  # a stream would else keep the server waiting for its end

        await serve(
            app,
            bound,
            limits_of(settings),
            stopping=stopping,
            ready=lambda: told.ready(SERVICE, address, tie),
            drain=drain,
        )
    finally:
        bound.close()
        await life.stop()
        told.logger.info("stopped")
