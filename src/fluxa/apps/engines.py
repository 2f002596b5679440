"""Builds the concrete engines behind our ports, queue and object store: the only place that names a vendor."""

import random
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from fluxa.apps.serving.ground import Ground
from fluxa.apps.serving.observe import Telemetry
from fluxa.apps.serving.rotation import Rotation
from fluxa.apps.settings import Settings, listed
from fluxa.apps.settings.tables.external import ExternalQueue
from fluxa.kernel.clock import Clock, SystemClock
from fluxa.kernel.lifecycle import Lifetime
from fluxa.operations.cron.runner import CronRunner
from fluxa.postgres.listen import Listener, Notifier
from fluxa.postgres.pool import Database
from fluxa.providers.object_store import ListedStore, ObjectStore
from fluxa.providers.vendors.http_endpoint import EndpointConfig, SignedEndpoint
from fluxa.providers.vendors.object_store import BucketObjects, S3Options, open_objects
from fluxa.queue.backend import QueueBackend
from fluxa.queue.backends.pgmq import PgmqBackend, PgmqInsight
from fluxa.queue.backends.routed import RoutedBackend
from fluxa.queue.backends.sqs import Sqs, SqsBackend, SqsOptions
from fluxa.queue.health.controls import PauseWatch
from fluxa.queue.health.monitor import QueueMonitor
from fluxa.queue.health.probing import ProbeConfig
from fluxa.queue.health.snapshot import HealthReader
from fluxa.queue.insight import Insight
from fluxa.queue.registry import Registry, built_in
from fluxa.queue.worker.dispatcher import DispatcherConfig
from fluxa.resilience import BreakerPolicy, GuardPolicy, PacePolicy
from fluxa.station.queues.jobs import External
from fluxa.telemetry.catalogue import Hook


async def open_queues(
    life: Lifetime,
    settings: Settings,
    database: Database,
    *,
    listener: Listener | None = None,
    notifier: Notifier | None = None,
    registry: Registry | None = None,
    relaying: Hook | None = None,
    rotation: Rotation | None = None,
) -> QueueBackend:
    """All queues, each in the engine that the settings name; connections end when `life` stops.

    Args:
        life: whose the connections are.
        settings: what the settings say.
        database: Postgres; dead letters are there whatever the engine.
        listener: wakes waiting claims; without one they poll.
        notifier: announces what is sent.
        registry: the queues and how their keys are kept apart; None: the ones Fluxa itself has.
        relaying: for a process that serves queues: it also sends on what waits in outboxes, and tells of it here.
        rotation: tells of new access keys; None: those of now are used to the end.

    Raises:
        FluxaError: `Configuration`, if a queue is in SQS and that cannot be set up.
    """
    clock = SystemClock()
    known = registry or built_in()
    rules, named = known.key_rules, in_sqs(settings, known)
    pgmq = PgmqBackend(database, listener=listener, notifier=notifier, clock=clock, keys=rules)
    if not named and settings.queue_engine == "pgmq":
        return pgmq
    sqs = Sqs(_sqs_options(settings))
    await life.start(sqs)
    if rotation is not None:
        _renew_sqs(rotation, sqs)
    spill = object_store(settings, rotation)
    engine = SqsBackend(sqs, database, boxes=pgmq, notifier=notifier, clock=clock, keys=rules, spill=spill)
    if relaying is not None:
        await life.start(engine.relaying(named, listener=listener, clock=clock, hook=relaying))
        await life.start(engine.sweeper(named, clock=clock, hook=relaying))
    return RoutedBackend(engine if settings.queue_engine == "sqs" else pgmq, dict.fromkeys(named, engine))


@dataclass(frozen=True, slots=True)
class Served:
    """What a process that works on queues has of them.

    Attributes:
        backend: all queues; outboxes are sent on.
        listener: hears of new work.
        watch: knows which queues are paused.
    """

    backend: QueueBackend
    listener: Listener
    watch: PauseWatch


async def open_served(on: Ground, registry: Registry) -> Served:
    """The queues of a process that works on them; all of it ends when the process does.

    Raises:
        FluxaError: `Configuration`, if a queue is in SQS and that cannot be set up; an outage.
    """
    hook = on.told.hook
    listener, notifier = on.listener, on.notifier
    backend = await open_queues(
        on.life,
        on.settings,
        on.database,
        listener=listener,
        notifier=notifier,
        registry=registry,
        relaying=hook,
        rotation=on.rotation,
    )
    watch = PauseWatch(on.database, clock=on.clock, hook=hook, listener=listener)
    await on.life.start(watch)
    return Served(backend, listener, watch)


def dispatching(settings: Settings, *, stop_within_s: float) -> DispatcherConfig:
    """How handlers are run, by the settings."""
    return DispatcherConfig(
        capacity=settings.worker_concurrency,
        memory_limit_bytes=settings.worker_memory_max_bytes or None,
        stop_within_s=stop_within_s,
    )


def in_sqs(settings: Settings, registry: Registry) -> list[str]:
    """The queues that the settings put into SQS."""
    if settings.queue_engine == "sqs":
        return [spec.name for spec in registry]
    return listed(settings.sqs_queues)


def _sqs_options(settings: Settings) -> SqsOptions:
    return SqsOptions(
        endpoint=settings.sqs_endpoint,
        region=settings.sqs_region,
        access_key_id=settings.sqs_access_key_id,
        secret_access_key=settings.sqs_secret_access_key,
        prefix=settings.sqs_prefix,
    )


def _renew_sqs(rotation: Rotation, sqs: Sqs) -> None:
    async def use(settings: Settings) -> None:
        await sqs.use(settings.sqs_access_key_id, settings.sqs_secret_access_key)

    rotation.on_change(["sqs_access_key_id", "sqs_secret_access_key"], use)


def insight_of(database: Database) -> Insight:
    """What looks into the queues of a database without touching them."""
    return PgmqInsight(database)


def health_reader(
    settings: Settings, database: Database, backend: QueueBackend, registry: Registry, *, hook: Hook
) -> HealthReader:
    """What takes snapshots of queues."""
    config = ProbeConfig(timeout_s=settings.queue_probe_timeout_s, retries=settings.queue_probe_retries)
    return HealthReader(
        database=database,
        backend=backend,
        insight=insight_of(database),
        registry=registry,
        clock=SystemClock(),
        hook=hook,
        config=config,
    )


def queue_monitor(
    settings: Settings,
    told: Telemetry,
    database: Database,
    backend: QueueBackend,
    registry: Registry,
    *,
    queues: Collection[str] | None = None,
) -> QueueMonitor:
    """What watches queues for a process: those it serves, or all of them."""
    return QueueMonitor(
        health_reader(settings, database, backend, registry, hook=told.hook),
        registry,
        metrics=told.metrics,
        clock=SystemClock(),
        hook=told.hook,
        queues=queues,
        period_s=settings.queue_watch_period_s,
    )


def cron_runner(
    settings: Settings,
    told: Telemetry,
    database: Database,
    backend: QueueBackend,
    registry: Registry,
    *,
    worker: str,
    listener: Listener | None,
) -> CronRunner:
    """What runs schedules whose queues a process knows."""
    return CronRunner(
        database,
        backend,
        registry,
        clock=SystemClock(),
        hook=told.hook,
        worker=worker,
        listener=listener,
        history_days=settings.cron_history_days,
    )


async def external_queues(
    life: Lifetime,
    settings: Settings,
    registry: Registry,
    *,
    clock: Clock,
    hook: Hook,
    chance: Callable[[], float] = random.random,
    rotation: Rotation | None = None,
) -> Mapping[str, External]:
    """The endpoints of external queues that the settings name; their connections end when `life` stops.

    With `rotation`, each goes on with its new URL, bearer and secrets; a queue that is named anew waits for a restart.

    Raises:
        FluxaError: `Configuration` for a URL or a secret that cannot be used.
    """
    found: dict[str, External] = {}
    for queue, given in settings.external_queues.items():
        breaker = registry.get(queue).breaker if queue in registry else BreakerPolicy()
        config = _endpoint_config(queue, given, breaker)
        endpoint = SignedEndpoint(config, clock=clock, hook=hook, chance=chance)
        await life.start(endpoint)
        found[queue] = External(
            endpoint=endpoint,
            timeout_s=given.timeout_s,
            place_wait_s=config.guard.wait_max_s,
            dedupe_s=given.dedupe_s,
        )
        if rotation is not None:
            _renew(rotation, queue, endpoint, breaker)
    return found


def _endpoint_config(queue: str, given: ExternalQueue, breaker: BreakerPolicy) -> EndpointConfig:
    pace = PacePolicy(given.rate_per_s, given.burst) if given.rate_per_s is not None else None
    return EndpointConfig(
        name=queue,
        url=given.url,
        bearer=given.bearer,
        secrets=given.secrets,
        timeout_s=given.timeout_s,
        allow_private=given.allow_private,
        dedupes=given.dedupe_s > 0,
        ca_file=given.ca_file,
        guard=GuardPolicy(pace=pace, breaker=breaker),
    )


def _renew(rotation: Rotation, queue: str, endpoint: SignedEndpoint, breaker: BreakerPolicy) -> None:
    rotation.on_row(
        "external_queues",
        lambda settings: settings.external_queues.get(queue),
        lambda given: endpoint.use(_endpoint_config(queue, given, breaker)),  # what is in flight goes where it went
    )


def object_store(settings: Settings, rotation: Rotation | None = None) -> ObjectStore:
    """Where large data goes: what the settings name, else a folder under home.

    With `rotation`, it goes on with a new access key.

    Raises:
        FluxaError: `Configuration` for a URL that names none.
    """
    url = settings.object_store_url or (settings.home_folder / "objects").as_uri()
    return _renewed(open_objects(url, _s3(settings)), rotation)


def anchor_store(settings: Settings, rotation: Rotation | None = None) -> ListedStore:
    """Where anchors of the audit log are kept. As `object_store`."""
    url = settings.audit_anchor_url or (settings.home_folder / "anchors").as_uri()
    return _renewed(open_objects(url, _s3(settings)), rotation)


def _renewed(store: ListedStore, rotation: Rotation | None) -> ListedStore:
    if rotation is not None and isinstance(store, BucketObjects):
        bucket = store

        async def use(settings: Settings) -> None:
            await bucket.use(_s3(settings))

        rotation.on_change(["object_store_access_key_id", "object_store_secret_access_key"], use)
    return store


def _s3(settings: Settings) -> S3Options:
    """How the settings say that a bucket is reached."""
    endpoint = settings.object_store_endpoint
    return S3Options(
        endpoint=endpoint,
        region=settings.object_store_region,
        access_key_id=settings.object_store_access_key_id,
        secret_access_key=settings.object_store_secret_access_key,
        allow_http=endpoint is not None and endpoint.startswith("http://"),
    )
