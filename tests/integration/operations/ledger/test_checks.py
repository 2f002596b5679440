"""The audit log verified while it runs: what is found, by whom, what is remembered, and what UNKNOWN means (SEC-3)."""

import contextlib
import datetime as dt
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest

from fluxa.auth.audit import Act
from fluxa.kernel.clock import SystemClock
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.kernel.ids import Tenant
from fluxa.operations.alarms.measuring import LEDGER_FAULTS, gauged
from fluxa.operations.alarms.samples import Sampler, Samples
from fluxa.operations.checks.routine import RoutineCheck, Verdict
from fluxa.operations.ledger import Head, Ledger
from fluxa.operations.ledger.watch import LedgerCheck
from fluxa.postgres.pool import Database
from fluxa.telemetry.catalogue import IntegrityChecked
from fluxa.telemetry.metrics import Metrics
from fluxa.testing.clock import ManualClock
from fluxa.testing.signals import Signals

pytestmark = pytest.mark.req("SEC-3")

ACME, OTHER = Tenant("acme"), Tenant("other")
DAY_S = 86400.0


class Log:
    """An audit log and the check of it, on one process."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.clock = ManualClock()
        self.anchors: list[Head] = []
        self.outage: FluxaError | None = None
        self.check = LedgerCheck(database, self._kept, clock=self.clock, whole_every_s=DAY_S)

    async def _kept(self) -> Sequence[Head]:
        if self.outage is not None:
            raise self.outage
        return self.anchors

    async def write(self, tenant: Tenant = ACME, count: int = 1) -> None:
        ledger = Ledger(self.database)
        for number in range(count):
            async with self.database.transaction() as tx:
                await ledger.record(tx, Act(tenant, "user:7", "thing.changed", f"thing:{number}"))

    def duty(self, holder: str, signals: Signals, every_s: float = 300.0) -> RoutineCheck:
        return RoutineCheck(
            "ledger",
            self.check,
            self.database,
            holder=holder,
            code=ErrorCode.HASH_MISMATCH,
            clock=SystemClock(),
            hook=signals.hear,
            every_s=every_s,
        )

    @contextlib.asynccontextmanager
    async def past_triggers(self) -> AsyncIterator[Any]:
        async with self.database.transaction() as tx:
            await tx.execute("set local session_replication_role = replica")
            yield tx


@pytest.fixture
def log(database: Database) -> Log:
    return Log(database)


async def _turn(duty: RoutineCheck, signals: Signals) -> int | None:
    """What one turn told."""
    before = len(signals.heard)
    with contextlib.suppress(FluxaError):
        await duty.turn()
    (told,) = [one.faults for one in signals.heard[before:] if isinstance(one, IntegrityChecked)]
    return told


async def _seen(check: LedgerCheck, state: Mapping[str, Any], database: Database) -> Verdict:
    verdict = await check(state)
    async with database.transaction() as tx:
        await verdict.keep(tx)
    return verdict


async def test_only_what_is_new_is_read_until_a_day_has_gone_by(log: Log) -> None:
    await log.write(ACME, 5)
    first = await _seen(log.check, {}, log.database)
    await log.write(ACME, 2)
    await log.write(OTHER, 1)
    async with log.past_triggers() as tx:  # before what is read again
        await tx.execute("update fluxa.ledger set actor = 'x' where tenant = 'acme' and number = 3")
    second = await _seen(log.check, first.state, log.database)
    assert (first.faults, second.faults) == (0, 0)
    log.clock.advance(DAY_S)
    third = await _seen(log.check, second.state, log.database)
    assert third.faults == 1
    assert "acme: entry 3 is not what was hashed" in third.detail


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("update fluxa.ledger set actor = 'x' where number = 7", "entry 7 is not what was hashed"),
        ("delete from fluxa.ledger where number = 6", "entry 6 is not there"),
        ("delete from fluxa.ledger where number = 7", "entry 7 is not there"),
        ("update fluxa.ledger set previous = hash where number = 6", "entry 6 does not follow entry 5"),
        ("update fluxa.ledger set hash = previous where number = 5", "is not the one that was verified before"),
        ("delete from fluxa.ledger where number > 4", "entry 5 was verified before and is not there"),
        ("delete from fluxa.ledger; delete from fluxa.ledger_heads", "entry 5 was verified before and is not there"),
        ("update fluxa.ledger_heads set number = 6", "the head says 6"),
    ],
)
async def test_what_is_done_to_new_entries_and_to_the_end_is_found_at_the_next_turn(
    log: Log, statement: str, told: str
) -> None:
    await log.write(ACME, 5)
    first = await _seen(log.check, {}, log.database)
    await log.write(ACME, 2)
    async with log.past_triggers() as tx:
        await tx.execute(statement)
    second = await _seen(log.check, first.state, log.database)
    assert second.faults >= 1
    assert told in second.detail
    third = await _seen(log.check, second.state, log.database)
    assert third.faults == second.faults, "the same faults are no more because they are seen twice"
    log.clock.advance(3600.0)
    fourth = await _seen(log.check, third.state, log.database)
    assert fourth.faults >= 1, "and they do not go away by themselves"


async def test_what_is_mended_is_found_whole_within_the_hour(log: Log) -> None:
    await log.write(ACME, 3)
    async with log.past_triggers() as tx:
        await tx.execute("update fluxa.ledger set actor = 'x' where number = 2")
    broken = await _seen(log.check, {}, log.database)
    async with log.past_triggers() as tx:
        await tx.execute("update fluxa.ledger set actor = 'user:7' where number = 2")
    assert (await _seen(log.check, broken.state, log.database)).faults == 1
    log.clock.advance(3600.0)
    assert (await _seen(log.check, broken.state, log.database)).faults == 0


async def test_a_chain_that_was_written_anew_differs_from_its_anchor(log: Log) -> None:
    await log.write(ACME, 2)
    log.anchors = [Head(ACME, 2, bytes(32), dt.datetime(2026, 1, 1, tzinfo=dt.UTC))]
    assert "not the one that was anchored" in (await log.check({})).detail


async def test_one_station_checks_and_all_of_them_know(log: Log) -> None:
    await log.write(ACME, 3)
    signals = Signals()
    one, two = log.duty("one", signals), log.duty("two", signals)
    assert await _turn(two, signals) == 0
    async with log.past_triggers() as tx:
        await tx.execute("delete from fluxa.ledger where number = 3")
    assert await _turn(one, signals) == 0, "it reads what the other one found"
    with pytest.raises(FluxaError, match="entry 3 was verified before and is not there") as failed:
        await two.turn()
    assert failed.value.code == ErrorCode.HASH_MISMATCH
    assert await _turn(one, signals) == 2
    await two.stop()
    with pytest.raises(FluxaError, match="Run: fluxa audit verify"):
        await one.turn()


async def test_a_check_that_cannot_run_is_neither_good_nor_bad(log: Log) -> None:
    await log.write(ACME, 3)
    signals = Signals()
    one, two = log.duty("one", signals), log.duty("two", signals)
    log.outage = FluxaError(ErrorCode.OBJECT_STORE_UNAVAILABLE, "The bucket does not answer.")
    with pytest.raises(FluxaError, match="does not answer"):
        await one.turn()
    assert await _turn(one, signals) is None
    assert await _turn(two, signals) is None
    log.outage = None
    assert await _turn(one, signals) == 0
    assert await _turn(two, signals) == 0


async def test_the_alarm_sees_the_worst_that_a_running_process_knows_and_unknown_else(log: Log) -> None:
    metrics = Metrics()

    async def sample(process: str, faults: int | None, *, ended: bool = False) -> None:
        metrics.hear(IntegrityChecked("ledger", faults))
        gauges = dict.fromkeys((LEDGER_FAULTS,), 0.0) if faults is None else {LEDGER_FAULTS: float(faults)}
        shown = {} if not metrics.totals("fluxa_ledger_faults") else gauges
        sampler = Sampler(
            log.database, process, "station", lambda: ({}, shown), clock=SystemClock(), hook=Signals().hear
        )
        await sampler.write(ended=ended)

    async def reading() -> float | None:
        (found,) = gauged(await Samples(log.database).processes(), LEDGER_FAULTS)
        return found.value

    assert await reading() is None
    await sample("a", 0)
    await sample("b", 3)
    assert await reading() == 3
    await sample("b", 3, ended=True)
    assert await reading() == 0
    await sample("a", None)
    assert await reading() is None


def test_what_is_not_known_is_absent_from_the_metrics() -> None:
    metrics = Metrics()

    def lines() -> list[str]:
        return [line for line in metrics.exposition().decode().splitlines() if line.startswith("fluxa_ledger_faults")]

    assert lines() == []
    metrics.hear(IntegrityChecked("ledger", 2))
    assert lines() == ["fluxa_ledger_faults 2.0"]
    metrics.hear(IntegrityChecked("ledger", None))
    assert lines() == []
