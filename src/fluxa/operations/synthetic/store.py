"""Where it is kept how synthetic checks stand, and what they found before. Not: what that means (rules)."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fluxa.kernel import json
from fluxa.operations.synthetic.check import CheckName, Outcome, Result
from fluxa.operations.synthetic.rules import Judged, Standing
from fluxa.postgres import sql
from fluxa.postgres.pool import Database
from fluxa.postgres.transaction import Row, Transaction

_SQL = sql.load("fluxa.operations.synthetic", "store.sql")
_DETAIL_MAX: Final = 1000
RUNS_KEPT: Final = 2000
"""Rounds that are remembered: a day and a half, one a minute."""


@dataclass(frozen=True, slots=True)
class Past:
    """What a check found before.

    Attributes:
        at: when.
        station: the process that did it.
        outcome: what it found.
    """

    at: dt.datetime
    station: str
    outcome: Outcome


class SyntheticStore:
    """The tables of synthetic checks. Every verb may raise `DBConnectionError`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self) -> list[Judged]:
        """How all checks stand, failed ones first; a check that only another version knows is left out."""
        rows = await self._database.fetch(_SQL["list_standings"])
        return [_judged(row) for row in rows if row["name"] in list(CheckName)]

    async def standings(self) -> Mapping[tuple[str, str], Standing]:
        """The same by check and target, to go on from."""
        return {(one.outcome.check, one.outcome.target): one.standing for one in await self.all()}

    async def keep(self, tx: Transaction, found: Sequence[Judged], *, station: str) -> None:
        """Write how all checks stand after a round, and remember the round. What is not in it is forgotten."""
        await tx.execute(_SQL["clear_standings"])
        if found:
            columns = zip(*(_row(one) for one in found), strict=True)
            await tx.execute(_SQL["put_standings"], *map(list, columns))
        outcomes = [_outcome(one.outcome) for one in found]
        await tx.execute(_SQL["put_run"], station, json.text(outcomes), RUNS_KEPT)

    async def history(
        self, check: CheckName | None = None, target: str | None = None, *, bad: bool = False, limit: int = 100
    ) -> list[Past]:
        """What was found, latest first.

        Args:
            check: only of this one.
            target: only there.
            bad: only what was not well.
            limit: so many at most.
        """
        rows = await self._database.fetch(_SQL["list_history"], check, target, bad, limit)
        return [Past(row["at"], row["station"], _found(row)) for row in rows if row["name"] in list(CheckName)]


def _row(one: Judged) -> tuple[object, ...]:
    standing, outcome = one.standing, one.outcome
    return (
        outcome.check,
        outcome.target,
        standing.judged,
        standing.is_known,
        standing.failed_in_row,
        standing.ok_in_row,
        standing.since,
        outcome.result,
        outcome.duration_s,
        json.text(dict(outcome.legs)),
        outcome.detail[:_DETAIL_MAX],
    )


def _outcome(outcome: Outcome) -> dict[str, Any]:
    return {
        "name": outcome.check,
        "target": outcome.target,
        "result": outcome.result,
        "duration_s": outcome.duration_s,
        "legs": dict(outcome.legs),
        "detail": outcome.detail[:_DETAIL_MAX],
    }


def _judged(row: Row) -> Judged:
    standing = Standing(Result(row["judged"]), row["is_known"], row["failed_in_row"], row["ok_in_row"], row["since"])
    return Judged(_found(row), standing, row["age_s"])


def _found(row: Row) -> Outcome:
    return Outcome(
        CheckName(row["name"]),
        row["target"],
        Result(row["result"]),
        row["duration_s"],
        row["detail"],
        json.decode(row["legs"]),
    )
