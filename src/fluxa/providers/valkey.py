"""The way to a Valkey server that several processes share: one pool a process. Not: what is kept there (its owners)."""

import asyncio
import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.kernel.lifecycle import cancel_and_wait

if TYPE_CHECKING:
    from valkey.asyncio import Valkey

_SCHEMES: Final = {"redis": "valkey", "rediss": "valkeys"}
"""What other servers of the same protocol are called by."""
_TRIES: Final = 4
"""A command connects and is answered, and is sent once more: after so many time-outs it has ended."""


class ValkeyLink:
    """A pool of connections to one server of the Valkey (or Redis) protocol. A `fluxa.kernel.lifecycle.Service`.

    A command whose connection had ended is sent once more, so what is sent through it must bear being done twice.

    Args:
        url: valkey://user:password@host:port/number, valkeys:// with TLS, or unix:///socket.
        timeout_s: seconds that one command, or connecting, may take.
        connections_max: connections at once; who finds none free is told of an outage.
    """

    def __init__(self, url: str, *, timeout_s: float = 1.0, connections_max: int = 100) -> None:
        self.url = _named(url)
        self._timeout_s = timeout_s
        self._connections_max = connections_max
        self._client: Valkey | None = None
        self._leaving: set[asyncio.Task[None]] = set()

    @property
    def client(self) -> "Valkey":
        """The client; wrap what you call on it in `outages`.

        Raises:
            FluxaError: `ShuttingDown`, before the start and after the end.
        """
        if self._client is None:
            raise FluxaError(ErrorCode.SHUTTING_DOWN, "The connection to Valkey is not open.")
        return self._client

    async def start(self) -> None:
        """Make the client; nothing is sent yet, so that a process starts while the server is away.

        Raises:
            FluxaError: `Configuration`, if the extra is not installed or the URL cannot be read.
        """
        if self._client is None:
            self._client = self._made(self.url)

    async def use(self, url: str) -> None:
        """Send what is to come by this URL; what is under way is answered where it was sent.

        Raises:
            FluxaError: it does not answer, or lets us not in; then all stays as it is.
        """
        url = _named(url)
        if url == self.url:
            return
        client = self._made(url)
        try:
            with outages():
                await client.ping()
        except BaseException:
            await client.aclose()
            raise
        self.url, former, self._client = url, self._client, client
        if former is not None:
            task = asyncio.create_task(self._leave(former), name="valkey-leaving")
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)

    async def _leave(self, former: "Valkey") -> None:
        """Close connections once what was begun on them has ended."""
        try:
            await asyncio.sleep(_TRIES * self._timeout_s)
        finally:
            await former.aclose()

    def _made(self, url: str) -> "Valkey":
        try:
            # An extra: one process alone needs no server beside Postgres.
            from valkey.asyncio import Valkey  # noqa: PLC0415 - see above
            from valkey.asyncio.retry import Retry  # noqa: PLC0415 - see above
            from valkey.backoff import NoBackoff  # noqa: PLC0415 - see above
        except ImportError as error:
            raise FluxaError(
                ErrorCode.CONFIGURATION, "valkey_url needs a package: pip install 'fluxa[valkey]'."
            ) from error
        try:
            client: Valkey = Valkey.from_url(
                url,
                socket_timeout=self._timeout_s,
                socket_connect_timeout=self._timeout_s,
                max_connections=self._connections_max,
                # One repeat: a pooled connection that the server ended is noticed only when it is used.
                retry=Retry(NoBackoff(), 1),
            )
        except ValueError as error:
            raise FluxaError(ErrorCode.CONFIGURATION, f"valkey_url cannot be used: {error}.") from None
        return client

    async def stop(self) -> None:
        """Close the connections."""
        client, self._client = self._client, None
        for task in list(self._leaving):
            await cancel_and_wait(task)
        if client is not None:
            await client.aclose()

    async def check(self) -> None:
        """Raise `ProviderUnavailable` if the server does not answer."""
        with outages():
            await self.client.ping()


def _named(url: str) -> str:
    """The URL as the client knows servers of the protocol."""
    scheme, _, rest = url.partition("://")
    return f"{_SCHEMES.get(scheme, scheme)}://{rest}"


@contextlib.contextmanager
def outages() -> Iterator[None]:
    """Turn the client's errors into ours: `ProviderUnavailable`, of class transient."""
    from valkey.exceptions import ValkeyError  # noqa: PLC0415 - an extra: only who has a link comes here

    try:
        yield
    except (ValkeyError, OSError, TimeoutError) as error:
        raise FluxaError(
            ErrorCode.PROVIDER_UNAVAILABLE, f"Valkey does not answer: {type(error).__name__}.", retry_after_s=1.0
        ) from error
