"""What a process knows of the signing keys: follows the table without a restart. Not: the table itself (signing_keys).

A change is heard by a wake-up, without one within `poll_s`; while Postgres is away, what is known holds for `outage_s`.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from joserfc.jwk import OKPKey
from typing_extensions import override

from fluxa.auth.tokens.jws import PublicKey, public_key
from fluxa.auth.tokens.signing_keys import TOPIC, UsableKey
from fluxa.kernel.clock import Clock
from fluxa.kernel.errors import DatabaseUnavailableError, ErrorCode, FluxaError
from fluxa.postgres.listen import Following, Listener
from fluxa.telemetry.catalogue import Hook


class KeyTable(Protocol):
    """Where keys are read and, when the first token is made, begun; `SigningKeys` is one."""

    async def usable(self) -> Sequence[UsableKey]:
        """All that verify now."""
        ...

    async def private(self, kid: str) -> OKPKey | None:
        """The private key."""
        ...

    async def ensure(self) -> None:
        """See to it that one signs."""
        ...


@dataclass(frozen=True, slots=True)
class RingLimits:
    """How closely the table is followed.

    Attributes:
        poll_s: seconds between looks where no wake-up is heard.
        again_s: seconds between looks for the sake of keys that nobody knows, so that forged tokens cost little.
        outage_s: seconds for which keys hold that could not be read again.
    """

    poll_s: float = 5.0
    again_s: float = 0.5
    outage_s: float = 600.0


@dataclass(frozen=True, slots=True)
class _Held:
    """A key in hand; times by the monotonic clock."""

    public: PublicKey
    jwk: Mapping[str, Any]
    signs_from_s: float
    signs_until_s: float
    verifies_until_s: float


class KeyRing(Following):
    """The signing keys, in one process. A `fluxa.kernel.lifecycle.Service`."""

    def __init__(
        self, table: KeyTable, *, listener: Listener, clock: Clock, hook: Hook, limits: RingLimits | None = None
    ) -> None:
        self._table = table
        self._clock = clock
        self._limits = limits or RingLimits()
        super().__init__("signing keys", TOPIC, listener=listener, clock=clock, hook=hook, period_s=self._limits.poll_s)
        self._held: dict[str, _Held] = {}
        self._read_at_s = float("-inf")
        self._again_at_s = float("-inf")
        self._private: tuple[str, OKPKey] | None = None
        self._reading: asyncio.Task[None] | None = None

    async def find(self, kid: str) -> PublicKey | None:
        """A key that verifies now. One that nobody knows yet is looked for once more, now and then.

        Raises:
            FluxaError: an outage, when what is known is too old.
        """
        held = self._held.get(kid)
        now_s = self._clock.monotonic()
        if held is None and now_s >= self._again_at_s:
            self._again_at_s = now_s + self._limits.again_s
            await self._read_shared()
            held, now_s = self._held.get(kid), self._clock.monotonic()
        if now_s - self._read_at_s > self._limits.outage_s:
            raise DatabaseUnavailableError("the signing keys could not be read for too long")
        return held.public if held is not None and now_s < held.verifies_until_s else None

    def holds(self, key: PublicKey) -> bool:
        """Whether a key that `find` gave still verifies; costs nothing."""
        held = self._held.get(key.kid)
        now_s = self._clock.monotonic()
        return held is not None and now_s < held.verifies_until_s and now_s - self._read_at_s <= self._limits.outage_s

    async def signer(self) -> tuple[str, OKPKey]:
        """The key that signs now; the first one of an installation is made here.

        Raises:
            FluxaError: `Configuration`, without the `secret_key` that opens it; an outage.
        """
        for _ in range(3):  # each turn a key may have been retired meanwhile
            kid = self._signing()
            if kid is None:
                await self._table.ensure()
                await self.look()
                continue
            if self._private is not None and self._private[0] == kid:
                return self._private
            private = await self._table.private(kid)
            if private is not None:
                self._private = (kid, private)
                return self._private
            await self.look()
        raise FluxaError(ErrorCode.OVERLOADED, "The signing keys are being changed; try again in a moment.")

    def jwks(self) -> dict[str, list[Mapping[str, Any]]]:
        """The public keys as others verify our tokens with them (RFC 7517), those to come included."""
        now_s = self._clock.monotonic()
        return {"keys": [held.jwk for held in self._held.values() if now_s < held.verifies_until_s]}

    def _signing(self) -> str | None:
        now_s = self._clock.monotonic()
        signing = [held for held in self._held.values() if held.signs_from_s <= now_s < held.signs_until_s]
        return max(signing, key=lambda held: held.signs_from_s).public.kid if signing else None

    async def _read_shared(self) -> None:
        """One look for all who want one at the same time; an outage leaves what is known."""
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read_quietly(), name="signing-keys-again")
        await asyncio.shield(self._reading)

    async def _read_quietly(self) -> None:
        try:
            await self.look()
        except FluxaError as error:
            self.duty.failed(error)

    @override
    async def look(self) -> None:
        """Read the keys that verify now."""
        asked_s = self._clock.monotonic()
        usable = await self._table.usable()
        # Ends are counted from before the question and beginnings from after it: the slower the answer, the safer.
        answered_s = self._clock.monotonic()
        if asked_s < self._read_at_s:
            return  # a later question was answered meanwhile
        held: dict[str, _Held] = {}
        for key in usable:
            public = public_key(key.jwk)
            if public is not None:
                known = self._held.get(key.kid)
                held[key.kid] = _Held(
                    known.public if known else public,
                    key.jwk,
                    answered_s + key.signs_in_s,
                    _after(answered_s, key.signs_end_s),
                    _after(asked_s, key.verifies_end_s),
                )
        self._held, self._read_at_s = held, asked_s


def _after(from_s: float, in_s: float | None) -> float:
    return float("inf") if in_s is None else from_s + in_s
