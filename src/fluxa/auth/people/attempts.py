"""Counts attempts to log in, and locks names and addresses that fail again and again, for a while that grows.

An attempt is counted before the password is looked at, so that a thousand at once are no more than the few allowed.
Where a user has logged in from lately is counted apart: strangers who lock a name do not lock its owner out there.
"""

import datetime as dt
import enum
import hashlib
import ipaddress
from dataclasses import dataclass

from fluxa.kernel.clock import Clock
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.postgres import sql
from fluxa.postgres.pool import Database
from fluxa.postgres.transaction import Transaction

_SQL = sql.load("fluxa.auth.people", "attempts.sql")


_SITE_BITS = 64


class Counted(enum.StrEnum):
    """What attempts are counted for."""

    NAME = "name"
    ADDRESS = "address"


@dataclass(frozen=True, slots=True)
class AttemptLimits:
    """When a name or an address is locked.

    Attributes:
        name_free: attempts for one name before it is locked, whoever has that name or nobody.
        address_free: attempts from one address, or one /64 of IPv6, before it is locked; many people may share one.
        base_s: seconds of the first lock; each further attempt doubles them.
        cap_s: the longest lock in seconds.
        forget_s: seconds without an attempt after which counting begins anew.
        known_s: seconds since a login for which the address that it came from is counted apart for that name.
        pruned: old counts deleted with each attempt.
    """

    name_free: int = 5
    address_free: int = 20
    base_s: float = 15.0
    cap_s: float = 900.0
    forget_s: float = 86_400.0
    known_s: float = 30 * 86_400.0
    pruned: int = 20

    def free(self, counted: Counted) -> int:
        """Attempts before a lock."""
        return self.name_free if counted is Counted.NAME else self.address_free


class Attempts:
    """The counts of one database."""

    def __init__(self, database: Database, clock: Clock, limits: AttemptLimits | None = None) -> None:
        self._database = database
        self._clock = clock
        self._limits = limits or AttemptLimits()

    async def begin(self, name: str, address: str) -> None:
        """Count an attempt, as one that fails until `succeeded` says otherwise.

        Raises:
            FluxaError: `Overloaded` with the time left, if the name or the address is locked: known name or not.
        """
        place = _place(name, address)
        as_name = place if await self._is_known(self._database, place) else name
        for counted, key in ((Counted.ADDRESS, _site(address)), (Counted.NAME, as_name)):
            if not await self._take(counted, key):
                until = await self._database.fetch_value(_SQL["locked_until"], counted, _digest(key))
                left_s = 1.0 if until is None else max(1.0, (until - self._clock.now()).total_seconds())
                raise FluxaError(
                    ErrorCode.OVERLOADED, "Too many attempts to log in failed; wait.", retry_after_s=left_s
                )

    async def succeeded(self, tx: Transaction, name: str, address: str) -> None:
        """Nothing is held against the name any more where this attempt was counted, and it not against the address.

        An address is not cleared: who has one account of his own could else try the others' for ever. And who logs in
        where he is known clears nothing for strangers.
        """
        limits, now, place = self._limits, self._clock.now(), _place(name, address)
        await self._give_back(tx, Counted.ADDRESS, _site(address))
        as_name = place if await self._is_known(tx, place) else name
        await tx.execute(_SQL["clear_count"], Counted.NAME, _digest(as_name))
        await tx.execute(_SQL["remember_place"], _digest(place), _digest(name), now, limits.known_s, limits.pruned)

    async def untried(self, name: str, address: str) -> None:
        """Nobody looked at the password: the attempt is held against nothing."""
        place = _place(name, address)
        async with self._database.transaction() as tx:
            await self._give_back(tx, Counted.ADDRESS, _site(address))
            await self._give_back(tx, Counted.NAME, place if await self._is_known(tx, place) else name)

    async def clear(self, tx: Transaction, name: str) -> bool:
        """Forget what is held against a name, wherever; False, if there was nothing."""
        return await tx.execute(_SQL["clear_name"], _digest(name)) > 0

    async def clear_address(self, tx: Transaction, address: str) -> bool:
        """Forget what is held against an address, or its network; False, if there was nothing."""
        return await tx.execute(_SQL["clear_count"], Counted.ADDRESS, _digest(_site(address))) > 0

    async def locked_until(self, name: str) -> dt.datetime | None:
        """When the lock of a name ends; None, if it is not locked."""
        until: dt.datetime | None = await self._database.fetch_value(_SQL["locked_until"], Counted.NAME, _digest(name))
        return until if until is not None and until > self._clock.now() else None

    async def _give_back(self, tx: Transaction, counted: Counted, key: str) -> None:
        free = self._limits.free(counted)
        await tx.execute(_SQL["give_back"], _digest(key), self._clock.now(), free, counted)

    async def _is_known(self, at: Database | Transaction, place: str) -> bool:
        known = await at.fetch_value(_SQL["is_known_place"], _digest(place), self._clock.now(), self._limits.known_s)
        return bool(known)

    async def _take(self, counted: Counted, key: str) -> bool:
        limits = self._limits
        taken = await self._database.fetch_value(
            _SQL["take_attempt"],
            counted,
            _digest(key),
            self._clock.now(),
            limits.free(counted),
            limits.base_s,
            limits.cap_s,
            limits.forget_s,
            limits.pruned,
        )
        return taken is not None


def _site(address: str) -> str:
    """An address as it is counted: of IPv6 the network of a site, of which one customer has all addresses."""
    try:
        known = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address  # a Unix socket has none
    if not isinstance(known, ipaddress.IPv6Address):
        return str(known)
    return str(known.ipv4_mapped or ipaddress.ip_network((known, _SITE_BITS), strict=False))


def _place(name: str, address: str) -> str:
    """A name where it is tried from; no name has a line feed, so that none is another's place."""
    return f"{name}\n{_site(address)}"


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
