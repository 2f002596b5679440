"""Does all checks again and again, on one station at a time, and keeps what they found. Not: the checks (round)."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from typing_extensions import override

from fluxa.kernel.clock import Clock
from fluxa.operations.checks.turns import Turns
from fluxa.operations.synthetic.canary import Waiting
from fluxa.operations.synthetic.check import Result
from fluxa.operations.synthetic.round import Done, Round
from fluxa.operations.synthetic.rules import Judged, Patience, Standing, judged
from fluxa.operations.synthetic.store import SyntheticStore
from fluxa.postgres.pool import Database
from fluxa.telemetry.catalogue import Hook, SyntheticChecked
from fluxa.telemetry.duty import Duty, RareDuty

NAME: Final = "synthetic"
_LOOK_S: Final = 10.0
"""How often a station asks whether it is its turn; so that another one goes on soon where one has died."""
_HOLD_LOOKS: Final = 3
_HOLD_LEAST_S: Final = 5.0
_STOP_WITHIN_S: Final = 2.0

Tidy = Callable[[Sequence[str]], Awaitable[None]]
"""Deletes these canaries, and whatever is left of older ones."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How often checks are done, and believed.

    Attributes:
        every_s: seconds between two rounds.
        patience: when a result is believed.
    """

    every_s: float
    patience: Patience

    @property
    def look_s(self) -> float:
        """Seconds between two looks whether a round is due."""
        return min(self.every_s, _LOOK_S)

    @property
    def hold_s(self) -> float:
        """Seconds for which nobody else takes over from one who says nothing."""
        return max(_HOLD_LEAST_S, _HOLD_LOOKS * self.look_s)


class Prober(RareDuty):
    """The checks as a background duty; any number of stations may have it, and one of them does it. A `Service`.

    Args:
        database: where turns and outcomes are kept.
        store: keeps outcomes.
        round_: does the checks.
        tidy: deletes canaries that have arrived.
        pace: how often.
        holder: names this process.
        clock: measures.
        hook: hears every outcome, and how turns ended.
    """

    def __init__(
        self,
        database: Database,
        store: SyntheticStore,
        round_: Round,
        tidy: Tidy,
        pace: Pace,
        *,
        holder: str,
        clock: Clock,
        hook: Hook,
    ) -> None:
        super().__init__(NAME, self.turn, clock=clock, hook=hook, every_s=pace.look_s)
        self._database = database
        self._store = store
        self._round = round_
        self._tidy = tidy
        self._pace = pace
        self._holder = holder
        self._turns = Turns(database, NAME, holder)
        self._end = Duty(NAME, clock=clock, hook=hook)

    @override
    async def stop(self) -> None:
        """End, and let another process go on at once."""
        await super().stop()
        # If not, another one takes over when this one has been silent for a while.
        await self._end.farewell(self._turns.leave, within_s=_STOP_WITHIN_S)

    async def turn(self) -> None:
        """One look: a round, if it is this process's turn and time.

        Raises:
            FluxaError: an outage: then nothing is known, and nothing is said of any check.
        """
        memory = await self._turns.take(self._pace.hold_s)
        if memory is None or not await self._is_due():
            return
        async with self._turns.renewed(self._pace.hold_s, self._end):
            before = await self._store.standings()
            done = await self._round.run(_waiting(memory))
        found = judged(done.outcomes, before, self._clock.now(), self._pace.patience)
        if await self._keep(done, found):
            self._tell(found, before)
        await self._tidy(done.arrived)

    async def _is_due(self) -> bool:
        standing = await self._turns.read()
        # Half a look early is nearer to the time than half a look late.
        return standing.age_s is None or standing.age_s >= self._pace.every_s - self._pace.look_s / 2

    async def _keep(self, done: Done, found: Sequence[Judged]) -> bool:
        """Write what was found; False, if another process took over meanwhile."""
        failed = sum(1 for one in found if one.standing.result is Result.FAILED)
        state = {} if done.waiting is None else {"waiting": msgspec.to_builtins(done.waiting)}
        async with self._database.transaction() as tx:
            if not await self._turns.put(tx, failed, "", state):
                return False
            await self._store.keep(tx, found, station=self._holder)
        return True

    def _tell(self, found: Sequence[Judged], before: Mapping[tuple[str, str], Standing]) -> None:
        for one in found:
            outcome = one.outcome
            known = before.get((outcome.check, outcome.target))
            self._hook(
                SyntheticChecked(
                    check=outcome.check,
                    target=outcome.target,
                    result=outcome.result,
                    state=one.standing.result,
                    changed=known is not None and known.result is not one.standing.result,
                    duration_s=outcome.duration_s,
                    legs=outcome.legs,
                    detail=outcome.detail,
                )
            )


def _waiting(memory: Mapping[str, Any]) -> Waiting | None:
    kept = memory.get("waiting")
    return None if kept is None else msgspec.convert(kept, Waiting)
