"""Opens the HTTP endpoints that settings name for alarms and for the audit log. Not: what is sent there, or when."""

import random
from collections.abc import Callable

from fluxa.apps.settings.tables.alarms import AlarmTarget
from fluxa.apps.settings.tables.sinks import AuditSink
from fluxa.kernel.clock import Clock
from fluxa.kernel.lifecycle import Lifetime
from fluxa.providers.vendors.http_endpoint import EndpointConfig, SignedEndpoint
from fluxa.resilience import GuardPolicy
from fluxa.telemetry.catalogue import Hook


async def open_endpoint(
    life: Lifetime, name: str, given: AlarmTarget | AuditSink, guard: GuardPolicy, *, clock: Clock, hook: Hook
) -> SignedEndpoint:
    """An endpoint that is open until `life` stops.

    Args:
        life: ends it.
        name: labels its metrics.
        given: what the settings say of it.
        guard: how it is spared.
        clock: the time.
        hook: hears how calls end.

    Raises:
        FluxaError: `Configuration` for a URL or a secret that cannot be used.
    """
    endpoint = SignedEndpoint(_config(name, given, guard), clock=clock, hook=hook, chance=random.random)
    await life.start(endpoint)
    return endpoint


def renewing(name: str, endpoint: SignedEndpoint, guard: GuardPolicy) -> Callable[[AlarmTarget | AuditSink], None]:
    """Lets an endpoint go on with what the settings say of it now: its URL, bearer and secrets."""
    return lambda given: endpoint.use(_config(name, given, guard))


def _config(name: str, given: AlarmTarget | AuditSink, guard: GuardPolicy) -> EndpointConfig:
    return EndpointConfig(
        name=name,
        url=given.url,
        bearer=given.bearer,
        secrets=given.secrets,
        timeout_s=given.timeout_s,
        allow_private=given.allow_private,
        ca_file=given.ca_file,
        guard=guard,
    )
