"""Takes a client's request from its bucket, or refuses it. Not: who the client is."""

from collections.abc import Mapping
from typing import Final, Protocol

from fluxa.kernel.clock import Clock, SystemClock
from fluxa.kernel.errors import FluxaError
from fluxa.telemetry.catalogue import Hook, OutageBegan, OutageEnded, silent
from fluxa.web.limits.rules import DEFAULTS, BucketRule, OnOutage, RateLimitedError, Window, headers
from fluxa.web.limits.windows import MemoryWindows
from fluxa.web.responses import Headers
from fluxa.web.routes import Bucket

DEPENDENCY: Final = "rate_limits"
_AGAIN_S: Final = 1.0
"""After an outage was found, the shared count is tried again so often, and not with each request."""


class Windows(Protocol):
    """Counts for all processes."""

    async def hit(self, bucket: str, client: str, rule: BucketRule) -> tuple[bool, Window]:
        """Count a request if it may pass; raises `FluxaError` if nobody can count now."""
        ...


class Limiter:
    """The buckets of one process.

    Args:
        rules: how much each holds; one that is not named holds what `DEFAULTS` says.
        shared: counts for all processes; None: each counts for itself.
        clock: measures windows and outages.
        hook: hears when counting for all begins and ends to fail.
    """

    def __init__(
        self,
        rules: Mapping[Bucket, BucketRule] | None = None,
        *,
        shared: Windows | None = None,
        clock: Clock | None = None,
        hook: Hook = silent,
    ) -> None:
        self.rules: dict[Bucket, BucketRule] = {**DEFAULTS, **(rules or {})}
        self._shared = shared
        self._clock = clock or SystemClock()
        self._local = MemoryWindows(self._clock)
        self._hook = hook
        self._outage_since: float | None = None
        self._again_at = 0.0

    def counts(self, bucket: Bucket) -> bool:
        """Whether a bucket has a limit: one that has none is not asked."""
        return self.rules[bucket].limit > 0

    async def take(self, bucket: Bucket, client: str) -> Headers:
        """Take a request of this client from the bucket; the headers that its answer carries.

        Raises:
            FluxaError: `RateLimited`; `ProviderUnavailable`, for a bucket that is closed in an outage.
        """
        rule = self.rules[bucket]
        passes, window = await self._hit(bucket, client, rule)
        if not passes:
            raise RateLimitedError(bucket, rule, window)
        return headers(bucket, rule, window)

    async def _hit(self, bucket: Bucket, client: str, rule: BucketRule) -> tuple[bool, Window]:
        if self._shared is None:
            return self._local.hit(bucket, client, rule)
        now = self._clock.monotonic()
        is_open = rule.on_outage is OnOutage.OPEN
        if self._outage_since is not None and now < self._again_at and is_open:
            return self._local.hit(bucket, client, rule)
        try:
            found = await self._shared.hit(bucket, client, rule)
        except FluxaError as error:
            self._failed(now, error)
            if not is_open:
                raise
            return self._local.hit(bucket, client, rule)
        if self._outage_since is not None:
            self._hook(OutageEnded(DEPENDENCY, now - self._outage_since))
            self._outage_since = None
        return found

    def _failed(self, now: float, error: FluxaError) -> None:
        self._again_at = now + _AGAIN_S
        if self._outage_since is None:
            self._outage_since = now
            self._hook(OutageBegan(DEPENDENCY, error.detail))
