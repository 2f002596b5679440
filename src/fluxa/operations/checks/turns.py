"""Where it is kept whose turn a check is, and what it last found. Not: when it is done (routine)."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from fluxa.kernel import json
from fluxa.kernel.errors import FluxaError
from fluxa.kernel.lifecycle import cancel_and_wait
from fluxa.postgres import sql
from fluxa.postgres.pool import Database
from fluxa.postgres.transaction import Transaction
from fluxa.telemetry.duty import Duty

_SQL = sql.load("fluxa.operations.checks", "turns.sql")
_DETAIL_MAX = 1000
_RENEWALS = 3
"""How often a turn is renewed while it would last."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What a check last found.

    Attributes:
        faults: how much is wrong; None: it could not be found out.
        detail: the same in words; why, if it is not known.
        age_s: seconds since it was last found out, by the database's clock; None: never.
    """

    faults: int | None
    detail: str
    age_s: float | None


class Turns:
    """The turns of one check. One process at a time has it, for as long as it says so.

    A row with a time and no lock of a session: a pooler in transaction mode has none. Every verb may raise
    `DatabaseUnavailableError`.
    """

    def __init__(self, database: Database, name: str, holder: str) -> None:
        self._database = database
        self._name = name
        self._holder = holder

    async def take(self, hold_s: float) -> Mapping[str, Any] | None:
        """Take the turn, or keep it, for so many seconds; what the check remembers, or None if another has it."""
        text = await self._database.fetch_value(_SQL["take_check"], self._name, self._holder, hold_s)
        return None if text is None else dict(json.decode(text))

    @contextlib.asynccontextmanager
    async def renewed(self, hold_s: float, duty: Duty) -> AsyncIterator[None]:
        """Keep a turn that was taken for so many seconds while the block takes long; outages are told to the duty."""
        renewal = asyncio.create_task(self._renew(hold_s, duty), name=f"{self._name}-turn")
        try:
            yield
        finally:
            await cancel_and_wait(renewal)

    async def _renew(self, hold_s: float, duty: Duty) -> None:
        while True:
            await asyncio.sleep(hold_s / _RENEWALS)
            try:
                await self.take(hold_s)
            except FluxaError as error:
                duty.failed(error)  # if it lasts the turn is lost, which shows when what was found is written
            else:
                duty.worked()

    async def put(self, tx: Transaction, faults: int, detail: str, state: Mapping[str, Any]) -> bool:
        """Write what was found; False, and nothing written, if another has the turn by now."""
        rows = await tx.execute(
            _SQL["put_check"], self._name, self._holder, faults, detail[:_DETAIL_MAX], json.text(dict(state))
        )
        return rows > 0

    async def miss(self, detail: str) -> None:
        """Write that it could not be found out, and why."""
        await self._database.execute(_SQL["miss_check"], self._name, self._holder, detail[:_DETAIL_MAX])

    async def leave(self) -> None:
        """Let another process go on at once."""
        await self._database.execute(_SQL["leave_check"], self._name, self._holder)

    async def read(self) -> Standing:
        """What was last found, by whomever."""
        row = await self._database.fetch_row(_SQL["read_check"], self._name)
        return Standing(None, "never checked", None) if row is None else Standing(*row)
