"""Tokens of other issuers (Supabase, an identity provider): their keys by JWKS, and what their claims mean here.

Where keys are fetched from stands in the settings alone: nothing that a token says is ever connected to.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import httpx

from fluxa.auth.principal import Kind, Principal
from fluxa.auth.roles import Role
from fluxa.auth.tokens import claims, jws
from fluxa.auth.tokens.jws import PublicKey, Signed, public_key
from fluxa.auth.tokens.refusals import Refusal, RefusedTokenError
from fluxa.kernel import json
from fluxa.kernel.clock import Clock
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.kernel.ids import Tenant, can_be_given
from fluxa.telemetry.caches import CacheCount

_NAME_MAX: Final = 200
_KEYS_MAX: Final = 100


@dataclass(frozen=True, slots=True)
class IssuerTerms:
    """On what terms another issuer's tokens are accepted.

    Attributes:
        issuer: what their `iss` says, letter by letter.
        audience: what their `aud` must name.
        tenant: whose data all of them open; empty where `tenant_claim` says it.
        tenant_claim: the claim that names the tenant, with dots into objects: `app_metadata.tenant`.
        role_claim: the claim that names the role, or several.
        roles: the role here for a value of that claim.
        types: what their header's `typ` may say, in lower case; tokens without one have the empty text.
    """

    issuer: str
    audience: str
    tenant: str = ""
    tenant_claim: str = ""
    role_claim: str = "role"
    roles: Mapping[str, Role] = field(default_factory=dict)
    types: frozenset[str] = frozenset({"jwt", "at+jwt", "application/at+jwt", ""})


class KeyFetch(Protocol):
    """Gets an issuer's published keys."""

    async def __call__(self) -> bytes:
        """The document; raises `FluxaError` if it cannot be had."""
        ...


class HttpKeys:
    """Gets them by HTTP: from one address, within a time, never more than fits, and never from where it is sent on to.

    Args:
        client: shared, closed by whoever made it; must not follow redirects.
        url: the address.
        timeout_s: seconds for all of it.
        max_bytes: of the document.
    """

    def __init__(
        self, client: httpx.AsyncClient, url: str, *, timeout_s: float = 5.0, max_bytes: int = 256 * 1024
    ) -> None:
        self._client = client
        self._url = url
        self._timeout_s = timeout_s
        self._max_bytes = max_bytes

    async def __call__(self) -> bytes:
        """The document.

        Raises:
            FluxaError: `ProviderUnavailable`.
        """
        content = bytearray()
        try:
            async with asyncio.timeout(self._timeout_s), self._client.stream("GET", self._url) as answer:
                if answer.status_code != httpx.codes.OK:
                    raise _unavailable(self._url, f"it answered {answer.status_code}")
                async for part in answer.aiter_bytes():
                    content += part
                    if len(content) > self._max_bytes:
                        raise _unavailable(self._url, f"its answer is longer than {self._max_bytes} bytes")
        except TimeoutError:
            raise _unavailable(self._url, f"no answer within {self._timeout_s:g} s") from None
        except httpx.HTTPError as error:
            raise _unavailable(self._url, str(error) or type(error).__name__) from None
        return bytes(content)


@dataclass(frozen=True, slots=True)
class KeyCache:
    """How long an issuer's keys are kept.

    Attributes:
        fresh_s: seconds before they are fetched again.
        again_s: seconds between fetches for the sake of a key that nobody knows, and after one that failed.
        outage_s: seconds for which they hold while they cannot be fetched.
    """

    fresh_s: float = 300.0
    again_s: float = 10.0
    outage_s: float = 3600.0


class OutsideIssuer:
    """Somebody else whose tokens are accepted. A `fluxa.auth.tokens.access.Issuer`.

    Args:
        terms: on what terms.
        fetch: gets its keys.
        clock: says when they are to be fetched again.
        cache: how long they are kept.
        count: told how often a key was at hand, and how often it was fetched or not found; issuers may share one.
    """

    def __init__(
        self,
        terms: IssuerTerms,
        fetch: KeyFetch,
        *,
        clock: Clock,
        cache: KeyCache | None = None,
        count: CacheCount | None = None,
    ) -> None:
        self._terms = terms
        self._fetch = fetch
        self._clock = clock
        self._cache = cache or KeyCache()
        self._count = count or CacheCount()
        self._keys: dict[str, PublicKey] = {}
        self._fetched_at_s = float("-inf")
        self._next_at_s = float("-inf")
        self._error: FluxaError | None = None
        self._fetching: asyncio.Task[None] | None = None

    async def verify(self, token: Signed, *, now_s: float) -> Principal:
        """The bearer.

        Raises:
            RefusedTokenError: the token is not valid.
            FluxaError: `ProviderUnavailable`, when the issuer's keys cannot be had and none are remembered.
        """
        await self.check_signature(token)
        if token.type not in self._terms.types:
            raise RefusedTokenError(Refusal.TYPE)
        claims.check(claims.times_of(token.payload), audience=self._terms.audience, now_s=now_s)
        return bearer_of(claims.all_claims(token.payload), self._terms)

    async def published(self) -> int:
        """How many usable keys the issuer publishes now.

        Raises:
            FluxaError: `ProviderUnavailable`.
        """
        await self._renew()
        if self._error is not None:
            raise self._error
        return len(self._keys)

    async def check_signature(self, token: Signed) -> None:
        """Refuse what none of the issuer's keys signed; what it says is not looked at. Raises as `verify` does."""
        key = await self._key(token.kid)
        if key is None:
            raise RefusedTokenError(Refusal.ALGORITHM if token.algorithm == "none" else Refusal.UNKNOWN_KEY)
        jws.check_signature(token, key)

    async def _key(self, kid: str) -> PublicKey | None:
        now_s = self._clock.monotonic()
        age_s = now_s - self._fetched_at_s
        wanted = age_s >= self._cache.fresh_s or kid not in self._keys
        if wanted and now_s >= self._next_at_s:
            self._next_at_s = now_s + self._cache.again_s
            self._fetching = asyncio.create_task(self._renew(), name=f"keys of {self._terms.issuer}")
        if (
            self._fetching is not None
            and not self._fetching.done()
            and (kid not in self._keys or age_s == float("inf"))
        ):
            self._count.misses += 1
            await asyncio.shield(self._fetching)
        elif kid in self._keys:
            self._count.hits += 1
        else:
            self._count.misses += 1
        if self._clock.monotonic() - self._fetched_at_s > self._cache.outage_s:
            raise self._error or _unavailable(self._terms.issuer, "its keys were never fetched")
        return self._keys.get(kid)

    async def _renew(self) -> None:
        try:
            document = json.decode(await self._fetch())
        except FluxaError as error:
            # What is remembered holds for a while; after that the error is told to whoever comes with a token.
            self._error = _unavailable(self._terms.issuer, error.detail)
            return
        listed = document.get("keys") if isinstance(document, dict) else None
        if not isinstance(listed, list):
            self._error = _unavailable(self._terms.issuer, "its answer is no JWK set")
            return
        found = [public_key(one) for one in listed[:_KEYS_MAX] if isinstance(one, dict)]
        self._keys = {key.kid: key for key in found if key is not None}
        self._fetched_at_s, self._error = self._clock.monotonic(), None


def bearer_of(content: Mapping[str, Any], terms: IssuerTerms) -> Principal:
    """Who the bearer of another issuer's token is here.

    Raises:
        RefusedTokenError: its claims name no tenant or no role that the terms know.
    """
    subject = content.get("sub")
    tenant = terms.tenant or _claim(content, terms.tenant_claim)
    named = _claim(content, terms.role_claim)
    values = named if isinstance(named, list) else [named]
    roles = {terms.roles[one] for one in values if isinstance(one, str) and one in terms.roles}
    if not isinstance(subject, str) or not 0 < len(subject) <= _NAME_MAX:
        raise RefusedTokenError(Refusal.UNMAPPED)
    if not isinstance(tenant, str) or not can_be_given(tenant) or len(roles) != 1:
        raise RefusedTokenError(Refusal.UNMAPPED)
    email = content.get("email")
    name = email if isinstance(email, str) and email.isprintable() and 0 < len(email) <= _NAME_MAX else subject
    return Principal(Tenant(tenant), name, roles.pop(), Kind.USER, f"{terms.issuer}#{subject}")


def _claim(content: Mapping[str, Any], path: str) -> object:
    found: object = content
    for part in path.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _unavailable(who: str, problem: str) -> FluxaError:
    return FluxaError(ErrorCode.PROVIDER_UNAVAILABLE, f"The keys of {who} cannot be fetched: {problem}.")
