"""Sends messages to a syslog server over TCP, TLS or UDP. Not: what they say.

Own code, because the libraries that there are drop a message when the connection fails, and tell nobody.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from typing_extensions import override

from fluxa.kernel.errors import ErrorCode, FluxaError

_STREAM_MAX_BYTES = 1024 * 1024
_DATAGRAM_MAX_BYTES = 60_000
"""What fits into a datagram of IPv4 or IPv6 with room for options (65507 at most)."""


class Protocol(StrEnum):
    """How a server is reached."""

    TCP = "tcp"
    """Messages with their length before them (RFC 6587 §3.4.1)."""
    TLS = "tls"
    """The same, encrypted (RFC 5425)."""
    UDP = "udp"
    """A datagram a message (RFC 5426); nobody knows whether one arrives."""


@dataclass(frozen=True, slots=True)
class SyslogConfig:
    """A syslog server.

    Attributes:
        name: how it is named in errors.
        host: where it is.
        port: its port.
        protocol: tcp, tls or udp.
        timeout_s: seconds that a batch may take.
        confirm: over TCP, whether the server must close its side before a batch counts, as it does when it has read
            to the end. A server that keeps half-closed connections open wants False.
        ca_file: certificates to trust instead of the system's.
    """

    name: str
    host: str
    port: int
    protocol: Protocol
    timeout_s: float = 10.0
    confirm: bool = True
    ca_file: str | None = None


class SyslogSender:
    """Sends each batch over a connection of its own: syslog has no answers, and its end is the one thing that is told.

    Raises:
        FluxaError: `Configuration` for a file without certificates.
    """

    def __init__(self, config: SyslogConfig) -> None:
        self._config = config
        self._trust: ssl.SSLContext | None = None
        if config.protocol is Protocol.TLS:
            try:
                self._trust = ssl.create_default_context(cafile=config.ca_file)
            except OSError as error:
                raise FluxaError(
                    ErrorCode.CONFIGURATION,
                    f"The file {config.ca_file} of {config.name} holds no certificates: {error}.",
                ) from None
        self.max_bytes = _DATAGRAM_MAX_BYTES if config.protocol is Protocol.UDP else _STREAM_MAX_BYTES

    async def send(self, messages: Sequence[bytes]) -> None:
        """Send messages in this order.

        When this returns the server's machine has taken them and its program has ended the connection, over TCP; the
        connection ended without an error, over TLS; they were sent, over UDP.

        Raises:
            FluxaError: `ProviderUnavailable`.
        """
        config = self._config
        try:
            async with asyncio.timeout(config.timeout_s):
                await (self._datagrams(messages) if config.protocol is Protocol.UDP else self._stream(messages))
        except TimeoutError:
            raise FluxaError(
                ErrorCode.PROVIDER_UNAVAILABLE,
                f"The syslog server {config.host}:{config.port} took more than {config.timeout_s:g} s.",
            ) from None
        except OSError as error:
            raise FluxaError(
                ErrorCode.PROVIDER_UNAVAILABLE, f"The syslog server {config.host}:{config.port} is not there: {error}"
            ) from error

    async def _stream(self, messages: Sequence[bytes]) -> None:
        config = self._config
        reader, writer = await asyncio.open_connection(config.host, config.port, ssl=self._trust)
        try:
            for message in messages:
                writer.write(b"%d %b" % (len(message), message))
                await writer.drain()
            if writer.can_write_eof():
                writer.write_eof()
                while config.confirm and await reader.read(4096):
                    pass  # it has nothing to say
        except BaseException:
            writer.transport.abort()
            raise
        writer.close()
        await writer.wait_closed()

    async def _datagrams(self, messages: Sequence[bytes]) -> None:
        heard = _Refusals()
        loop = asyncio.get_running_loop()
        remote = (self._config.host, self._config.port)
        transport, _ = await loop.create_datagram_endpoint(lambda: heard, remote_addr=remote)
        with contextlib.closing(transport):
            for message in messages:
                transport.sendto(message)
                await asyncio.sleep(0)  # a refusal of an earlier one is heard
                if heard.error is not None:
                    raise heard.error


class _Refusals(asyncio.DatagramProtocol):
    """Hears when the network says that nobody listens."""

    def __init__(self) -> None:
        self.error: Exception | None = None

    @override
    def error_received(self, exc: Exception) -> None:
        self.error = exc
