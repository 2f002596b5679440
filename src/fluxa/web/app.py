"""The ASGI application made from the route table: identity before the endpoint, errors to problems.

It starts and stops nothing; the apps do. It stands on the way of every request, so it stays lean.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from fluxa.kernel.clock import Clock, SystemClock
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.kernel.ids import CorrelationId, correlation_id
from fluxa.telemetry.catalogue import Hook, RequestServed, RequestStarted
from fluxa.telemetry.log import Logger
from fluxa.web.bodies import ClientDisconnectedError, linger
from fluxa.web.identity import Access, Approach, Guard, Identify
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
)


class App:
    """An ASGI application for HTTP.

    Args:
        routes: the table.
        identify: proves who calls, for the rows of `Auth.BEARER`.
        access: says which roles may call what.
        guards: the same, for each further kind of authentication that a row states.
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
        self._hook = hook
        self._logger = logger
        self._monotonic = (clock or SystemClock()).monotonic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            raise ValueError(f"{scope['type']} is not spoken here")
        began = self._monotonic()
        method: str = scope["method"]
        traceparent, given, authorization = _read_headers(scope)
        correlation = correlation_id(traceparent, given)
        exchange = _Exchange(send, correlation)
        try:
            route, params = self._table.find(method, scope["raw_path"])
        except FluxaError as error:
            label = method if method in _METHODS else "other"
            self._hook(RequestStarted(UNMATCHED, label))
            try:
                await self._refuse(error, correlation, exchange, receive)
            finally:
                self._hook(RequestServed(UNMATCHED, label, exchange.status, self._monotonic() - began))
            return
        self._hook(RequestStarted(route.name, method))
        try:
            principal = None
            if route.auth is Auth.BEARER:
                principal = await self._identify(authorization)
                self._access.check(route, principal)
            elif route.auth is not Auth.OPEN:
                admitted = await self._guards[route.auth](Approach(authorization, route, correlation, scope, receive))
                principal, receive = admitted.principal, admitted.receive
            await route.endpoint(Call(route, principal, correlation, params), scope, receive, exchange.send)
        except FluxaError as error:
            await self._refuse(error, correlation, exchange, receive, route.auth)
        except ClientDisconnectedError:
            pass  # the status stays 499: there is nobody to answer
        except Exception:
            # The last line: whatever it is, the caller gets an answer and the log the traceback.
            self._logger.exception("request failed", route=route.name, correlation_id=correlation)
            await self._refuse(FluxaError(ErrorCode.INTERNAL), correlation, exchange, receive)
        finally:
            self._hook(RequestServed(route.name, method, exchange.status, self._monotonic() - began))

    async def _refuse(
        self,
        error: FluxaError,
        correlation: CorrelationId,
        exchange: "_Exchange",
        receive: Receive,
        auth: Auth = Auth.OPEN,
    ) -> None:
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
        answer = problem(error, correlation, headers=allow, auth=auth)
        if error.code in UNREAD:
            await send_response(exchange.send, answer, more=True)
            await linger(receive)
            await exchange.send({"type": "http.response.body"})
            return
        await send_response(exchange.send, answer)


class _Exchange:
    """Adds the headers that every answer has, and remembers the status."""

    __slots__ = ("_headers", "_send", "status")

    def __init__(self, send: Send, correlation: CorrelationId) -> None:
        self._send = send
        self._headers = ((b"x-correlation-id", correlation.encode()), *_SECURITY)
        self.status = DISCONNECTED

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), *self._headers]
        await self._send(message)


def _read_headers(scope: Scope) -> tuple[str | None, str | None, bytes | None]:
    """Traceparent, X-Correlation-ID and Authorization; of a repeated one, the last."""
    traceparent = given = authorization = None
    for name, value in scope["headers"]:
        if name == b"authorization":
            authorization = value
        elif name == b"traceparent":
            traceparent = value.decode("latin-1")
        elif name == b"x-correlation-id":
            given = value.decode("latin-1")
    return traceparent, given, authorization
