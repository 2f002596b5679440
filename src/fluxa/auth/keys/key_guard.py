"""Checks API keys on the hot path: remembers answers for a while, so that most requests need no round trip.

The price, stated: while Postgres does not answer, a key that was valid before stays valid for up to `outage_s`, so that
an outage does not shut everybody out; without `KeyWatch`, a revoked key stays valid for up to `fresh_s`.
"""

import asyncio
import datetime as dt
import hmac
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Protocol, TypeVar, assert_never

from fluxa.auth.keys.api_keys import split
from fluxa.auth.keys.rules import StoredKey, Verdict, judged
from fluxa.auth.principal import Principal, Reason, unauthenticated
from fluxa.kernel.clock import Clock
from fluxa.kernel.errors import DatabaseUnavailableError, FluxaError, RetryClass
from fluxa.telemetry.caches import CacheCount

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class KeySource(Protocol):
    """Where keys are looked up."""

    async def find(self, key_id: str) -> StoredKey | None:
        """A key that was not revoked, or None."""
        ...


@dataclass(frozen=True, slots=True)
class GuardLimits:
    """How long and how much is remembered.

    Attributes:
        fresh_s: seconds for which a key is not looked up again, unless `doubt` is called.
        absent_s: seconds for which an unknown key, or a wrong secret, is not looked up again.
        outage_s: seconds since its last look-up for which a key holds while Postgres does not answer.
        retry_s: seconds between look-ups of one key during an outage.
        lookup_s: seconds that a look-up may take.
        keys_max: keys remembered at most.
        absent_max: unknown keys, and wrong secrets, remembered at most.
        lookups_max: look-ups under way at most, so that guessing cannot take all connections; as many again are for
            keys that are known, so that guessing does not keep a revoked one from being found out either.
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
    """A key as a look-up found it.

    `hash` is of the one secret that passes without another thought until `look_up_at`; all else is judged.
    `turn` numbers the look-up.
    """

    stored: StoredKey
    principal: Principal
    turn: int
    looked_up: float
    look_up_at: float
    hash: bytes
    in_outage: bool = False


class KeyGuard:
    """Verifies tokens; one a process. `verify` is a `fluxa.web.identity.VerifyToken`.

    Attributes:
        count: how often memory had the answer, and how often a look-up was waited for.
    """

    def __init__(self, keys: KeySource, clock: Clock, limits: GuardLimits | None = None) -> None:
        self.count = CacheCount()
        self._keys = keys
        self._clock = clock
        self._limits = limits or GuardLimits()
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._absent: OrderedDict[str, float] = OrderedDict()
        self._wrong: OrderedDict[tuple[str, bytes], float] = OrderedDict()
        self._under_way: dict[str, asyncio.Task[_Known | None]] = {}
        self._tasks: set[asyncio.Task[_Known | None]] = set()
        self._places = asyncio.Semaphore(self._limits.lookups_max)
        self._places_of_known = asyncio.Semaphore(self._limits.lookups_max)
        self._turns = self._doubted = 0
        self._used_at: OrderedDict[str, dt.datetime] = OrderedDict()

    async def verify(self, token: str) -> Principal | None:
        """The token's owner; None if it is not valid.

        Raises:
            FluxaError: `Unauthenticated`, saying why, for a right secret whose time is over; an outage, when nothing
                recent enough is remembered.
        """
        parts = split(token)
        if parts is None:
            return None
        key_id, digest = parts
        known = self._known.get(key_id)
        if known is not None and self._clock.monotonic() < known.look_up_at and hmac.compare_digest(known.hash, digest):
            self.count.hits += 1
            return known.principal
        return await self._judge(key_id, digest, known)

    def doubt(self) -> None:
        """Something was taken away from some key: all are looked up again when they are used next."""
        self._doubted = self._turns
        self._under_way.clear()  # what was asked before may be answered without the change; nobody else joins it
        self._wrong.clear()
        for known in self._known.values():
            known.look_up_at = float("-inf")

    def take_used(self) -> dict[str, dt.datetime]:
        """When keys were used, since the last call of this.

        A use counts when its key is looked up, so this is as coarse as `fresh_s`, and costs the hot path nothing.
        """
        used, self._used_at = dict(self._used_at), OrderedDict()
        return used

    async def _judge(self, key_id: str, digest: bytes, known: _Known | None) -> Principal | None:
        """Decide where memory alone does not: the key is not known, is to be looked up again, or has another secret."""
        before = self._turns
        if is_due := known is None or self._clock.monotonic() >= known.look_up_at:
            known = await self._refresh(key_id, known)
        if known is None:
            return None
        verdict = judged(known.stored, digest, self._clock.now())
        if verdict is Verdict.UNKNOWN and not self._is_wrong(key_id, digest):
            while verdict is Verdict.UNKNOWN and known.turn <= before:
                # The key may have been rotated since: only what is asked from now on can say that the secret is wrong.
                known = await self._looked_up(key_id)
                if known is None:
                    return None
                verdict = judged(known.stored, digest, self._clock.now())
            if verdict is Verdict.UNKNOWN:
                until = self._clock.monotonic() + self._limits.absent_s
                _remember(self._wrong, (key_id, digest), until, self._limits.absent_max)
        elif not is_due:
            self.count.hits += 1
        return self._answer(verdict, key_id, known)

    def _answer(self, verdict: Verdict, key_id: str, known: _Known) -> Principal | None:
        match verdict:
            case Verdict.PASSES:
                _remember(self._used_at, key_id, self._clock.now(), self._limits.keys_max)
                return known.principal
            case Verdict.UNKNOWN:
                return None
            case Verdict.EXPIRED | Verdict.REPLACED | Verdict.DISABLED:
                raise _ended(verdict, key_id, known.stored)
            case _:
                assert_never(verdict)

    def _is_wrong(self, key_id: str, digest: bytes) -> bool:
        return self._clock.monotonic() < self._wrong.get((key_id, digest), float("-inf"))

    async def _refresh(self, key_id: str, known: _Known | None) -> _Known | None:
        """Look the key up, or go on with what is known during an outage."""
        now = self._clock.monotonic()
        if known is None:
            absent_until = self._absent.get(key_id)
            if absent_until is not None and now < absent_until:
                self.count.hits += 1
                return None
            return await self._looked_up(key_id)
        holds = now - known.looked_up <= self._limits.outage_s
        if known.in_outage and holds:
            known.look_up_at = self._until(known.stored, self._limits.retry_s)
            self._look_up(key_id)  # in the background: no request waits for a database that is known to be away
            self.count.hits += 1
            return known
        try:
            return await self._looked_up(key_id)
        except FluxaError as error:
            if error.retry is not RetryClass.TRANSIENT or not holds:
                raise
            known.in_outage = True
            known.look_up_at = self._until(known.stored, self._limits.retry_s)
            return known

    async def _looked_up(self, key_id: str) -> _Known | None:
        self.count.misses += 1
        return await asyncio.shield(self._look_up(key_id))

    def _look_up(self, key_id: str) -> "asyncio.Task[_Known | None]":
        """One look-up a key at a time; others that want the same key share it."""
        task = self._under_way.get(key_id)
        if task is None:
            self._turns += 1
            task = asyncio.create_task(self._find(key_id, self._turns), name=f"look-up of key {key_id}")
            self._under_way[key_id] = task
            self._tasks.add(task)
            task.add_done_callback(lambda done: self._finished(key_id, done))
        return task

    def _finished(self, key_id: str, task: "asyncio.Task[_Known | None]") -> None:
        self._tasks.discard(task)
        if self._under_way.get(key_id) is task:
            del self._under_way[key_id]
        if not task.cancelled():
            task.exception()  # taken here, so that a look-up whose waiters have all left is not reported as lost

    async def _find(self, key_id: str, turn: int) -> _Known | None:
        places = self._places_of_known if key_id in self._known else self._places
        try:
            async with asyncio.timeout(self._limits.lookup_s), places:
                found = await self._keys.find(key_id)
        except TimeoutError:
            raise DatabaseUnavailableError("looking up an API key took too long") from None
        now = self._clock.monotonic()
        if found is None:
            self._known.pop(key_id, None)
            _remember(self._absent, key_id, now + self._limits.absent_s, self._limits.absent_max)
            return None
        until = self._until(found, self._limits.fresh_s)
        usable = found.hash if found.is_valid(self._clock.now()) else b""
        known = _Known(found, found.principal(key_id), turn, now, until, usable)
        if turn > self._doubted:
            self._absent.pop(key_id, None)
            _remember(self._known, key_id, known, self._limits.keys_max)
        return known

    def _until(self, key: StoredKey, seconds: float) -> float:
        """When a key is to be looked up again: after so many seconds, and not later than it expires."""
        if key.expires_at is not None:
            left_s = (key.expires_at - self._clock.now()).total_seconds()
            seconds = min(seconds, left_s) if left_s > 0 else seconds
        return self._clock.monotonic() + seconds


def _ended(verdict: Verdict, key_id: str, key: StoredKey) -> FluxaError:
    """What the owner of a secret that was right is told; nobody else gets here."""
    if verdict is Verdict.DISABLED:
        detail = f"The service account {key.account} of API key {key_id} was disabled, and its keys have ended."
        return unauthenticated(Reason.DISABLED, detail)
    if verdict is Verdict.REPLACED:
        detail = f"This secret of API key {key_id} was replaced by a rotation and was taken until {key.old_until}."
        return unauthenticated(Reason.EXPIRED, detail)
    return unauthenticated(Reason.EXPIRED, f"The API key {key_id} expired at {key.expires_at}.")


def _remember(memory: OrderedDict[K, T], key: K, value: T, entries_max: int) -> None:
    """Keep the newest entries only."""
    memory[key] = value
    memory.move_to_end(key)
    if len(memory) > entries_max:
        memory.popitem(last=False)
