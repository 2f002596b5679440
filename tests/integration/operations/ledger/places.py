"""Places that audit sinks send to: a syslog server that reads frames and datagrams; and a program that sends."""

import asyncio
import contextlib
import random
import socket
import ssl
import struct
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from typing_extensions import override

from fluxa.kernel.clock import SystemClock
from fluxa.kernel.ids import uuid7
from fluxa.operations.ledger.sinks import Sink
from fluxa.operations.ledger.sinks.cursors import Cursors
from fluxa.operations.ledger.sinks.files import FileSink
from fluxa.operations.ledger.sinks.posting import HttpSink
from fluxa.operations.ledger.sinks.sending import Sending, SendingConfig
from fluxa.operations.ledger.sinks.syslog import SyslogSink
from fluxa.postgres.pool import Database, PoolConfig
from fluxa.providers.vendors.http_endpoint import EndpointConfig, SignedEndpoint
from fluxa.providers.vendors.syslog import Protocol, SyslogConfig, SyslogSender
from fluxa.telemetry.catalogue import silent

SECRET = "whsec_" + "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"


@dataclass(slots=True)
class SyslogServer:
    """What a syslog server has read.

    Attributes:
        port: where it listens.
        messages: whole messages, in the order they were read.
        breaks_after: breaks the connection after so many messages, once.
    """

    port: int = 0
    messages: list[bytes] = field(default_factory=list)
    breaks_after: int | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            while True:
                length = int(await reader.readuntil(b" "))
                message = await reader.readexactly(length)
                if self.breaks_after is not None:
                    self.breaks_after -= 1
                    if self.breaks_after < 0:
                        self.breaks_after = None
                        linger = struct.pack("ii", 1, 0)  # a reset, as of a machine that fails
                        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                        writer.transport.abort()
                        return
                self.messages.append(message)
        writer.close()


@contextlib.asynccontextmanager
async def syslog_server(*, tls: ssl.SSLContext | None = None) -> AsyncIterator[SyslogServer]:
    """A server for streams on a free port of loopback."""
    made = SyslogServer()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0, ssl=tls, limit=2**21)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, into: SyslogServer) -> None:
        self._into = into

    @override
    def datagram_received(self, data: bytes, addr: object) -> None:
        self._into.messages.append(data)


@contextlib.asynccontextmanager
async def datagram_server() -> AsyncIterator[SyslogServer]:
    """A server for datagrams on a free port of loopback."""
    made = SyslogServer()
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: _Datagrams(made), local_addr=("127.0.0.1", 0)
    )
    made.port = transport.get_extra_info("sockname")[1]
    try:
        yield made
    finally:
        transport.close()


def endpoint(port: int) -> SignedEndpoint:
    """An endpoint on loopback."""
    return SignedEndpoint(
        EndpointConfig(name="audit", url=f"http://127.0.0.1:{port}/take", secrets=(SECRET,), allow_private=True),
        clock=SystemClock(),
        hook=silent,
        chance=random.random,
    )


class Places(msgspec.Struct):
    """Where the program sends."""

    database_url: str
    file: str
    http_port: int
    syslog_port: int


async def _send(places: Places) -> None:
    """Send to a file, over HTTP and to syslog until somebody ends it."""
    database = Database(PoolConfig(url=places.database_url))
    await database.start()
    sinks: dict[str, Sink] = {
        "file": FileSink(Path(places.file), rotate_bytes=20_000, stamp=uuid7),
        "http": HttpSink(endpoint(places.http_port)),
        "syslog": SyslogSink(SyslogSender(SyslogConfig("s", "127.0.0.1", places.syslog_port, Protocol.TCP))),
    }
    config = SendingConfig(period_s=0.01, hold_s=0.5, retry_base_s=0.05, retry_cap_s=0.2)
    for name, sink in sinks.items():
        sending = Sending(
            name,
            sink,
            Cursors(database),
            holder=uuid7(),
            config=config,
            clock=SystemClock(),
            hook=silent,
            chance=random.random,
        )
        await sending.start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_send(msgspec.json.decode(sys.argv[1], type=Places)))
