"""The ASGI application made from the route table: identity before the endpoint, errors to problems.

It starts and stops nothing; the apps do. It stands on the way of every request, so it stays lean.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, NamedTuple

from fluxa.auth.principal import Principal, reason_of
from fluxa.kernel.clock import Clock, SystemClock
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.kernel.ids import CorrelationId, correlation_id
from fluxa.telemetry.catalogue import AuthenticationFailed, Hook, RequestServed, RequestStarted
from fluxa.telemetry.log import Logger
from fluxa.web.bodies import ClientDisconnectedError, Deadlines, linger
from fluxa.web.identity import Access, Approach, Guard, Identify
from fluxa.web.identity.lasting import DENIALS, while_let_in
from fluxa.web.identity.origins import preflight, shared, wanted
from fluxa.web.limits import UNLIMITED, Counting, Limiter, RateLimitedError
from fluxa.web.problems import UNREAD, is_private, problem
from fluxa.web.responses import Headers, send_response
from fluxa.web.routes import Auth, Call, Message, Receive, Route, Scope, Send
from fluxa.web.table import MethodNotAllowedError, Table

UNMATCHED: Final = "unmatched"
"""The route label of requests that no row answers."""
DISCONNECTED: Final = 499
"""The status that telemetry shows for a client that left before its answer."""

_METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
_SERVER_ERROR = 500
_SECURITY: Headers = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
_OWN = frozenset({b"cache-control", b"content-security-policy"})
"""What an answer may say itself: how long it is kept, and what a page of ours may load."""


class App:
    """An ASGI application for HTTP.

    Args:
        routes: the table.
        identify: proves who calls, for the rows of `Auth.BEARER`.
        access: says which roles may call what.
        guards: the same, for each further kind of authentication that a row states.
        counting: counts the requests of rows whose bucket has a limit; None: nobody counts.
        hook: hears `RequestStarted` and `RequestServed`.
        logger: where unexpected errors go, with their traceback.
        clock: measures latency.

    Raises:
        ValueError: for rows that contradict each other, or whose authentication is not stated or checked by nobody.
    """

    def __init__(
        self,
        routes: Sequence[Route],
        *,
        identify: Identify,
        access: Access,
        guards: Mapping[Auth, Guard] | None = None,
        counting: Counting | None = None,
        hook: Hook,
        logger: Logger,
        clock: Clock | None = None,
    ) -> None:
        self.routes = tuple(routes)
        self._table = Table(routes)
        self._identify = identify
        self._access = access
        self._guards = dict(guards or {})
        unguarded = [row.name for row in routes if row.auth not in {Auth.OPEN, Auth.BEARER, *self._guards}]
        if unguarded:
            raise ValueError(f"nobody checks who calls {', '.join(unguarded)}")
        self._counting = counting or Counting(Limiter(UNLIMITED))
        # What has no limit costs one look into this set.
        self._counted = frozenset(row.name for row in routes if self._counting.counts(row))
        self._deadlines = {row.terms.timeout_s: Deadlines() for row in routes}
        self._hook = hook
        self._logger = logger
        self._monotonic = (clock or SystemClock()).monotonic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            raise ValueError(f"{scope['type']} is not spoken here")
        began = self._monotonic()
        method: str = scope["method"]
        head = _read_headers(scope)
        correlation = correlation_id(head.traceparent, head.correlation_id)
        exchange = _Exchange(scope, receive, send, correlation)
        try:
            route, params = self._table.find(method, scope["raw_path"])
        except FluxaError as error:
            await self._unmatched(error, exchange, began)
            return
        self._hook(RequestStarted(route.name, method))
        try:
            await self._serve(route, params, head, exchange)
        except FluxaError as error:
            await self._refuse(await self._denied(error, route, exchange), exchange, route.auth)
        except ClientDisconnectedError:
            pass  # the status stays 499: there is nobody to answer
        except Exception:
            # The last line: whatever it is, the caller gets an answer and the log the traceback.
            self._logger.exception("request failed", route=route.name, correlation_id=correlation)
            await self._refuse(FluxaError(ErrorCode.INTERNAL), exchange)
        finally:
            self._hook(RequestServed(route.name, method, exchange.status, self._monotonic() - began))

    async def _serve(self, route: Route, params: dict[str, str], head: "_Head", exchange: "_Exchange") -> None:
        """Know the caller, then let the endpoint answer, within its bounds."""
        scope, correlation, terms = exchange.scope, exchange.correlation, route.terms
        if terms.origins:
            exchange.headers += shared(route, scope)
        if route.auth is Auth.BEARER:
            exchange.principal = await self._identify(head.authorization)
        elif route.auth is not Auth.OPEN:
            approach = Approach(head.authorization, route, correlation, scope, exchange.receive)
            admitted = await self._guards[route.auth](approach)
            exchange.principal, exchange.receive = admitted.principal, admitted.receive
        if route.name in self._counted:
            exchange.headers += await self._counting.take(route, exchange.principal, scope)
        if route.auth is Auth.BEARER and exchange.principal is not None:
            self._access.check(route, exchange.principal)
        _check_length(head.content_length, terms.body_max_bytes)
        task, deadlines = asyncio.current_task(), self._deadlines[terms.timeout_s]
        if task is None:
            raise RuntimeError("a request is answered inside a task")
        deadlines.add(task, terms.timeout_s)
        try:
            call = Call(route, exchange.principal, correlation, params)
            answering = route.endpoint(call, scope, exchange.receive, exchange.send)
            if terms.asked_again_s is None:
                await answering
            else:
                await while_let_in(answering, self._asking(route, head.authorization), terms.asked_again_s)
        except asyncio.CancelledError:
            if not deadlines.expired(task):
                raise
            raise FluxaError(
                ErrorCode.HANDLER_TIMEOUT, f"{route.name} did not end within {terms.timeout_s:g} seconds."
            ) from None
        finally:
            deadlines.remove(task)

    def _asking(self, route: Route, authorization: bytes | None) -> Callable[[], Awaitable[None]]:
        """Whether a caller of `Auth.BEARER` would be let in now."""

        async def again() -> None:
            if route.auth is Auth.BEARER:
                self._access.check(route, await self._identify(authorization))

        return again

    async def _unmatched(self, error: FluxaError, exchange: "_Exchange", began: float) -> None:
        """Answer what no row answers: a browser's question before its request, or a mistake."""
        scope = exchange.scope
        label = scope["method"] if scope["method"] in _METHODS else "other"
        self._hook(RequestStarted(UNMATCHED, label))
        try:
            asked = wanted(scope)
            if asked is not None and isinstance(error, MethodNotAllowedError) and asked in error.allow.split(", "):
                route, _ = self._table.find(asked, scope["raw_path"])
                if route.terms.origins:
                    await send_response(exchange.send, preflight(route, scope))
                    return
            await self._refuse(error, exchange)
        finally:
            self._hook(RequestServed(UNMATCHED, label, exchange.status, self._monotonic() - began))

    async def _denied(self, error: FluxaError, route: Route, exchange: "_Exchange") -> FluxaError:
        """Tell of a caller that was not let in; what to answer."""
        if error.code not in DENIALS:
            return error
        # As the audit log names it; the log hides what stands behind a word like api_key.
        known = "" if exchange.principal is None else exchange.principal.actor
        client = self._counting.address(exchange.scope)
        status, reason = error.spec.status, reason_of(error)
        self._hook(AuthenticationFailed(route.name, status, reason, client, exchange.correlation, known))
        return await self._counting.refused(error, exchange.scope)

    async def _refuse(
        self,
        error: FluxaError,
        exchange: "_Exchange",
        auth: Auth = Auth.OPEN,
    ) -> None:
        correlation = exchange.correlation
        if error.spec.status >= _SERVER_ERROR and is_private(error) and error.code != ErrorCode.INTERNAL:
            self._logger.warning(
                "request refused", error_code=error.code, detail=error.detail, correlation_id=correlation
            )
        if exchange.status != DISCONNECTED:
            # The answer has begun; leaving it unfinished makes the server close the connection, which tells the client.
            self._logger.warning("answer cut short", error_code=error.code, correlation_id=correlation)
            return
        allow: Headers = ()
        if isinstance(error, MethodNotAllowedError):
            allow = ((b"allow", error.allow.encode()),)
        elif isinstance(error, RateLimitedError):
            allow = error.headers
        answer = problem(error, correlation, headers=allow, auth=auth)
        if error.code in UNREAD:
            await send_response(exchange.send, answer, more=True)
            await linger(exchange.receive)
            await exchange.send({"type": "http.response.body"})
            return
        await send_response(exchange.send, answer)


class _Exchange:
    """One request and its answer: adds the headers that every answer has, and remembers the status."""

    __slots__ = ("_send", "correlation", "headers", "principal", "receive", "scope", "status")

    def __init__(self, scope: Scope, receive: Receive, send: Send, correlation: CorrelationId) -> None:
        self.scope = scope
        self.receive = receive
        self.correlation = correlation
        self.principal: Principal | None = None
        self._send = send
        self.headers: Headers = ((b"x-correlation-id", correlation.encode()), *_SECURITY)
        self.status = DISCONNECTED

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            given, ours = message.get("headers", ()), self.headers
            for name, _ in given:
                if name in _OWN:
                    ours = tuple(one for one in ours if one[0] != name)
            message["headers"] = [*given, *ours]
        await self._send(message)


def _check_length(given: bytes | None, max_bytes: int) -> None:
    """Refuse a body that says itself that it is too long; one that does not say is measured by who reads it."""
    if given is not None and given.isdigit() and int(given) > max_bytes:
        raise FluxaError(ErrorCode.REQUEST_TOO_LARGE, f"The body is larger than {max_bytes} bytes; it was not read.")


class _Head(NamedTuple):
    """The headers that the frame itself looks at; of a repeated one, the last."""

    traceparent: str | None
    correlation_id: str | None
    authorization: bytes | None
    content_length: bytes | None


def _read_headers(scope: Scope) -> _Head:
    """One walk over the headers, for all that the frame wants to know."""
    traceparent = given = authorization = length = None
    for name, value in scope["headers"]:
        if name == b"authorization":
            authorization = value
        elif name == b"traceparent":
            traceparent = value.decode("latin-1")
        elif name == b"x-correlation-id":
            given = value.decode("latin-1")
        elif name == b"content-length":
            length = value
    return _Head(traceparent, given, authorization, length)
