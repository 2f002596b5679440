"""Counts requests in Valkey, for all processes together, with the scripts of the `limits` library."""

import asyncio
from typing import TYPE_CHECKING, Any, Final

from fluxa.providers.valkey import ValkeyLink, outages
from fluxa.web.limits.rules import BucketRule, Window

if TYPE_CHECKING:
    from limits.aio.storage import RedisStorage

_PREFIX: Final = "fluxa:rate"
_TIMEOUT_S: Final = 0.25
"""How long a request waits to be counted: beyond it, the bucket does what it says about outages."""


class SharedWindows:
    """The windows of all clients of one Valkey.

    Args:
        link: the way there, started before the first request.
    """

    def __init__(self, link: ValkeyLink) -> None:
        self._link = link
        self._storage: RedisStorage | None = None
        self._pool: object = None

    async def hit(self, bucket: str, client: str, rule: BucketRule) -> tuple[bool, Window]:
        """Count a request if it may pass; what refuses is not counted.

        Raises:
            FluxaError: `ProviderUnavailable`, if nobody can count for all now.
        """
        storage = self._opened()
        key = f"{bucket}/{client}"
        with outages():
            async with asyncio.timeout(_TIMEOUT_S):
                passes = await storage.acquire_sliding_window_entry(key, rule.limit, rule.window_s)
                window = Window(*await storage.get_sliding_window(key, rule.window_s))
        return passes, window

    def _opened(self) -> "RedisStorage":
        """The scripts over the link's connections; they are others once it goes by another password."""
        pool: Any = self._link.client.connection_pool  # the library's types know of plain values only
        if self._storage is not None and pool is self._pool:
            return self._storage
        from limits.aio.storage import RedisStorage  # noqa: PLC0415 - only who shares pays for loading it

        self._storage = RedisStorage(
            f"async+{self._link.url}", implementation="valkey", key_prefix=_PREFIX, connection_pool=pool
        )
        self._pool = pool
        return self._storage
