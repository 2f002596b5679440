"""The worker: serves the queues of a user's application, and what queues need beside it; health and metrics."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import replace

from fluxa.application import Fluxa
from fluxa.apps.application import application
from fluxa.apps.database import pool_config, slow_statements
from fluxa.apps.engines import Served, cron_runner, dispatching, external_queues, open_served, queue_monitor
from fluxa.apps.operations.flags import follow_flags
from fluxa.apps.serving.ground import Ground, ground
from fluxa.apps.serving.process import Tie
from fluxa.apps.serving.renewal import renew_database
from fluxa.apps.settings import Settings, listed
from fluxa.events.carriage import QUEUE as EVENTS
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.operations.cron.schedules import Schedules
from fluxa.postgres.pool import Database
from fluxa.providers.vendors import openfeature
from fluxa.queue.dead_letters.runner import RedriveRunner
from fluxa.queue.health.reports import Reporter, worker_id
from fluxa.queue.worker.dispatcher import Dispatcher
from fluxa.queue.worker.receipts import ReceiptPruner
from fluxa.station.queues.jobs import register

SERVICE = "worker"


async def work(settings: Settings, stopping: asyncio.Event, tie: Tie) -> None:
    """Run until `stopping` is set; what was begun by then is finished, the rest given back to the queues.

    Raises:
        FluxaError: whatever keeps the process from starting.
    """
    app = workers(settings)
    async with ground(settings, SERVICE, tie) as on:
        externals = await external_queues(
            on.life, settings, app.registry, clock=on.clock, hook=on.told.hook, rotation=on.rotation
        )
        register(app, externals, on.clock)
        openfeature.install((await follow_flags(on)).given)
        queues = served(app, settings)
        at = await open_served(on, app.registry)
        dispatcher = Dispatcher(
            backend=at.backend,
            registry=app.registry,
            handlers=app.handlers,
            database=await for_effects(on, app, queues),
            clock=on.clock,
            hook=on.told.hook,
            randomness=random.SystemRandom(),
            queues=queues,
            is_paused=at.watch.is_paused,
            config=dispatching(settings, stop_within_s=settings.shutdown_timeout_s),
        )
        await _start_duties(on, app, at, dispatcher)
        if settings.app:
            await Schedules(on.database).declare(settings.app, list(app.schedules.values()))
        await on.life.start(dispatcher)
        monitor = queue_monitor(settings, on.told, on.database, at.backend, app.registry, queues=queues)
        await on.life.start(monitor)
        await on.serve(
            (),
            stopping=stopping,
            checks={"queues": dispatcher.check},
            refreshes=(
                monitor.refresh,
                _InFlight(on, dispatcher).refresh,
            ),
        )


def workers(settings: Settings) -> Fluxa:
    """The user's application, or an empty one, as a worker serves it.

    Raises:
        FluxaError: `Configuration`, if it cannot be loaded or wants what is another process's.
    """
    app = loaded(settings)
    if not len(app.handlers) and not settings.external_queues:
        raise _nothing_to_run()
    return app


def loaded(settings: Settings) -> Fluxa:
    """The user's application, or an empty one.

    Raises:
        FluxaError: `Configuration`, if it cannot be loaded or wants what is another process's.
    """
    app = application(settings)
    if EVENTS in app.handlers:
        raise FluxaError(
            ErrorCode.CONFIGURATION,
            f"The application has a handler for the queue {EVENTS}, whose records fluxa processor stores; a handler "
            "that takes them would lose them. Use a queue of your own.",
        )
    return app


def served(app: Fluxa, settings: Settings) -> list[str]:
    """The queues to serve: those that were named, else all that have a handler.

    Raises:
        FluxaError: `Configuration`, if one has no handler, or there is none at all.
    """
    named = listed(settings.worker_queues)
    for name in named:
        if app.registry.get(name).external and name not in app.handlers:
            raise FluxaError(
                ErrorCode.CONFIGURATION,
                f"The queue {name} is delivered to an endpoint, and none is named. Name it in external_queues: "
                f"[external_queues.{name}] with a url.",
            )
        app.handlers.get(name)
    queues = list(dict.fromkeys(named)) or [handler.queue for handler in app.handlers]
    if not queues:
        raise _nothing_to_run()
    return queues


def _nothing_to_run() -> FluxaError:
    return FluxaError(
        ErrorCode.CONFIGURATION,
        "There is no handler to run. Name your application with --app module:attribute, and register handlers "
        "in it with @app.handler(queue); or name the endpoint of an external queue in external_queues.",
    )


async def for_effects(on: Ground, app: Fluxa, queues: Sequence[str]) -> Database:
    """The pool of handlers that take a transaction: each call holds a connection for as long as it runs.

    It is their own, so that claims, leases and settlements never wait for a handler's connection.
    """
    calls = sum(app.registry.get(queue).concurrency for queue in queues if app.handlers.get(queue).tx is not None)
    if not calls:
        return on.database
    config = pool_config(on.settings, on.database.config.url, f"{on.service}-handlers")
    slow = slow_statements(on.settings, hook=on.told.hook)
    database = Database(replace(config, size_min=0, size_max=calls), slow=slow)
    await on.life.start(database)
    renew_database(on.rotation, database)
    return database


async def _start_duties(on: Ground, app: Fluxa, at: Served, dispatcher: Dispatcher) -> None:
    """What every worker does beside its handlers. Each is safe to run in any number of processes."""
    clock, hook = on.clock, on.told.hook
    for duty in (
        Reporter(on.database, worker_id(SERVICE), dispatcher.reports, clock=clock, hook=hook),
        RedriveRunner(on.database, at.backend, clock=clock, hook=hook, registry=app.registry, listener=at.listener),
        ReceiptPruner(on.database, clock=clock, hook=hook),
        cron_runner(
            on.settings, on.told, on.database, at.backend, app.registry, worker=worker_id(SERVICE), listener=at.listener
        ),
    ):
        await on.life.start(duty)


class _InFlight:
    """What is in hand, told when scraped."""

    def __init__(self, on: Ground, dispatcher: Dispatcher) -> None:
        self._metrics = on.told.metrics
        self._dispatcher = dispatcher

    async def refresh(self) -> None:
        """Set the gauges."""
        for report in self._dispatcher.reports():
            self._metrics.set_gauge("fluxa_worker_in_flight", report.in_flight, report.queue)
