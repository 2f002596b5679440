"""Which pages of other origins may read a row's answers in a browser (CORS). Not: who may call (access)."""

from fluxa.web.responses import Headers, Response
from fluxa.web.routes import Route, Scope

_ALLOWED = b"authorization, content-type, idempotency-key, traceparent, x-correlation-id"
_EXPOSED = b"x-correlation-id, ratelimit, ratelimit-policy, retry-after"
_KEPT_S = b"600"


def shared(route: Route, scope: Scope) -> Headers:
    """What lets the page that sent a request read the answer; nothing, if it may not."""
    origin = _header(scope, b"origin")
    if origin is None:
        return ((b"vary", b"origin"),) if "*" not in route.terms.origins else ()
    if "*" in route.terms.origins:
        return ((b"access-control-allow-origin", b"*"), (b"access-control-expose-headers", _EXPOSED))
    vary = (b"vary", b"origin")
    if origin.decode("latin-1") not in route.terms.origins:
        return (vary,)
    return ((b"access-control-allow-origin", origin), (b"access-control-expose-headers", _EXPOSED), vary)


def wanted(scope: Scope) -> str | None:
    """The method that a browser asks for before it sends the request itself; None if this is no such question."""
    method = _header(scope, b"access-control-request-method")
    return None if method is None or scope["method"] != "OPTIONS" else method.decode("latin-1")


def preflight(route: Route, scope: Scope) -> Response:
    """The answer to such a question."""
    methods = ", ".join(sorted(route.methods)).encode()
    asked = ((b"access-control-allow-methods", methods), (b"access-control-allow-headers", _ALLOWED))
    return Response(status=204, headers=(*shared(route, scope), *asked, (b"access-control-max-age", _KEPT_S)))


def _header(scope: Scope, wanted_name: bytes) -> bytes | None:
    return next((value for name, value in scope["headers"] if name == wanted_name), None)
