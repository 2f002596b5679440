"""Which address a request comes from, seen through proxies that are trusted. Not: what is counted by it."""

import ipaddress
from collections.abc import Iterable, Sequence
from typing import Final

from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.web.routes import Scope

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

NOWHERE: Final = "local"
"""The address of a request that came through no network: a Unix socket."""
_HOPS_MAX: Final = 20
_SITE_BITS: Final = 64


def networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Addresses and networks as people write them: `10.0.0.0/8`, `::1`.

    Raises:
        FluxaError: `Configuration`, naming the one that is wrong.
    """
    found = []
    for text in texts:
        try:
            found.append(ipaddress.ip_network(text))
        except ValueError as error:
            raise FluxaError(ErrorCode.CONFIGURATION, f"http_trusted_proxies: {error}.") from None
    return tuple(found)


class Addresses:
    """Finds the address of a client.

    `X-Forwarded-For` is believed from its end only as far as it was written by proxies that are trusted: whatever a
    client put there itself stands before that.

    Args:
        trusted: the proxies' own addresses.
    """

    def __init__(self, trusted: Sequence[Network] = ()) -> None:
        self._trusted = tuple(trusted)

    def of(self, scope: Scope) -> str:
        """The address of who sent this request."""
        client = scope.get("client")
        peer = _address(client[0]) if client else None
        if peer is None:
            return NOWHERE
        return str(self._behind(peer, scope) if self._trusted else peer)

    def client(self, scope: Scope) -> str:
        """The same, as clients are counted: of IPv6 the network of a site, of which one customer has all addresses."""
        text = self.of(scope)
        if ":" not in text:
            return text
        return str(ipaddress.ip_network(f"{text.partition('%')[0]}/{_SITE_BITS}", strict=False))

    def _behind(self, peer: Address, scope: Scope) -> Address:
        if not self._is_trusted(peer):
            return peer
        lines = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
        hops = b",".join(lines).decode("latin-1").split(",") if lines else []
        found = peer
        for hop in reversed(hops[-_HOPS_MAX:]):
            address = _address(hop.strip())
            if address is None:
                break  # what cannot be read was not written by a proxy of ours
            found = address
            if not self._is_trusted(found):
                break
        return found

    def _is_trusted(self, address: Address) -> bool:
        return any(address.version == network.version and address in network for network in self._trusted)


def _address(text: str) -> Address | None:
    """An address as proxies write it: with or without a port, brackets, a zone; an embedded IPv4 is that IPv4."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
