"""Where alarms are kept: how they stand, their history, what operators said about them. Not: deciding (evaluate)."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fluxa.auth.audit import Act, Audit
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.kernel.ids import Tenant
from fluxa.operations.alarms.evaluate import Phase, Standing
from fluxa.postgres import sql
from fluxa.postgres.pool import Database
from fluxa.postgres.transaction import Row, Transaction

_SQL = sql.load("fluxa.operations.alarms", "store.sql")

SILENCE_MAX_S = 30 * 86400.0
_TEXT_MAX = 1000


@dataclass(frozen=True, slots=True)
class Alarm:
    """An alarm as it stands for one subject.

    Attributes:
        alarm: the rule's name.
        subject: of which queue, service or schedule; empty where there is one only.
        standing: how it stands.
        acked_by: who has taken it on; None: nobody.
        acked_at: when.
        ack_note: what they said.
        updated_at: when it was last looked at with a change.
    """

    alarm: str
    subject: str
    standing: Standing
    acked_by: str | None = None
    acked_at: dt.datetime | None = None
    ack_note: str = ""
    updated_at: dt.datetime | None = None


@dataclass(frozen=True, slots=True)
class Silence:
    """An operator's word that nothing is to be told for a while.

    Attributes:
        silence_id: names it.
        alarm: of which alarm; None: of all.
        subject: of which subject; None: of all.
        reason: why.
        by: who said so.
        begins_at: from when.
        ends_at: until when.
    """

    silence_id: int
    alarm: str | None
    subject: str | None
    reason: str
    by: str
    begins_at: dt.datetime
    ends_at: dt.datetime

    def covers(self, alarm: str, subject: str) -> bool:
        """Whether it is about an alarm."""
        return self.alarm in (None, alarm) and self.subject in (None, subject)


@dataclass(frozen=True, slots=True)
class Happening:
    """One row of the history.

    Attributes:
        at: when.
        alarm: which.
        subject: of what.
        what: firing, resolved, acknowledged, silenced and so on.
        value: what was found then.
        detail: more of it.
        by: who did it; empty for Fluxa itself.
    """

    at: dt.datetime
    alarm: str
    subject: str
    what: str
    value: float | None
    detail: str
    by: str


class AlarmStore:
    """The tables of alarms. Every verb may raise `DBConnectionError`.

    Args:
        database: where they are.
        tenant: in whose ledger what operators do belongs.
        audit: writes that down; None for those who only read.
    """

    def __init__(self, database: Database, *, tenant: Tenant, audit: Audit | None = None) -> None:
        self._database = database
        self._audit = audit
        self._tenant = tenant

    async def all(self) -> list[Alarm]:
        """All that is not idle, firing ones first."""
        return [_alarm(row) for row in await self._database.fetch(_SQL["list_alarms"])]

    async def history(self, alarm: str | None = None, *, limit: int = 100) -> list[Happening]:
        """What happened, latest first."""
        return [Happening(**dict(row)) for row in await self._database.fetch(_SQL["list_history"], alarm, limit)]

    async def silences(self, *, ended: bool = False) -> list[Silence]:
        """What is silenced now, latest first; with those that have ended, if asked for."""
        return [Silence(**dict(row)) for row in await self._database.fetch(_SQL["list_silences"], ended)]

    async def turn(self) -> tuple[str, float] | None:
        """Who evaluates, and how many seconds ago it last did; None if nobody does."""
        row = await self._database.fetch_row(_SQL["read_turn"])
        return None if row is None else (row["evaluator"], row["age_s"])

    async def ack(self, alarm: str, subject: str | None, *, by: str, note: str = "") -> list[str]:
        """Take on what fires of an alarm: it is told no more until it is over; returns the subjects.

        Raises:
            FluxaError: `Refused`, if nothing of it fires.
        """
        async with self._database.transaction() as tx:
            rows = await tx.fetch(_SQL["put_ack"], alarm, subject, by[:_TEXT_MAX], note[:_TEXT_MAX])
            if not rows:
                raise FluxaError(ErrorCode.REFUSED, f"Nothing of {alarm} fires that could be acknowledged.")
            for row in rows:
                await self._note(tx, alarm, row["subject"], "acknowledged", by=by, detail=note)
            await self._write(tx, by, "alarm.acknowledged", alarm, {"subject": subject, "note": note})
        return [row["subject"] for row in rows]

    async def unack(self, alarm: str, subject: str | None, *, by: str) -> list[str]:
        """Give an alarm back: it is told again; returns the subjects.

        Raises:
            FluxaError: `Refused`, if nobody has taken it on.
        """
        async with self._database.transaction() as tx:
            rows = await tx.fetch(_SQL["drop_ack"], alarm, subject)
            if not rows:
                raise FluxaError(ErrorCode.REFUSED, f"Nothing of {alarm} is acknowledged.")
            for row in rows:
                await self._note(tx, alarm, row["subject"], "unacknowledged", by=by)
            await self._write(tx, by, "alarm.unacknowledged", alarm, {"subject": subject})
        return [row["subject"] for row in rows]

    async def silence(self, alarm: str | None, subject: str | None, *, by: str, reason: str, for_s: float) -> Silence:
        """Tell nothing of an alarm for a while; it is evaluated all the same.

        Args:
            alarm: which; None for all.
            subject: of which subject; None for all.
            by: who says so.
            reason: why; whoever wonders about the quiet reads it.
            for_s: for how long, 30 days at most: a silence without an end is forgotten.

        Raises:
            FluxaError: `InvalidRequest` without a reason, or for such a time.
        """
        if not reason.strip():
            raise FluxaError(ErrorCode.INVALID_REQUEST, "An alarm is silenced only with a word on why.")
        if not 0 < for_s <= SILENCE_MAX_S:
            raise FluxaError(ErrorCode.INVALID_REQUEST, "A silence lasts more than nothing and 30 days at most.")
        async with self._database.transaction() as tx:
            row = await tx.fetch_row(_SQL["insert_silence"], alarm, subject, reason[:_TEXT_MAX], by[:_TEXT_MAX], for_s)
            assert row is not None  # noqa: S101 - an insert that returns gives its row
            silence = Silence(**dict(row))
            until = f"until {silence.ends_at:%Y-%m-%d %H:%M:%SZ}: {silence.reason}"
            await self._note(tx, alarm or "*", subject or "", "silenced", by=by, detail=until)
            await self._write(tx, by, "alarm.silenced", alarm or "*", {"subject": subject, "reason": reason})
        return silence

    async def unsilence(self, silence_id: int, *, by: str) -> Silence:
        """End a silence now.

        Raises:
            FluxaError: `NotFound`, if there is none that has not ended.
        """
        async with self._database.transaction() as tx:
            row = await tx.fetch_row(_SQL["end_silence"], silence_id)
            if row is None:
                raise FluxaError(ErrorCode.NOT_FOUND, f"There is no silence {silence_id} that has not ended.")
            silence = Silence(**dict(row))
            await self._note(tx, silence.alarm or "*", silence.subject or "", "unsilenced", by=by)
            await self._write(tx, by, "alarm.unsilenced", silence.alarm or "*", {"silence": silence_id})
        return silence

    async def _note(self, tx: Transaction, alarm: str, subject: str, what: str, *, by: str, detail: str = "") -> None:
        await tx.execute(_SQL["insert_history"], alarm, subject, what, None, detail[:_TEXT_MAX], by[:_TEXT_MAX])

    async def _write(self, tx: Transaction, by: str, action: str, alarm: str, detail: Mapping[str, object]) -> None:
        if self._audit is not None:
            await self._audit.record(tx, Act(self._tenant, by, action, f"alarm:{alarm}", detail))


class Turns:
    """What an evaluator writes; only one of them does at a time."""

    def __init__(self, database: Database, evaluator: str) -> None:
        self._database = database
        self._evaluator = evaluator

    async def take(self, after_s: float) -> bool:
        """Whether it is this evaluator's turn: it had the last one, or who had it has been silent for so long."""
        return bool(await self._database.execute(_SQL["take_turn"], self._evaluator, after_s))

    async def leave(self) -> None:
        """Let another one go on at once."""
        await self._database.execute(_SQL["leave_turn"], self._evaluator)

    async def prune(self, days: int) -> None:
        """Forget history that is so many days old."""
        await self._database.execute(_SQL["prune_history"], days)

    async def hold(self, tx: Transaction) -> dt.datetime | None:
        """Hold the turn until the transaction ends; the time by the database's clock, or None if it is another's."""
        now: dt.datetime | None = await tx.fetch_value(_SQL["hold_turn"], self._evaluator)
        return now

    async def alarms(self, tx: Transaction) -> Sequence[Alarm]:
        """All that is not idle."""
        return [_alarm(row) for row in await tx.fetch(_SQL["list_alarms"])]

    async def silences(self, tx: Transaction) -> Sequence[Silence]:
        """What is silenced now."""
        return [Silence(**dict(row)) for row in await tx.fetch(_SQL["list_silences"], False)]

    async def put(self, tx: Transaction, alarm: str, subject: str, standing: Standing, now: dt.datetime) -> None:
        """Write down how an alarm stands; nothing, where there is nothing to remember."""
        if standing.is_idle:
            await tx.execute(_SQL["forget_alarm"], alarm, subject)
            return
        await tx.execute(
            _SQL["put_alarm"],
            alarm,
            subject,
            str(standing.phase),
            standing.since,
            standing.value,
            standing.detail[:_TEXT_MAX],
            standing.good_since,
            standing.unknown_since,
            standing.told_firing,
            standing.told_unknown,
            standing.told_at,
            now,
        )
        if standing.phase is not Phase.FIRING:
            await tx.execute(_SQL["clear_ack"], alarm, subject)

    async def note(self, tx: Transaction, alarm: str, subject: str, what: str, standing: Standing) -> None:
        """Write down what happened."""
        await tx.execute(_SQL["insert_history"], alarm, subject, what, standing.value, standing.detail[:_TEXT_MAX], "")


def _alarm(row: Row) -> Alarm:
    standing = Standing(
        phase=Phase(row["phase"]),
        since=row["since"],
        value=row["value"],
        detail=row["detail"],
        good_since=row["good_since"],
        unknown_since=row["unknown_since"],
        told_firing=row["told_firing"],
        told_unknown=row["told_unknown"],
        told_at=row["told_at"],
    )
    acked = (row["acked_by"], row["acked_at"], row["ack_note"])
    return Alarm(row["alarm"], row["subject"], standing, *acked, row["updated_at"])
