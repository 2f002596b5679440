"""The audit log against a model: random acts, rollbacks, exports, anchors, sinks, checks, and tampering (SEC-3)."""

import asyncio
import contextlib
import json
import random
import uuid
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from typing_extensions import override

from fluxa.auth.audit import Act
from fluxa.kernel.clock import SystemClock
from fluxa.kernel.ids import Tenant
from fluxa.operations.ledger import Head, Ledger
from fluxa.operations.ledger.anchors import Anchors
from fluxa.operations.ledger.export import export, verify_lines
from fluxa.operations.ledger.sinks.cursors import Cursors
from fluxa.operations.ledger.sinks.files import FileSink
from fluxa.operations.ledger.sinks.sending import Sending, SendingConfig
from fluxa.operations.ledger.verify import Verifier
from fluxa.operations.ledger.watch import LedgerCheck
from fluxa.postgres.pool import Database
from fluxa.providers.vendors.object_store import open_objects
from fluxa.telemetry.catalogue import silent
from integration.operations.ledger.tampering import TAMPERINGS, head_of, sealed, write
from making.machines.driving import drive, own_database

pytestmark = pytest.mark.req("SEC-3")

T = TypeVar("T")
_TENANTS = tuple(Tenant(name) for name in ("acme", "other", "third"))
_WHO = st.sampled_from(_TENANTS)
_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=20)


class LedgerMachine(RuleBasedStateMachine):
    """One audit log, a folder of anchors, a file that it is sent to, and a check that goes round."""

    def __init__(self, run: Callable[[Coroutine[Any, Any, Any]], Any], database: Database, folder: Path) -> None:
        super().__init__()
        self._run = run
        self.database = database
        self.ledger = Ledger(database)
        self.place = folder / uuid.uuid4().hex
        self.anchors = Anchors(open_objects((self.place / "anchors").as_uri()))
        self.check = LedgerCheck(database, self._kept, clock=SystemClock(), whole_every_s=3600.0)
        self.state: dict[str, Any] = {}
        self.acts: dict[Tenant, list[tuple[str, str]]] = {tenant: [] for tenant in _TENANTS}
        self.anchored: dict[Tenant, int] = dict.fromkeys(_TENANTS, 0)
        self.checked: dict[Tenant, int] = dict.fromkeys(_TENANTS, 0)

    async def _kept(self) -> list[Head]:
        return await self.anchors.all()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do it on the one loop of the test."""
        result: T = self._run(work)
        return result

    @initialize()
    def begin(self) -> None:
        async def clean() -> None:
            async with self.database.transaction() as tx:
                await tx.execute("set local session_replication_role = replica")
                for table in ("ledger", "ledger_heads", "ledger_checkpoints", "ledger_cursors", "ledger_sinks"):
                    await tx.execute(f"delete from fluxa.{table}")  # noqa: S608 - a constant

        self.run(clean())

    @rule(acts=st.lists(st.tuples(_WHO, _TEXT, _TEXT), min_size=1, max_size=5), commits=st.booleans())
    def record(self, acts: list[tuple[Tenant, str, str]], *, commits: bool) -> None:
        async def write_down() -> None:
            async with self.database.transaction() as tx:
                for tenant, actor, subject in acts:
                    await self.ledger.record(tx, Act(tenant, actor, "thing.changed", subject, {"n": subject}))
                if not commits:
                    raise ZeroDivisionError

        with contextlib.suppress(ZeroDivisionError):
            self.run(write_down())
        if commits:
            for tenant, actor, subject in acts:
                self.acts[tenant].append((actor, subject))

    @rule(counts=st.lists(st.tuples(_WHO, st.integers(1, 4)), min_size=2, max_size=4))
    def record_side_by_side(self, counts: list[tuple[Tenant, int]]) -> None:
        """Several connections take turns in an order that nobody knows, so that all say the same."""

        async def many(tenant: Tenant, count: int) -> None:
            for _ in range(count):
                async with self.database.transaction() as tx:
                    await self.ledger.record(tx, Act(tenant, "many", "thing.changed", "side by side"))

        async def all_of_them() -> None:
            await asyncio.gather(*(many(tenant, count) for tenant, count in counts))

        self.run(all_of_them())
        for tenant, count in counts:
            self.acts[tenant] += [("many", "side by side")] * count

    @rule()
    def anchor(self) -> None:
        async def keep() -> None:
            await self.anchors.write(await self.ledger.heads())

        self.run(keep())
        self.anchored = {tenant: len(acts) for tenant, acts in self.acts.items()}

    @rule()
    def go_round(self) -> None:
        async def turn() -> None:
            verdict = await self.check(self.state)
            assert verdict.faults == 0, verdict.detail
            async with self.database.transaction() as tx:
                await verdict.keep(tx)
            self.state = dict(verdict.state)

        self.run(turn())
        self.checked = {tenant: len(acts) for tenant, acts in self.acts.items()}

    @rule(tenant=st.none() | _WHO, after=st.integers(0, 5))
    def take_out(self, tenant: Tenant | None, after: int) -> None:
        async def lines() -> list[bytes]:
            return [line async for line in export(self.ledger, tenant, after=after)]

        taken = self.run(lines())
        report = verify_lines(taken, self.run(self._kept()))
        assert report.findings == []
        meant = [one for one in _TENANTS if tenant in (None, one)]
        assert report.entries == sum(max(0, len(self.acts[one]) - after) for one in meant)
        if len(taken) > 2 and report.entries:
            place = next(number for number, line in enumerate(taken) if b'"line":"entry"' in line)
            assert verify_lines([*taken[:place], *taken[place + 1 :]]).faults, "a line that is gone is found"

    @rule()
    def send_on(self) -> None:
        path = self.place / "sent"
        sink = FileSink(path, rotate_bytes=0, stamp=str)
        sending = Sending(
            "disk",
            sink,
            Cursors(self.database),
            holder="machine",
            config=SendingConfig(),
            clock=SystemClock(),
            hook=silent,
            chance=lambda: 0.5,
        )
        self.run(sending.send())
        sent = [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []
        for tenant, acts in self.acts.items():
            assert [(one["actor"], one["subject"]) for one in sent if one["tenant"] == tenant] == acts

    @rule(seed=st.integers(0, 2**32))
    def tamper(self, seed: int) -> None:
        """In many ways, each with each tenant; all of it is undone."""
        for number in range(2):
            for tenant in _TENANTS:
                for heads in (False, True):
                    self._tamper(tenant, seed + number, heads=heads)

    @override
    def teardown(self) -> None:
        """However the run went, at its end somebody tampers."""
        self.tamper(len(self.acts[_TENANTS[0]]))

    def _tamper(self, tenant: Tenant, seed: int, *, heads: bool) -> None:
        """As somebody with every right could; with the head put right, only what is kept elsewhere tells."""
        rng = random.Random(seed)  # noqa: S311 - not a secret

        async def try_it() -> None:
            entries = await self.ledger.after(tenant, 0, limit=10_000)
            if len(entries) < 2:
                return
            altered, first = rng.choice(TAMPERINGS)(entries, rng)
            if heads:  # a forger who knows the form writes all of it anew
                place = rng.randrange(len(entries))
                altered, first = entries[:place], place + 1
                for old in entries[place:] if rng.random() < 0.5 else []:
                    previous = altered[-1].hash if altered else old.previous
                    forged = sealed(type(old)(*(*_values(old)[:4], "somebody", *_values(old)[5:9], previous, b"")))
                    altered.append(forged)
            if altered == entries:
                return
            known = max(self.anchored[tenant], self.checked[tenant])
            async with self.database.connection() as handle:
                transaction = handle.connection.transaction()
                await transaction.start()
                await handle.execute("set local session_replication_role = replica")
                await handle.execute("delete from fluxa.ledger where tenant = $1", tenant)
                new_head = head_of(altered[-1]) if heads and altered else head_of(entries[-1])
                if heads:
                    await handle.execute("delete from fluxa.ledger_heads where tenant = $1", tenant)
                await write(handle, altered, [new_head] if heads and altered else [])
                checkpoints = await handle.fetch("select tenant, number, hash, at from fluxa.ledger_checkpoints")
                kept = [*await self._kept(), *(Head(*row) for row in checkpoints)]
                report = await Verifier(self.database).verify(anchors=kept, tx=handle)
                await transaction.rollback()
            assert {one.tenant for one in report.findings} <= {tenant}
            if not heads:
                assert report.faults, "it was altered, and nobody saw it"
            elif first is not None:
                assert bool(report.faults) is (known >= first), "what was anchored or checked is safe, and only that"

        self.run(try_it())

    @invariant()
    def the_log_is_what_was_committed(self) -> None:
        async def look() -> None:
            report = await Verifier(self.database).verify(anchors=await self._kept())
            assert report.findings == []
            assert report.entries == sum(len(acts) for acts in self.acts.values())
            for tenant, acts in self.acts.items():
                entries = await self.ledger.after(tenant, 0, limit=10_000)
                assert [(entry.actor, entry.subject) for entry in entries] == acts
                assert [entry.number for entry in entries] == list(range(1, len(acts) + 1))

        self.run(look())


def _values(entry: Any) -> tuple[Any, ...]:  # noqa: ANN401 - of all its fields
    return tuple(getattr(entry, name) for name in entry.__struct_fields__)


def test_the_audit_log_does_what_the_model_says(postgres_server: str, tmp_path: Path) -> None:
    with own_database(postgres_server) as (runner, database):
        drive(lambda: LedgerMachine(runner.run, database, tmp_path), examples=12, steps=20)
