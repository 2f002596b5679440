"""Which bucket a request is taken from, and for whom. Not: how much the buckets hold (rules)."""

from typing import Final

from fluxa.auth.principal import Principal, Reason, reason_of
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.web.limits.addresses import Addresses
from fluxa.web.limits.limiter import Limiter
from fluxa.web.limits.rules import BucketRule
from fluxa.web.responses import Headers
from fluxa.web.routes import Bucket, Route, Scope

UNLIMITED: Final = {bucket: BucketRule(0) for bucket in Bucket}
"""Rules under which nothing is counted."""


class Counting:
    """Counts requests by who proved to have sent them, else by where they come from.

    Args:
        limiter: the buckets.
        addresses: tells where requests come from.
    """

    def __init__(self, limiter: Limiter, addresses: Addresses | None = None) -> None:
        self._limiter = limiter
        self._addresses = addresses or Addresses()

    def counts(self, route: Route) -> bool:
        """Whether the requests of a row are counted at all."""
        return self._limiter.counts(route.terms.bucket)

    def address(self, scope: Scope) -> str:
        """Where a request comes from."""
        return self._addresses.of(scope)

    async def take(self, route: Route, principal: Principal | None, scope: Scope) -> Headers:
        """Count a request; what its answer says about the bucket. Raises as `Limiter.take` does."""
        client = self._addresses.client(scope) if principal is None else _name(principal)
        return await self._limiter.take(route.terms.bucket, client)

    async def refused(self, error: FluxaError, scope: Scope) -> FluxaError:
        """Count a credential that was refused; what is to be answered: from one who tries all the time, `RateLimited`.

        A right credential never comes here: it is not refused for what others tried from the same address, with whom
        its owner may share a proxy.
        """
        counted = error.code == ErrorCode.UNAUTHENTICATED and reason_of(error) is not Reason.MISSING
        if not counted or not self._limiter.counts(Bucket.FAILED_CREDENTIALS):
            return error
        try:
            await self._limiter.take(Bucket.FAILED_CREDENTIALS, self._addresses.client(scope))
        except FluxaError as limited:
            return limited
        return error


def _name(principal: Principal) -> str:
    return f"{principal.tenant}/{principal.kind}/{principal.subject or principal.name}"
