"""Checks API keys on the hot path: remembers answers for a while, so that most requests need no round trip.

The price, stated: a revoked key stays valid for up to `fresh_s`, and while Postgres does not answer, a
key that was valid before stays valid for up to `outage_s`, so that an outage does not shut everybody out.
"""

import asyncio
import hmac
from collections import OrderedDict
from dataclasses import dataclass
from typing import Protocol, TypeVar

from fluxa.auth.keys.api_keys import StoredHash, split
from fluxa.auth.principal import Kind, Principal
from fluxa.kernel.clock import Clock
from fluxa.kernel.errors import DatabaseUnavailableError, FluxaError, RetryClass

T = TypeVar("T")


class KeySource(Protocol):
    """Where keys are looked up."""

    async def find(self, key_id: str) -> StoredHash | None:
        """A valid key, or None."""
        ...


@dataclass(frozen=True, slots=True)
class GuardLimits:
    """How long and how much is remembered.

    Attributes:
        fresh_s: seconds for which a valid key is not looked up again.
        absent_s: seconds for which an unknown key is not looked up again.
        outage_s: seconds since its last look-up for which a key holds while Postgres does not answer.
        retry_s: seconds between look-ups of one key during an outage.
        lookup_s: seconds that a look-up may take.
        keys_max: valid keys remembered at most.
        absent_max: unknown keys remembered at most.
        lookups_max: look-ups under way at most, so that guessing cannot take all connections.
    """

    fresh_s: float = 30.0
    absent_s: float = 5.0
    outage_s: float = 600.0
    retry_s: float = 1.0
    lookup_s: float = 2.0
    keys_max: int = 10_000
    absent_max: int = 10_000
    lookups_max: int = 4


@dataclass(slots=True)
class _Known:
    hash: bytes
    principal: Principal
    looked_up: float
    look_up_at: float
    in_outage: bool = False


class KeyGuard:
    """Verifies tokens; one a process. `verify` is a `fluxa.web.identity.VerifyToken`."""

    def __init__(self, keys: KeySource, clock: Clock, limits: GuardLimits | None = None) -> None:
        self._keys = keys
        self._clock = clock
        self._limits = limits or GuardLimits()
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._absent: OrderedDict[str, float] = OrderedDict()
        self._under_way: dict[str, asyncio.Task[_Known | None]] = {}
        self._places = asyncio.Semaphore(self._limits.lookups_max)

    async def verify(self, token: str) -> Principal | None:
        """The token's owner; None if it is not valid.

        Raises:
            FluxaError: an outage, when nothing recent enough is remembered.
        """
        parts = split(token)
        if parts is None:
            return None
        key_id, digest = parts
        known = self._known.get(key_id)
        if known is None or self._clock.monotonic() >= known.look_up_at:
            known = await self._refresh(key_id, known)
        if known is not None and hmac.compare_digest(known.hash, digest):
            return known.principal
        return None

    async def _refresh(self, key_id: str, known: _Known | None) -> _Known | None:
        """Look the key up, or go on with what is known during an outage."""
        now = self._clock.monotonic()
        if known is None:
            absent_until = self._absent.get(key_id)
            if absent_until is not None and now < absent_until:
                return None
            return await asyncio.shield(self._look_up(key_id))
        holds = now - known.looked_up <= self._limits.outage_s
        if known.in_outage and holds:
            known.look_up_at = now + self._limits.retry_s
            self._look_up(key_id)  # in the background: no request waits for a database that is known to be away
            return known
        try:
            return await asyncio.shield(self._look_up(key_id))
        except FluxaError as error:
            if error.retry is not RetryClass.TRANSIENT or not holds:
                raise
            known.in_outage = True
            known.look_up_at = self._clock.monotonic() + self._limits.retry_s
            return known

    def _look_up(self, key_id: str) -> "asyncio.Task[_Known | None]":
        """One look-up a key at a time; others that want the same key share it."""
        task = self._under_way.get(key_id)
        if task is None:
            task = asyncio.create_task(self._find(key_id), name=f"look-up of key {key_id}")
            self._under_way[key_id] = task
            task.add_done_callback(lambda done: self._finished(key_id, done))
        return task

    def _finished(self, key_id: str, task: "asyncio.Task[_Known | None]") -> None:
        self._under_way.pop(key_id, None)
        if not task.cancelled():
            task.exception()  # taken here, so that a look-up whose waiters have all left is not reported as lost

    async def _find(self, key_id: str) -> _Known | None:
        try:
            async with asyncio.timeout(self._limits.lookup_s), self._places:
                found = await self._keys.find(key_id)
        except TimeoutError:
            raise DatabaseUnavailableError("looking up an API key took too long") from None
        now = self._clock.monotonic()
        if found is None:
            self._known.pop(key_id, None)
            _remember(self._absent, key_id, now + self._limits.absent_s, self._limits.absent_max)
            return None
        self._absent.pop(key_id, None)
        known = _Known(
            found.hash,
            Principal(found.tenant, found.name, found.role, Kind.API_KEY, key_id),
            now,
            now + self._limits.fresh_s,
        )
        _remember(self._known, key_id, known, self._limits.keys_max)
        return known


def _remember(memory: OrderedDict[str, T], key_id: str, value: T, entries_max: int) -> None:
    """Keep the newest entries only."""
    memory[key_id] = value
    memory.move_to_end(key_id)
    if len(memory) > entries_max:
        memory.popitem(last=False)
