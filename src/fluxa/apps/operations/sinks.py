"""What the settings make of sinks of the audit log, and how a process sends to them."""

import random
from typing import assert_never

from fluxa.apps.operations.endpoints import open_endpoint, renewing
from fluxa.apps.serving.ground import Ground
from fluxa.apps.settings.tables.sinks import AuditSink
from fluxa.operations.ledger.sinks import Sink, SinkKind
from fluxa.operations.ledger.sinks.cursors import Cursors
from fluxa.operations.ledger.sinks.files import FileSink
from fluxa.operations.ledger.sinks.posting import HttpSink
from fluxa.operations.ledger.sinks.sending import Sending, SendingConfig
from fluxa.operations.ledger.sinks.syslog import SyslogSink
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
            labelled, guard = f"audit_{name}", GuardPolicy()
            endpoint = await open_endpoint(on.life, labelled, given, guard, clock=on.clock, hook=on.told.hook)
            renew = renewing(labelled, endpoint, guard)
            on.rotation.on_row("audit_sinks", lambda settings: settings.audit_sinks.get(name), renew)
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
