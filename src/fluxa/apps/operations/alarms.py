"""What the settings make of alarms, and how processes count for them, evaluate them and tell people."""

import functools
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence

import msgspec

from fluxa.apps.engines import Served
from fluxa.apps.operations.endpoints import open_endpoint, renewing
from fluxa.apps.serving.ground import Ground
from fluxa.apps.serving.rotation import Rotation
from fluxa.apps.settings import Settings, listed
from fluxa.apps.settings.tables.alarms import AlarmTarget
from fluxa.kernel.clock import Clock
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.kernel.ids import Tenant, uuid7
from fluxa.kernel.lifecycle import Lifetime
from fluxa.operations.alarms.evaluator import Evaluator, EvaluatorConfig
from fluxa.operations.alarms.load import DatabaseLoad
from fluxa.operations.alarms.measuring import Measures, nothing_done
from fluxa.operations.alarms.notices import QUEUE, Delivery, Target, TargetKind, send_test
from fluxa.operations.alarms.rule import Reading, Rule, Severity
from fluxa.operations.alarms.rules import RULES, Change, changed
from fluxa.operations.alarms.samples import Samples
from fluxa.operations.alarms.store import AlarmStore
from fluxa.operations.cron.schedules import Schedules
from fluxa.operations.ledger.sinks.cursors import Cursors
from fluxa.providers.http_endpoint import Parcel
from fluxa.providers.vendors.http_endpoint import SignedEndpoint
from fluxa.providers.vendors.smtp import SmtpConfig, SmtpMailer
from fluxa.queue.health.reports import Reporter, worker_id
from fluxa.queue.health.snapshot import HealthReader
from fluxa.queue.producer import Producer
from fluxa.queue.registry import Registry
from fluxa.queue.worker.dispatcher import Dispatcher, DispatcherConfig
from fluxa.queue.worker.handlers import Handlers
from fluxa.resilience import GuardPolicy
from fluxa.resilience.breaker import BreakerPolicy
from fluxa.station.alarms.routes import AlarmDoor
from fluxa.telemetry.catalogue import Hook
from fluxa.telemetry.metrics import Metrics
from fluxa.web.routes import Route

Synthetic = Callable[[], Awaitable[Sequence[Reading]]]
_STOP_WITHIN_S = 5.0
_HEARTBEAT = "heartbeat"
_REST_MAX_S = 60.0
"""Whoever could not be reached is tried again after a minute at the latest: what is told there is urgent."""


def alarm_rules(settings: Settings) -> tuple[Rule, ...]:
    """The alarms as the settings want them.

    Raises:
        FluxaError: `Configuration` for an alarm that there is not, or values that contradict each other.
    """
    return changed(RULES, {name: Change(**msgspec.structs.asdict(one)) for name, one in settings.alarms.items()})


def targets_of(settings: Settings) -> Mapping[str, Severity]:
    """Who is told, and of what severity at least."""
    return {name: one.least for name, one in settings.alarm_targets.items() if one.kind != _HEARTBEAT}


def alarm_store(settings: Settings, on: Ground) -> AlarmStore:
    """Where alarms are kept, for those who show and acknowledge them."""
    return AlarmStore(on.database, tenant=Tenant(settings.default_tenant), audit=on.ledger)


async def serve_alarms(
    on: Ground, at: Served, registry: Registry, reader: HealthReader, *, synthetic: Synthetic = nothing_done
) -> None:
    """Evaluate alarms and deliver what is told of them, until the process ends.

    `synthetic` says what synthetic checks found, where they are done.

    Raises:
        FluxaError: `Configuration` for a target that cannot be used; an outage.
    """
    settings, clock, hook = on.settings, on.clock, on.told.hook
    name = worker_id("alarms")
    targets = await open_targets(on.life, settings, clock=clock, hook=hook, rotation=on.rotation)
    handlers = Handlers()
    handlers.add(QUEUE, Delivery(targets, clock).__call__)
    dispatcher = Dispatcher(
        backend=at.backend,
        registry=registry,
        handlers=handlers,
        database=None,
        clock=clock,
        hook=hook,
        randomness=random.SystemRandom(),
        is_paused=at.watch.is_paused,
        config=DispatcherConfig(stop_within_s=_STOP_WITHIN_S),
    )
    await on.life.start(Reporter(on.database, name, dispatcher.reports, clock=clock, hook=hook))
    await on.life.start(dispatcher)
    measures = Measures(
        samples=Samples(on.database),
        reader=reader,
        registry=registry,
        schedules=Schedules(on.database),
        load=DatabaseLoad(on.database, clock=clock, cores=settings.database_cores or None),
        now=clock.now,
        expected=listed(settings.alarm_expected),
        cursors=Cursors(on.database),
        sinks=list(settings.audit_sinks),
        synthetic=synthetic,
    )
    config = EvaluatorConfig(
        rules=alarm_rules(settings),
        targets=targets_of(settings),
        period_s=settings.alarm_period_s,
        repeat_s=settings.alarm_repeat_s,
        runbook_url=settings.runbook_url,
    )
    await on.life.start(
        Evaluator(
            on.database,
            measures,
            Producer(at.backend, registry, clock),
            config,
            clock=clock,
            hook=hook,
            name=name,
            beats=await _watchdogs(on.life, settings, clock=clock, hook=hook, rotation=on.rotation),
        )
    )


async def open_targets(
    life: Lifetime, settings: Settings, *, clock: Clock, hook: Hook, rotation: Rotation | None = None
) -> list[Target]:
    """Who is told of alarms; connections end when `life` stops.

    With `rotation`, each goes on with its new URL, bearer, secrets or password; who is named anew waits for a restart.

    Raises:
        FluxaError: `Configuration` for a URL, a secret or a mail server that cannot be used.
    """
    found = []
    for name, given in settings.alarm_targets.items():
        if given.kind == _HEARTBEAT:
            continue
        if given.kind == "mail":
            mailer = _mailer(name, given, clock, rotation)
            found.append(Target(name, TargetKind.MAIL, mailer=mailer, to=given.to, least=given.least))
            continue
        endpoint = await _opened(life, name, given, clock=clock, hook=hook, rotation=rotation)
        found.append(Target(name, TargetKind(given.kind), endpoint=endpoint, least=given.least))
    return found


def _renew(rotation: Rotation | None, name: str, use: Callable[[AlarmTarget], None]) -> None:
    if rotation is not None:
        rotation.on_row("alarm_targets", lambda settings: settings.alarm_targets.get(name), use)


def _mailer(name: str, given: AlarmTarget, clock: Clock, rotation: Rotation | None) -> SmtpMailer:
    mailer = SmtpMailer(_mail_config(name, given), clock=clock)
    _renew(rotation, name, lambda new: mailer.use(_mail_config(name, new)))
    return mailer


def _mail_config(name: str, given: AlarmTarget) -> SmtpConfig:
    if not given.to:
        raise FluxaError(ErrorCode.CONFIGURATION, f"The alarm target {name} names no address in to.")
    return SmtpConfig(
        host=given.host,
        port=given.port,
        security=given.security,
        sender=given.sender,
        username=given.username,
        password=given.password,
        timeout_s=given.timeout_s,
        ca_file=given.ca_file,
    )


async def _opened(
    life: Lifetime, name: str, given: AlarmTarget, *, clock: Clock, hook: Hook, rotation: Rotation | None
) -> SignedEndpoint:
    labelled, guard = f"alarm_{name}", GuardPolicy(breaker=BreakerPolicy(rest_max_s=_REST_MAX_S))
    endpoint = await open_endpoint(life, labelled, given, guard, clock=clock, hook=hook)
    _renew(rotation, name, renewing(labelled, endpoint, guard))
    return endpoint


async def _watchdogs(
    life: Lifetime, settings: Settings, *, clock: Clock, hook: Hook, rotation: Rotation
) -> Mapping[str, Callable[[], Awaitable[None]]]:
    """What tells the watchdogs outside that settings name that alarms are evaluated."""
    beats = {}
    for name, given in settings.alarm_targets.items():
        if given.kind == _HEARTBEAT:
            endpoint = await _opened(life, name, given, clock=clock, hook=hook, rotation=rotation)
            beats[name] = functools.partial(_beat, endpoint)
    return beats


async def _beat(endpoint: SignedEndpoint) -> None:
    await endpoint.deliver(Parcel(id=uuid7(), body=b"{}", content_type="application/json"))


def alarm_routes(on: Ground, at: Served, registry: Registry, store: AlarmStore) -> tuple[Route, ...]:
    """The rows of alarms."""
    settings, producer = on.settings, Producer(at.backend, registry, on.clock)

    async def test() -> list[str]:
        return await send_test(
            producer, targets_of(settings), by="the API", now=on.clock.now(), runbook_url=settings.runbook_url
        )

    return AlarmDoor(store, alarm_rules(settings), test, settings.runbook_url).routes()


class AlarmGauges:
    """How alarms stand, in the metrics of a process that shows them."""

    def __init__(self, store: AlarmStore, rules: tuple[Rule, ...], metrics: Metrics) -> None:
        self._store = store
        self._severities = {rule.name: str(rule.severity) for rule in rules}
        self._metrics = metrics
        self._values: set[tuple[str, str]] = set()

    async def refresh(self) -> None:
        """Bring the gauges up to date; while it is not known how alarms stand, they are absent.

        Raises:
            FluxaError: an outage.
        """
        try:
            alarms, turn = await self._store.all(), await self._store.turn()
        except BaseException:  # cut short, too
            self._forget()
            raise
        firing = dict.fromkeys(self._severities, 0)
        values: set[tuple[str, str]] = set()
        for one in alarms:
            firing[one.alarm] = firing.get(one.alarm, 0) + (one.standing.phase == "firing")
            if one.standing.value is not None:
                values.add((one.alarm, one.subject))
                self._metrics.set_gauge("fluxa_alarm_value", one.standing.value, one.alarm, one.subject)
        for gone in self._values - values:
            self._metrics.forget_gauge("fluxa_alarm_value", *gone)
        self._values = values
        for alarm, count in firing.items():
            self._metrics.set_gauge("fluxa_alarm_firing", count, alarm, self._severities.get(alarm, "warning"))
        if turn is None:
            self._metrics.forget_gauge("fluxa_alarm_evaluation_age_seconds")
        else:
            self._metrics.set_gauge("fluxa_alarm_evaluation_age_seconds", turn[1])

    def _forget(self) -> None:
        for gone in self._values:
            self._metrics.forget_gauge("fluxa_alarm_value", *gone)
        self._values = set()
        for labels in self._metrics.totals("fluxa_alarm_firing"):
            self._metrics.forget_gauge("fluxa_alarm_firing", *labels)
        self._metrics.forget_gauge("fluxa_alarm_evaluation_age_seconds")
