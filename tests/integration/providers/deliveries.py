"""Endpoints under test: one that is open to loopback, ends with its block, and remembers what it told."""

import base64
import contextlib
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from fluxa.kernel.clock import SystemClock
from fluxa.kernel.errors import FluxaError
from fluxa.providers.http_endpoint import Parcel
from fluxa.providers.vendors.guarded_network import Resolve, system_resolve
from fluxa.providers.vendors.http_endpoint import EndpointConfig, SignedEndpoint
from fluxa.resilience import BreakerPolicy, GuardPolicy
from fluxa.telemetry.catalogue import CallEnding, CallFinished
from fluxa.testing.signals import Signals

STORY = "4bf92f3577b34da6a3ce929d0e0e4736"
PARCEL = Parcel(
    id="rec-1",
    body=b'{"a": 1}',
    content_type="application/json; charset=utf-8",
    correlation_id=STORY,
)


def config(url: str) -> EndpointConfig:
    """An endpoint on loopback that may fail as often as it likes."""
    guard = GuardPolicy(breaker=BreakerPolicy(failures=1000))
    return EndpointConfig("package_generation", url, timeout_s=5.0, allow_private=True, guard=guard)


def new_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


@dataclass(frozen=True, slots=True)
class Delivering:
    """An endpoint and what it told."""

    endpoint: SignedEndpoint
    signals: Signals

    async def deliver(self, parcel: Parcel = PARCEL) -> None:
        await self.endpoint.deliver(parcel)

    async def fails(self, parcel: Parcel = PARCEL) -> FluxaError:
        with pytest.raises(FluxaError) as caught:
            await self.endpoint.deliver(parcel)
        return caught.value

    @property
    def endings(self) -> list[CallEnding]:
        return [signal.ending for signal in self.signals.heard if isinstance(signal, CallFinished)]


@contextlib.asynccontextmanager
async def delivering(config: EndpointConfig, *, resolve: Resolve = system_resolve) -> AsyncIterator[Delivering]:
    """An endpoint with the system's clock."""
    signals = Signals()
    endpoint = SignedEndpoint(config, clock=SystemClock(), hook=signals.hear, chance=lambda: 0.5, resolve=resolve)
    await endpoint.start()
    try:
        yield Delivering(endpoint, signals)
    finally:
        await endpoint.stop()
