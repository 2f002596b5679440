"""Hands the records of external queues to their endpoints (QUEUE-13). Not: how an endpoint is reached (providers)."""

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace

from fluxa.application import Fluxa
from fluxa.kernel.clock import Clock
from fluxa.kernel.errors import ErrorCode, FluxaError, RetryClass
from fluxa.providers.answers import NotSentError, OutcomeUnknownError
from fluxa.providers.http_endpoint import HttpEndpoint, Parcel
from fluxa.queue.outcome import Dead, Outcome, Snooze
from fluxa.queue.record import Record
from fluxa.queue.registry import QueueSpec
from fluxa.queue.worker.handlers import JobInfo

_IN_PLACE_S = 10.0
"""How long a refused record keeps its handler: were it given back at once, the whole queue would be turned over."""
_MARGIN_S = 5.0


@dataclass(frozen=True, slots=True)
class External:
    """Where the records of one external queue go.

    Attributes:
        endpoint: takes them.
        timeout_s: seconds that a delivery may take, waiting for its place not included.
        place_wait_s: seconds that a delivery may wait for its place in the pace.
        dedupe_s: seconds for which the endpoint knows a record's id; what may have arrived is sent again only
            within them. 0: it does not know it, and a person decides.
    """

    endpoint: HttpEndpoint
    timeout_s: float
    place_wait_s: float
    dedupe_s: float


def register(
    app: Fluxa,
    externals: Mapping[str, External],
    clock: Clock,
    *,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> None:
    """Let external queues that have an endpoint be served; one without keeps its records.

    Raises:
        FluxaError: `Configuration` for an endpoint of a queue that is not external, or that has a handler.
    """
    for name, external in externals.items():
        spec = app.registry.get(name) if name in app.registry else None
        if spec is None or not spec.external:
            there = ", ".join(each.name for each in app.registry if each.external) or "none"
            raise FluxaError(
                ErrorCode.CONFIGURATION,
                f"external_queues names {name}, which is no external queue. There are: {there}.",
            )
        app.queue(_fitted(spec, external))
        app.handler(name)(_Delivery(external, clock, sleep).__call__)


def _fitted(spec: QueueSpec, external: External) -> QueueSpec:
    """The queue with the time that a delivery may need, and with what an unknown outcome means at this endpoint."""
    needed_s = external.place_wait_s + max(external.timeout_s, _IN_PLACE_S) + _MARGIN_S
    overrides = dict(spec.retry.overrides)
    if external.dedupe_s > 0:
        overrides.setdefault(ErrorCode.OUTCOME_UNKNOWN, RetryClass.TRANSIENT)
    return replace(spec, timeout_s=max(spec.timeout_s, needed_s), retry=replace(spec.retry, overrides=overrides))


class _Delivery:
    """The handler of one external queue."""

    def __init__(self, external: External, clock: Clock, sleep: Callable[[float], Awaitable[object]]) -> None:
        self._external = external
        self._clock = clock
        self._sleep = sleep

    async def __call__(self, record: Record, info: JobInfo) -> Outcome | None:
        """Deliver one record. Raises as `HttpEndpoint.deliver` does where the queue's policy should decide."""
        parcel = Parcel(
            id=record.id,
            body=record.body,
            content_type=record.content_type,
            correlation_id=record.correlation_id,
            attempt=info.attempt,
        )
        try:
            await self._external.endpoint.deliver(parcel)
        except NotSentError as error:
            return await self._later(error)
        except OutcomeUnknownError as error:
            if self._forgotten(record):
                return Dead(error.code, f"{error.detail} The endpoint may have forgotten its id by now.")
            raise
        return None

    async def _later(self, error: NotSentError) -> Outcome:
        """Nothing was tried: no attempt counts, and the record comes back when the way is free."""
        until = self._clock.now() + dt.timedelta(seconds=error.retry_after_s or 0.0)
        await self._sleep(min(_IN_PLACE_S, error.retry_after_s or 0.0))
        return Snooze(until)

    def _forgotten(self, record: Record) -> bool:
        """Whether the endpoint may no longer know that it has seen this record."""
        since = record.failure.first_at if record.failure is not None else self._clock.now()
        return (self._clock.now() - since).total_seconds() >= self._external.dedupe_s
