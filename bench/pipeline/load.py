"""A lean HTTP/1.1 client on raw asyncio protocols, so that the client is not what is measured.

It speaks only what it needs: keep-alive, one request in flight a connection, Content-Length bodies.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit

from typing_extensions import override

from bench.measure import Measured, percentile

NDJSON = "application/x-ndjson"
STRUCTURED = "application/cloudevents+json"

_END = b"\r\n\r\n"
_LENGTH = b"content-length: "
_OK = b"HTTP/1.1 2"


@dataclass(frozen=True, slots=True)
class Target:
    """Where requests go.

    Attributes:
        url: of the service.
        path: of the route.
        api_key: the credential, if the route asks for one.
    """

    url: str
    path: str
    api_key: str | None = None

    def request(self, body: bytes, content_type: str) -> bytes:
        """A whole POST."""
        parts = urlsplit(self.url)
        lines = [f"POST {self.path} HTTP/1.1", f"Host: {parts.netloc}", f"Content-Type: {content_type}"]
        if self.api_key:
            lines.append(f"Authorization: Bearer {self.api_key}")
        lines.append(f"Content-Length: {len(body)}")
        return "\r\n".join(lines).encode() + _END + body


class _Connection(asyncio.Protocol):
    """Sends the next request as soon as the answer to the last one is complete."""

    def __init__(self, requests: Iterator[bytes], done: asyncio.Future[None], latencies: list[float]) -> None:
        self._requests = requests
        self._done = done
        self._latencies = latencies
        self._buffer = b""
        self._sent_at = 0.0
        self._transport: asyncio.Transport | None = None

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._next()

    def _next(self) -> None:
        request = next(self._requests, None)
        transport = self._transport
        if transport is None:
            return
        if request is None:
            transport.close()
            self._finish(None)
            return
        self._sent_at = time.monotonic()
        transport.write(request)

    @override
    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        head = buffer.find(_END)
        if head < 0:
            self._buffer = buffer
            return
        start = buffer.find(_LENGTH)
        if start < 0 or start > head:
            self._finish(RuntimeError(f"an answer without length: {buffer[:200]!r}"))
            return
        length = int(buffer[start + len(_LENGTH) : buffer.index(b"\r", start)])
        if len(buffer) < head + len(_END) + length:
            self._buffer = buffer
            return
        if not buffer.startswith(_OK):
            self._finish(RuntimeError(f"the answer was {buffer[:600]!r}"))
            return
        self._buffer = b""
        self._latencies.append(time.monotonic() - self._sent_at)
        self._next()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._finish(ConnectionError(f"the server closed the connection: {exc}"))

    def _finish(self, error: Exception | None) -> None:
        if self._done.done():
            return
        if error is None:
            self._done.set_result(None)
        else:
            self._done.set_exception(error)


async def send(target: Target, requests: Sequence[bytes], connections: int) -> Measured:
    """Send whole requests over so many connections; each answer must be a 2xx.

    The extras tell the latency of answers and how busy this client was: near 1 it would be the bottleneck.

    Raises:
        RuntimeError: for any other answer.
        ConnectionError: if the server closes a connection.
    """
    loop = asyncio.get_running_loop()
    parts = urlsplit(target.url)
    latencies: list[float] = []
    remaining = iter(requests)
    pending: list[asyncio.Future[None]] = []
    begin, busy = time.monotonic(), time.process_time()
    for _ in range(connections):
        done: asyncio.Future[None] = loop.create_future()
        pending.append(done)
        await loop.create_connection(
            lambda done=done: _Connection(remaining, done, latencies),  # type: ignore[misc]
            parts.hostname or "127.0.0.1",
            parts.port or 80,
        )
    await asyncio.gather(*pending)
    elapsed = time.monotonic() - begin
    extra = {
        "p50_ms": percentile(latencies, 0.5) * 1000,
        "p99_ms": percentile(latencies, 0.99) * 1000,
        "client_busy": (time.process_time() - busy) / elapsed,
    }
    return Measured(len(requests), elapsed, extra)


def bulk(target: Target, lines: Sequence[bytes], events_per_request: int) -> list[bytes]:
    """NDJSON requests of so many events each."""
    return [
        target.request(b"\n".join(lines[start : start + events_per_request]) + b"\n", NDJSON)
        for start in range(0, len(lines), events_per_request)
    ]


def single(target: Target, lines: Sequence[bytes]) -> list[bytes]:
    """One structured event a request."""
    return [target.request(line, STRUCTURED) for line in lines]
