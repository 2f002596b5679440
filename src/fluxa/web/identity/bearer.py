"""From an Authorization header to a principal. Not: where keys are kept (auth)."""

from collections.abc import Awaitable, Callable

from fluxa.auth.principal import Principal, Reason, unauthenticated

Identify = Callable[[bytes | None], Awaitable[Principal]]
"""From the Authorization header's value (None if there is none) to the caller; raises `Unauthenticated`."""

VerifyToken = Callable[[str], Awaitable[Principal | None]]
"""From a bearer token to its owner; None if it is not valid."""

_SCHEME = b"bearer "
_TOKEN_MAX_BYTES = 4096 + len(_SCHEME)
_OF_API_KEYS = "fx_"


def either(keys: VerifyToken, tokens: VerifyToken) -> VerifyToken:
    """Callers send an API key or an access token: how it begins says which."""

    def verify(token: str) -> Awaitable[Principal | None]:
        return keys(token) if token.startswith(_OF_API_KEYS) else tokens(token)

    return verify


def bearer(verify: VerifyToken) -> Identify:
    """Callers identify themselves by `Authorization: Bearer <token>` (RFC 6750)."""

    async def identify(authorization: bytes | None) -> Principal:
        if authorization is None:
            raise unauthenticated(Reason.MISSING, "The request has no Authorization header.")
        if authorization[: len(_SCHEME)].lower() != _SCHEME or len(authorization) > _TOKEN_MAX_BYTES:
            raise unauthenticated(
                Reason.MALFORMED, "The Authorization header is not of the form: Bearer <key or token>."
            )
        principal = await verify(authorization[len(_SCHEME) :].strip().decode("latin-1"))
        if principal is None:
            raise unauthenticated(Reason.UNKNOWN, "The API key or access token is not valid, or not any more.")
        return principal

    return identify
