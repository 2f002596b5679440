"""Serves an ASGI application on one socket until asked to stop, and loses no request in doing so."""

import asyncio
import contextlib
import errno
import math
import socket
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import uvicorn
from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from fluxa.apps.serving.process import Tie
from fluxa.apps.settings import Settings
from fluxa.kernel import json
from fluxa.kernel.errors import ErrorCode, FluxaError

_TICKS_A_SECOND = 10  # of uvicorn's main loop


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """How the server treats connections.

    Attributes:
        backlog: connections the kernel keeps waiting.
        keep_alive_s: seconds an idle connection is kept.
        notice_s: seconds between saying "not ready" and closing the port.
        timeout_s: seconds that requests in flight may take once stopping.
        head_bytes: longest request line and headers together, about.
        head_timeout_s: seconds they may take to arrive, from the connection or their first byte on.
    """

    backlog: int = 2048
    keep_alive_s: int = 75
    notice_s: float = 0.0
    timeout_s: float = 20.0
    head_bytes: int = 64 * 1024
    head_timeout_s: float = 10.0


def bind(host: str, port: int, *, setting: str) -> socket.socket:
    """A bound TCP socket; port 0 takes a free one.

    Args:
        host: an IPv4 or IPv6 address, or a name.
        port: 0 to 65535.
        setting: the setting that names the port, for the error's text.

    Raises:
        FluxaError: `Configuration`, if the port is taken, not allowed or the host is not this machine's.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise FluxaError(ErrorCode.CONFIGURATION, f"The host {host!r} is not known: {error.strerror}.") from None
    found = socket.socket(family, kind, protocol)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind(address)
    except OSError as error:
        found.close()
        raise FluxaError(ErrorCode.CONFIGURATION, _bind_problem(error, host, port, setting)) from None
    return found


def _bind_problem(error: OSError, host: str, port: int, setting: str) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"Port {port} on {host} is in use by another program. Stop that program, or choose another port: "
            f"set {setting}, where 0 takes a free one."
        )
    if error.errno == errno.EACCES:
        return f"Port {port} on {host} is not allowed for this user. Set {setting} to a port over 1023."
    return f"Cannot listen on {host}, port {port}: {error.strerror}. Correct {setting}."


def listen(tie: Tie, host: str, port: int, *, setting: str) -> socket.socket:
    """The socket that the supervisor bound for this process, else one of its own. Raises as `bind` does."""
    return socket.socket(fileno=tie.listen_fd) if tie.listen_fd is not None else bind(host, port, setting=setting)


def limits_of(settings: Settings) -> ServerLimits:
    """How the settings want connections treated."""
    return ServerLimits(
        backlog=settings.http_backlog,
        keep_alive_s=settings.http_keep_alive_s,
        notice_s=settings.shutdown_notice_s,
        timeout_s=settings.shutdown_timeout_s,
    )


def url_of(bound: socket.socket) -> str:
    """The address of a bound socket as a URL that this machine can use."""
    host, port = bound.getsockname()[:2]
    if host in ("0.0.0.0", "::"):  # noqa: S104 - recognised, not bound
        host = "127.0.0.1" if host == "0.0.0.0" else "::1"  # noqa: S104 - likewise
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Draining:
    """A readiness check that fails from the moment a process begins to stop."""

    def __init__(self) -> None:
        self._begun = False

    def begin(self) -> None:
        """From now on: not ready."""
        self._begun = True

    async def drain(self) -> None:
        """The same, as `serve` wants it."""
        self.begin()

    async def check(self) -> None:
        """Raise `ShuttingDown` once stopping has begun."""
        if self._begun:
            raise FluxaError(ErrorCode.SHUTTING_DOWN)


class _Protocol(HttpToolsProtocol):
    """uvicorn's protocol with bounds on a request's head, which it has none for."""

    limits: ServerLimits

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._begin_head()

    def _begin_head(self) -> None:
        self._in_head = True
        self._head_bytes = 0
        self._head_due = self.loop.time() + self.limits.head_timeout_s

    @override
    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._begin_head()

    @override
    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

    @override
    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > self.limits.head_bytes and not self.transport.is_closing():
                self.transport.write(_HEAD_TOO_LARGE)
                self.transport.close()

    def close_if_late(self) -> None:
        """End a connection whose request's head does not come: it would else be held for ever."""
        if self._in_head and self.loop.time() > self._head_due and not self.transport.is_closing():
            if self._head_bytes:
                self.transport.write(_HEAD_TOO_SLOW)
            self.transport.close()


def _refusal(status: str, code: ErrorCode, detail: str) -> bytes:
    """A whole answer for one whose request never reached the application."""
    members = {"type": "about:blank", "title": status[4:], "status": int(status[:3]), "detail": detail, "code": code}
    body = json.encode(members)
    head = f"HTTP/1.1 {status}\r\ncontent-type: application/problem+json\r\ncontent-length: {len(body)}\r\n"
    return head.encode() + b"connection: close\r\n\r\n" + body


_HEAD_TOO_LARGE = _refusal(
    "431 Request Header Fields Too Large", ErrorCode.REQUEST_TOO_LARGE, "The headers are longer than allowed."
)
_HEAD_TOO_SLOW = _refusal("408 Request Timeout", ErrorCode.REQUEST_TIMEOUT, "The headers took too long to arrive.")


class _Server(uvicorn.Server):
    """uvicorn without its own signal handlers, with an event for "listening" and a watch on late heads."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    @override
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self.listening.set()

    @override
    async def on_tick(self, counter: int) -> bool:
        if counter % _TICKS_A_SECOND == 0:
            for connection in list(self.server_state.connections):
                if isinstance(connection, _Protocol):
                    connection.close_if_late()
        return await super().on_tick(counter)


async def serve(
    app: Callable[..., Any],
    bound: socket.socket,
    limits: ServerLimits,
    *,
    stopping: asyncio.Event,
    ready: Callable[[], None] = lambda: None,
    drain: Callable[[], Awaitable[None]],
) -> None:
    """Serve until `stopping` is set and the requests in flight are answered.

    Args:
        app: the ASGI application.
        bound: where to listen; closed when this returns.
        limits: how to treat connections.
        stopping: set by whoever wants an end.
        ready: called once the socket takes connections.
        drain: called when stopping begins, before the port closes: readiness turns to 503 here.
    """
    config = uvicorn.Config(
        app,
        http=type("Protocol", (_Protocol,), {"limits": limits}),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=limits.backlog,
        timeout_keep_alive=limits.keep_alive_s,
        timeout_graceful_shutdown=math.ceil(limits.timeout_s),
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve([bound]), name="http-server")
    try:
        await _first(server.listening, serving)
        ready()
        await _first(stopping, serving)
        await drain()
        if limits.notice_s:
            await asyncio.sleep(limits.notice_s)
    finally:
        server.should_exit = True
        await serving


async def _first(event: asyncio.Event, task: asyncio.Task[None]) -> None:
    """Wait for the event, or for the task to end before it."""
    waiting = asyncio.create_task(event.wait())
    await asyncio.wait((waiting, task), return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
