"""Does a check now and then, on one process at a time, and tells all of them what it found. Not: the check itself."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from typing_extensions import override

from fluxa.kernel.clock import Clock
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.operations.checks.turns import Turns
from fluxa.postgres.pool import Database
from fluxa.postgres.transaction import Transaction
from fluxa.telemetry.catalogue import Hook, IntegrityChecked
from fluxa.telemetry.duty import Duty, RareDuty

_HOLD_PERIODS = 2
_HOLD_LEAST_S = 15.0
_FRESH_PERIODS = 3
_REPEAT_S = 30.0
_STOP_WITHIN_S = 2.0


async def _nothing_more(_tx: Transaction) -> None:
    """What a check keeps that keeps nothing."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check found.

    Attributes:
        faults: how much is wrong.
        detail: the same in words, with what to do; empty if nothing is.
        state: what it wants to remember; small.
        keep: writes what else it wants to keep, in the transaction that writes the verdict.
    """

    faults: int
    detail: str = ""
    state: Mapping[str, Any] = field(default_factory=dict)
    keep: Callable[[Transaction], Awaitable[None]] = _nothing_more


Check = Callable[[Mapping[str, Any]], Awaitable[Verdict]]
"""Given what it remembers of its last turn. It raises if it cannot be found out: that is neither good nor bad."""


class RoutineCheck(RareDuty):
    """A check as a background duty; any number of processes may have it, and one of them does it.

    All of them tell what was found, by the signal `IntegrityChecked`: who dies takes nothing along. A finding is a
    turn that failed. A `Service`.

    Args:
        name: of the check, in its row and in the signal: `ledger` or `tenants`.
        check: does it.
        database: where turns are kept.
        holder: names this process.
        code: the error's, if something is wrong.
        clock: measures turns.
        hook: hears what was found, and how turns ended.
        every_s: seconds between two turns.
    """

    def __init__(
        self,
        name: str,
        check: Check,
        database: Database,
        *,
        holder: str,
        code: ErrorCode,
        clock: Clock,
        hook: Hook,
        every_s: float,
    ) -> None:
        super().__init__(name, self.turn, clock=clock, hook=hook, every_s=every_s, repeat_s=min(_REPEAT_S, every_s))
        self._check_name = name
        self._check = check
        self._database = database
        self._turns = Turns(database, name, holder)
        self._code = code
        self._hold_s = max(_HOLD_LEAST_S, _HOLD_PERIODS * every_s)
        self._fresh_s = max(_HOLD_LEAST_S, _FRESH_PERIODS * every_s)
        self._end = Duty(name, clock=clock, hook=hook)

    @override
    async def stop(self) -> None:
        """End, and let another process go on at once."""
        await super().stop()
        # If not, another one takes over when this one has been silent for a while.
        await self._end.farewell(self._turns.leave, within_s=_STOP_WITHIN_S)

    async def turn(self) -> None:
        """One turn: check, or read what another process found.

        Raises:
            FluxaError: with the check's code, if something is wrong; whatever kept it from being found out.
        """
        try:
            state = await self._turns.take(self._hold_s)
            verdict = None if state is None else await self._found(state)
            if verdict is None:
                standing = await self._turns.read()
                is_fresh = standing.age_s is not None and standing.age_s <= self._fresh_s
                self._tell(standing.faults if is_fresh else None)
                return
        except Exception:
            self._tell(None)
            raise
        self._tell(verdict.faults)
        if verdict.faults:
            raise FluxaError(self._code, verdict.detail)

    async def _found(self, state: Mapping[str, Any]) -> Verdict | None:
        """The verdict, written; None if another process took over meanwhile."""
        async with self._turns.renewed(self._hold_s, self._end):
            try:
                verdict = await self._check(state)
            except Exception as error:
                why = f"{error.code}: {error.detail}" if isinstance(error, FluxaError) else repr(error)
                await self._turns.miss(why)
                raise
        async with self._database.transaction() as tx:
            if not await self._turns.put(tx, verdict.faults, verdict.detail, verdict.state):
                return None
            await verdict.keep(tx)
        return verdict

    def _tell(self, faults: int | None) -> None:
        self._hook(IntegrityChecked(self._check_name, faults))
