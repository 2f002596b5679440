"""Access tokens: made for those who have logged in, and checked on each request. Not: keys (ring), other issuers.

A token that was found right is not taken apart again; whether its key, its time and its session still hold is asked
each time.
"""

import secrets
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from joserfc.jwk import OKPKey

from fluxa.auth.principal import Kind, Principal
from fluxa.auth.tokens import claims, jws
from fluxa.auth.tokens.jws import PublicKey, Signed
from fluxa.auth.tokens.port import LiveSessions
from fluxa.auth.tokens.refusals import Refusal, RefusedTokenError
from fluxa.auth.tokens.signing_keys import TTL_MAX_S
from fluxa.kernel import json
from fluxa.kernel.clock import Clock
from fluxa.telemetry.caches import CacheCount
from fluxa.telemetry.catalogue import Hook, TokenRefused

_SEEN_MAX: Final = 4096
_ID_BYTES: Final = 12


class Ring(Protocol):
    """The keys at hand; `KeyRing` is one."""

    async def find(self, kid: str) -> PublicKey | None:
        """A key that verifies now."""
        ...

    def holds(self, key: PublicKey) -> bool:
        """Whether it still does."""
        ...

    async def signer(self) -> tuple[str, OKPKey]:
        """The key that signs now."""
        ...


class Issuer(Protocol):
    """Somebody else whose tokens are accepted."""

    async def verify(self, token: Signed, *, now_s: float) -> Principal:
        """The bearer; raises `RefusedTokenError`, or `FluxaError` for an outage."""
        ...


@dataclass(frozen=True, slots=True)
class Names:
    """Who makes our tokens, and for whom.

    Attributes:
        issuer: stands in each as `iss`.
        audience: stands in each as `aud`.
    """

    issuer: str = "fluxa"
    audience: str = "fluxa"


@dataclass(frozen=True, slots=True)
class _Seen:
    """A token whose signature is right."""

    key: PublicKey
    times: claims.Times
    principal: Principal


class AccessTokens:
    """Makes and checks access tokens, in one process. A `fluxa.auth.tokens.Tokens`.

    Args:
        ring: the keys.
        sessions: know whether a session is live.
        names: who makes tokens, and for whom.
        clock: the time.
        hook: hears why tokens are refused.
        issuers: others whose tokens are accepted, by their name.

    Attributes:
        count: how often one of our own tokens had been found right before, and how often it was taken apart.
    """

    def __init__(
        self,
        ring: Ring,
        sessions: LiveSessions,
        *,
        names: Names,
        clock: Clock,
        hook: Hook,
        issuers: Mapping[str, Issuer] | None = None,
    ) -> None:
        self._ring = ring
        self._sessions = sessions
        self._names = names
        self._clock = clock
        self._hook = hook
        self._issuers = dict(issuers or {})
        if names.issuer in self._issuers:
            raise ValueError(f"{names.issuer} is this installation's own issuer")
        self._seen: OrderedDict[str, _Seen] = OrderedDict()
        self.count = CacheCount()

    async def mint(self, principal: Principal, *, ttl_s: float) -> str:
        """A token for a user with a session; see the port."""
        if principal.kind is not Kind.USER or not principal.subject or not principal.session_id:
            raise ValueError("an access token is for a user with a session")
        if not 1 <= ttl_s <= TTL_MAX_S:
            raise ValueError(f"an access token is valid for 1 to {TTL_MAX_S:.0f} s")
        kid, private = await self._ring.signer()
        now_s = int(self._clock.now().timestamp())
        content = claims.Claims(
            iss=self._names.issuer,
            aud=self._names.audience,
            sub=principal.subject,
            sid=principal.session_id,
            tenant=principal.tenant,
            role=principal.role,
            name=principal.name,
            iat=now_s,
            nbf=now_s,
            exp=now_s + int(ttl_s),
            jti=secrets.token_urlsafe(_ID_BYTES),
            scopes=None if principal.scopes is None else sorted(principal.scopes),
        )
        token = jws.signed(json.encode(content), kid=kid, kind=claims.TYPE, private=private)
        if len(token) > jws.TOKEN_MAX_BYTES:
            raise ValueError("what the token would say is too long")
        return token

    async def verify(self, token: str) -> Principal | None:
        """The bearer; see the port."""
        try:
            return await self._verified(token)
        except RefusedTokenError as refused:
            self._hook(TokenRefused(refused.reason))
            return None

    async def _verified(self, token: str) -> Principal:
        now_s = self._clock.now().timestamp()
        seen = self._seen.get(token)
        if seen is None or not self._ring.holds(seen.key):
            signed = jws.taken_apart(token)
            issuer = claims.times_of(signed.payload).iss
            if issuer != self._names.issuer:
                return await self._others(issuer, signed, now_s)
            seen = await self._own(token, signed)
        else:
            self.count.hits += 1
        claims.check(seen.times, audience=self._names.audience, now_s=now_s)
        if not await self._sessions.is_live(seen.principal.session_id or ""):
            raise RefusedTokenError(Refusal.SESSION)
        return seen.principal

    async def _own(self, token: str, signed: Signed) -> _Seen:
        self.count.misses += 1
        self._seen.pop(token, None)
        key = await self._ring.find(signed.kid)
        if key is None:
            raise RefusedTokenError(Refusal.ALGORITHM if signed.algorithm == "none" else Refusal.UNKNOWN_KEY)
        jws.check_signature(signed, key)
        if signed.type != claims.TYPE:
            raise RefusedTokenError(Refusal.TYPE)
        content = claims.own_claims(signed.payload)
        seen = _Seen(key, claims.times_of(signed.payload), content.principal())
        self._seen[token] = seen
        if len(self._seen) > _SEEN_MAX:
            self._seen.popitem(last=False)
        return seen

    async def _others(self, issuer: str, signed: Signed, now_s: float) -> Principal:
        other = self._issuers.get(issuer)
        if other is None:
            raise RefusedTokenError(Refusal.ISSUER)
        return await other.verify(signed, now_s=now_s)
