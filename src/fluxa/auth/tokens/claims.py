"""What our own tokens say, and the checks of every token's times and audience. No I/O: the time is an argument."""

from typing import Any, Final

import msgspec

from fluxa.auth import scopes
from fluxa.auth.principal import Kind, Principal
from fluxa.auth.roles import Role
from fluxa.auth.tokens.refusals import Refusal, RefusedTokenError
from fluxa.kernel.ids import Tenant, is_tenant

TYPE: Final = "at+jwt"
"""What an access token's header says that it is (RFC 9068), so that no other token passes for one."""
LEEWAY_S: Final = 10.0
"""How far the clocks of those who make and check tokens may differ, to either side."""


class Times(msgspec.Struct, frozen=True):
    """What every token must say.

    Attributes:
        iss: who made it.
        exp: when it ends, in Unix seconds.
        aud: for whom.
        nbf: when it begins.
        iat: when it was made.
    """

    iss: str
    exp: float
    aud: str | list[str]
    nbf: float | None = None
    iat: float | None = None


class Claims(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What our own tokens say besides.

    Attributes:
        iss: who made it.
        aud: for whom.
        sub: the user's id.
        sid: the session's.
        tenant: whose data it opens.
        role: what its bearer is to the tenant.
        name: of the bearer, for logs.
        iat: when it was made, in Unix seconds.
        nbf: when it begins.
        exp: when it ends.
        jti: names the token.
        scopes: what it is narrowed to; None for all that the role may.
    """

    iss: str
    aud: str
    sub: str
    sid: str
    tenant: str
    role: Role
    name: str
    iat: int
    nbf: int
    exp: int
    jti: str
    scopes: list[str] | None = None

    def principal(self) -> Principal:
        """The bearer."""
        narrowed = scopes.stored(self.scopes)
        return Principal(Tenant(self.tenant), self.name, self.role, Kind.USER, self.sub, self.sid, narrowed)


_times = msgspec.json.Decoder(Times)
_claims = msgspec.json.Decoder(Claims)
_any = msgspec.json.Decoder(dict[str, Any])


def times_of(payload: bytes) -> Times:
    """The part that every token has; refused as malformed without it."""
    try:
        return _times.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise RefusedTokenError(Refusal.MALFORMED) from None


def own_claims(payload: bytes) -> Claims:
    """What a token of our own says; refused as malformed if it cannot be one."""
    try:
        found = _claims.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise RefusedTokenError(Refusal.MALFORMED) from None
    if not (is_tenant(found.tenant) and found.sub and found.sid):
        raise RefusedTokenError(Refusal.MALFORMED)
    return found


def all_claims(payload: bytes) -> dict[str, Any]:
    """What a token of another issuer says."""
    try:
        return _any.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise RefusedTokenError(Refusal.MALFORMED) from None


def check(times: Times, *, audience: str, now_s: float) -> None:
    """Refuse what is for somebody else, what is over, and what is ahead of its time.

    Args:
        times: of the token.
        audience: who we are.
        now_s: the time, in Unix seconds.

    Raises:
        RefusedTokenError: it is one of these.
    """
    audiences = [times.aud] if isinstance(times.aud, str) else times.aud
    if audience not in audiences:
        raise RefusedTokenError(Refusal.AUDIENCE)
    if now_s >= times.exp + LEEWAY_S:
        raise RefusedTokenError(Refusal.EXPIRED)
    begins_s = max(times.nbf or 0.0, times.iat or 0.0)
    if begins_s > now_s + LEEWAY_S:
        raise RefusedTokenError(Refusal.NOT_YET)
