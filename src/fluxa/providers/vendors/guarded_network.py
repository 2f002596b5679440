"""Connections that reach only addresses which were checked a moment before (SSRF at connect time)."""

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence

import httpcore
from typing_extensions import override

from fluxa.providers.addresses import permitted

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a name, as text, best first."""

_Seconds = float
"""The library names its parameter without a unit; its type says it."""

_ADDRESSES_MAX = 16


class AddressRefusedError(httpcore.ConnectError):
    """The name leads to an address that an outside call must not reach."""


async def system_resolve(host: str, port: int) -> Sequence[str]:
    """The addresses that the operating system knows for a name."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    except (OSError, UnicodeError) as error:
        raise httpcore.ConnectError(f"the name {host} has no address: {error}") from error
    return list(dict.fromkeys(str(address[0]) for _family, _type, _proto, _name, address in found))


class GuardedNetwork(httpcore.AsyncNetworkBackend):
    """Looks a name up once, checks every address, and connects to exactly one of those.

    A name that answers differently to the next question (DNS rebinding) gains nothing: nobody asks again. The
    name itself is kept by the layers above, for TLS and the Host header.

    Args:
        allow_private: whether this machine and private networks may be reached; for an operator's own endpoints.
        resolve: looks names up.
    """

    def __init__(self, *, allow_private: bool = False, resolve: Resolve = system_resolve) -> None:
        self._allow_private = allow_private
        self._resolve = resolve
        self._inner = httpcore.AnyIOBackend()

    @override
    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: _Seconds | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to a checked address of a host.

        Raises:
            AddressRefusedError: one of its addresses must not be reached; none is tried then.
            httpcore.ConnectError: no address answers, or there is none.
        """
        failure: Exception = httpcore.ConnectError(f"the name {host} has no address")
        for address in await self._checked(host, port):
            try:
                return await self._inner.connect_tcp(
                    address, port, timeout=timeout, local_address=local_address, socket_options=socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    @override
    async def connect_unix_socket(
        self,
        path: str,
        timeout: _Seconds | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Never: a path is no outside service."""
        raise AddressRefusedError(f"{path} is no network address")

    @override
    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)

    async def _checked(self, host: str, port: int) -> list[str]:
        found = list(await self._resolve(host, port))[:_ADDRESSES_MAX]
        for text in found:
            # One bad address among good ones is refused too: which of them is meant is the attacker's choice.
            if not permitted(ipaddress.ip_address(text), allow_private=self._allow_private):
                raise AddressRefusedError(
                    f"{host} leads to {text}, which is no public address; an endpoint of your own network "
                    "needs allow_private"
                )
        return found
