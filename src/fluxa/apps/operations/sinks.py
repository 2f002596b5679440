"""What the settings make of sinks of the audit log, and how a process sends to them."""

import random
from typing import assert_never

from fluxa.apps.serving.ground import Ground
from fluxa.apps.serving.rotation import Use
from fluxa.apps.settings import Settings
from fluxa.apps.settings.tables.sinks import AuditSink
from fluxa.operations.ledger.sinks import Sink, SinkKind
from fluxa.operations.ledger.sinks.cursors import Cursors
from fluxa.operations.ledger.sinks.files import FileSink
from fluxa.operations.ledger.sinks.posting import HttpSink
from fluxa.operations.ledger.sinks.sending import Sending, SendingConfig
from fluxa.operations.ledger.sinks.syslog import SyslogSink
from fluxa.providers.vendors.http_endpoint import EndpointConfig, SignedEndpoint
from fluxa.providers.vendors.syslog import Protocol, SyslogConfig, SyslogSender
from fluxa.queue.health.reports import worker_id
from fluxa.resilience import GuardPolicy


async def send_audit(on: Ground) -> None:
    """Send the audit log on to what the settings name, until the process ends.

    Raises:
        FluxaError: `Configuration` for a sink that cannot be used.
    """
    for name, given in on.settings.audit_sinks.items():
        sending = Sending(
            name,
            await _sink(on, name, given),
            Cursors(on.database),
            holder=worker_id(f"sink {name}"),
            config=SendingConfig(),
            clock=on.clock,
            hook=on.told.hook,
            chance=random.random,
        )
        await on.life.start(sending)


async def _sink(on: Ground, name: str, given: AuditSink) -> Sink:
    kind = SinkKind(given.kind)
    match kind:
        case SinkKind.FILE:
            return FileSink(
                on.settings.home_folder / given.file,
                rotate_bytes=given.rotate_bytes,
                stamp=lambda: on.clock.now().strftime("%Y%m%dT%H%M%SZ"),
            )
        case SinkKind.HTTP:
            endpoint = SignedEndpoint(
                _endpoint_config(name, given), clock=on.clock, hook=on.told.hook, chance=random.random
            )
            await on.life.start(endpoint)
            on.rotation.on_change(["audit_sinks"], _renewing(name, endpoint))
            return HttpSink(endpoint)
        case SinkKind.SYSLOG:
            config = SyslogConfig(
                name=name,
                host=given.host,
                port=given.port,
                protocol=Protocol(given.protocol),
                timeout_s=given.timeout_s,
                confirm=given.confirm,
                ca_file=given.ca_file,
            )
            return SyslogSink(SyslogSender(config))
        case _:
            assert_never(kind)


def _endpoint_config(name: str, given: AuditSink) -> EndpointConfig:
    return EndpointConfig(
        name=f"audit_{name}",
        url=given.url,
        bearer=given.bearer,
        secrets=given.secrets,
        timeout_s=given.timeout_s,
        allow_private=given.allow_private,
        ca_file=given.ca_file,
        guard=GuardPolicy(),
    )


def _renewing(name: str, endpoint: SignedEndpoint) -> Use:
    """Let a sink go on with its new URL, bearer and secrets; one that is named anew waits for a restart."""

    async def use(settings: Settings) -> None:
        given = settings.audit_sinks.get(name)
        if given is not None:
            endpoint.use(_endpoint_config(name, given))

    return use


class SinkGauges:
    """How far sinks are behind, in the metrics of a process that shows them."""

    def __init__(self, on: Ground) -> None:
        self._cursors = Cursors(on.database)
        self._names = list(on.settings.audit_sinks)
        self._metrics = on.told.metrics

    async def refresh(self) -> None:
        """Bring the gauges up to date; while it is not known how far they are, they are absent.

        Raises:
            FluxaError: an outage.
        """
        for name in self._names:
            for gauge in ("fluxa_audit_sink_lag_entries", "fluxa_audit_sink_lag_seconds", "fluxa_audit_sink_failing"):
                self._metrics.forget_gauge(gauge, name)
        for one in await self._cursors.standings(self._names) if self._names else ():
            if one.sink in self._names:
                self._metrics.set_gauge("fluxa_audit_sink_lag_entries", one.behind, one.sink)
                self._metrics.set_gauge("fluxa_audit_sink_lag_seconds", one.oldest_s, one.sink)
                self._metrics.set_gauge("fluxa_audit_sink_failing", one.failing, one.sink)
