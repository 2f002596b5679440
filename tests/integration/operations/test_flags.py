"""Feature flags on real processes: turned while they run, followed at once, written down; handlers ask OpenFeature."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from openfeature import api
from typer.testing import CliRunner

from fluxa.auth.keys.api_keys import ApiKeys
from fluxa.auth.roles import Role
from fluxa.cli.main import app as commands
from fluxa.kernel.clock import SystemClock
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.kernel.ids import Tenant
from fluxa.operations.flags import INGEST_PACKING, KNOWN, Flags, FlagWatch
from fluxa.operations.ledger import Ledger, Sought
from fluxa.postgres.listen import Listener
from fluxa.postgres.pool import Database
from fluxa.providers.vendors import openfeature
from fluxa.telemetry.catalogue import FlagChanged
from fluxa.testing.signals import Signals
from house.tree import ROOT
from identity.serving import served
from making.events import event_text

pytestmark = [pytest.mark.req("HARDEN-9")]

TENANT = Tenant("default")
AT_ONCE_S = 1.5
"""Less than the time after which a process looks by itself."""


@pytest.fixture
async def flags(database: Database) -> Flags:
    """The table."""
    return Flags(database, Ledger(database), TENANT)


@pytest.fixture
async def listener(database: Database) -> AsyncIterator[Listener]:
    """Hears changes."""
    listener = Listener(database.config)
    await listener.start()
    yield listener
    await listener.stop()


async def _events(database: Database) -> int:
    return int(await database.fetch_value("select count(*) from pgmq.q_events"))


async def test_packing_is_turned_off_and_on_again_while_ingest_runs(
    flags: Flags, database: Database, tmp_path: Path, unused_tcp_port: int
) -> None:
    key = (await ApiKeys(database).create("default", "sender", role=Role.INTEGRATION)).token
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/x-ndjson"}
    sent = iter(range(1_000_000))

    async with served("ingest", database, tmp_path, unused_tcp_port) as client:

        async def messages() -> int:
            """How many ten events make."""
            before = await _events(database)
            lines = [event_text(f"e{next(sent)}") for _ in range(10)]
            answer = await client.post("/v1/events", content=b"\n".join(lines), headers=headers)
            assert answer.status_code == 202, answer.text
            return await _events(database) - before

        assert await messages() == 1
        for is_on, expected in ((False, 10), (True, 1)):
            await flags.put(INGEST_PACKING.name, is_on=is_on, by="cli:ada")
            async with asyncio.timeout(AT_ONCE_S):
                while await messages() != expected:  # noqa: ASYNC110 - what it waits for happens in the server
                    await asyncio.sleep(0.02)
        await flags.put(INGEST_PACKING.name, is_on=False, by="cli:ada")
        await flags.reset(INGEST_PACKING.name, by="cli:ada")
        async with asyncio.timeout(2 * AT_ONCE_S):
            while await messages() != 1:  # noqa: ASYNC110 - likewise
                await asyncio.sleep(0.02)


async def test_handlers_ask_openfeature_and_hear_of_changes_at_once(flags: Flags, listener: Listener) -> None:
    signals = Signals()
    watch = FlagWatch(flags, listener=listener, clock=SystemClock(), hook=signals.hear, period_s=60)
    await watch.start()
    try:
        openfeature.install(watch.given)
        client = api.get_client()
        assert client.get_boolean_value("pricing.new", default_value=True) is True
        assert client.get_boolean_value("pricing.new", default_value=False) is False
        assert client.get_string_value("pricing.new", default_value="old") == "old"
        await flags.put("pricing.new", is_on=True, by="cli:ada", reason="a try")
        async with asyncio.timeout(AT_ONCE_S):
            while not client.get_boolean_value("pricing.new", default_value=False):  # noqa: ASYNC110 - a table
                await asyncio.sleep(0.02)
        await flags.reset("pricing.new", by="cli:ada")
        async with asyncio.timeout(AT_ONCE_S):
            while client.get_boolean_value("pricing.new", default_value=False):  # noqa: ASYNC110 - a table
                await asyncio.sleep(0.02)
        told = [signal for signal in signals.heard if isinstance(signal, FlagChanged)]
        assert told == [FlagChanged("pricing.new", True, "cli:ada", "a try"), FlagChanged("pricing.new", None)]
    finally:
        await watch.stop()
        api.clear_providers()


async def test_every_change_is_written_down_and_what_is_no_flag_is_refused(flags: Flags, database: Database) -> None:
    await flags.put("pricing.new", is_on=True, by="cli:ada", reason="a try\x00")
    await flags.put("pricing.new", is_on=False, by="cli:ada")
    await flags.reset("pricing.new", by="cli:ada")
    entries = await Ledger(database).page(TENANT, Sought(subject="flag:pricing.new"), limit=10)
    assert [entry.action for entry in entries] == ["flag.reset", "flag.changed", "flag.changed"]
    assert json.loads(entries[2].detail) == {"before": None, "is_on": True, "reason": "a try"}
    assert json.loads(entries[1].detail)["before"] is True
    assert [(one.name, one.is_on) for one in await flags.all()] == [(INGEST_PACKING.name, True)]
    with pytest.raises(FluxaError) as caught:
        await flags.reset("pricing.new", by="cli:ada")
    assert caught.value.code == ErrorCode.NOT_FOUND
    for name in ("", "Pricing", "a b", "a" * 101, "x\x00", "é"):
        with pytest.raises(FluxaError) as caught:
            await flags.put(name, is_on=True, by="cli:ada")
        assert caught.value.code == ErrorCode.INVALID_REQUEST


def test_the_page_names_every_flag_of_our_own() -> None:
    page = (ROOT / "docs" / "recipes" / "flags.md").read_text("utf-8")
    assert set(re.findall(r"^\| `(\S+)` \| (on|off) ", page, re.MULTILINE)) == {
        (flag.name, "on" if flag.default else "off") for flag in KNOWN.values()
    }


async def test_flags_are_shown_and_turned_over_http_by_those_who_run_the_work(
    database: Database, tmp_path: Path, unused_tcp_port: int
) -> None:
    async def bearing(role: Role, tenant: str = "default") -> dict[str, str]:
        made = await ApiKeys(database).create(tenant, f"{tenant} {role}", role=role)
        return {"Authorization": f"Bearer {made.token}", "X-Correlation-ID": "story-7"}

    manager, path = await bearing(Role.MANAGER), "/api/flags/pricing.new"
    async with served("station", database, tmp_path, unused_tcp_port) as client:
        listed = (await client.get("/api/flags", headers=await bearing(Role.ANALYST))).json()
        assert [(one["name"], one["is_on"], one["changed_at"]) for one in listed["flags"]] == [
            (INGEST_PACKING.name, True, None)
        ]
        turned = await client.put(path, headers=manager, json={"is_on": True, "reason": "a try"})
        assert turned.status_code == 200
        assert (turned.json()["is_on"], turned.json()["reason"]) == (True, "a try")
        by = turned.json()["changed_by"]
        assert by.startswith("key:")
        for others in (await bearing(Role.ANALYST), await bearing(Role.ADMIN, "acme")):
            for method in ("PUT", "DELETE"):
                assert (await client.request(method, path, headers=others, json={"is_on": False})).status_code == 403
        for content in (b"{}", b'{"is_on": "yes"}', b'{"is_on": true, "tenant": "acme"}', b'{"is_on": 1}', b"{"):
            assert (await client.put(path, headers=manager, content=content)).status_code == 400, content
        for name in ("Pricing", "a%00", "%C3%A9", "a" * 101):
            for method in ("PUT", "DELETE"):
                answer = await client.request(method, f"/api/flags/{name}", headers=manager, json={"is_on": True})
                assert (answer.status_code, answer.json()["code"]) == (400, "InvalidRequest"), name
        assert (await client.delete(path, headers=manager)).status_code == 204
        assert (await client.delete(path, headers=manager)).status_code == 404
    entries = await Ledger(database).page(TENANT, Sought(subject="flag:pricing.new"), limit=10)
    assert [(entry.action, entry.actor, entry.correlation_id) for entry in entries] == [
        ("flag.reset", by, "story-7"),
        ("flag.changed", by, "story-7"),
    ]


def test_the_commands_show_and_turn_flags(database_url: str, tmp_path: Path) -> None:
    def run(*words: str) -> str:
        given = ["--home", str(tmp_path), "--set", f"database_url={database_url}", "flag", *words]
        done = CliRunner().invoke(commands, given)
        assert done.exit_code == 0, done.output
        return done.output

    assert json.loads(run("list", "--json"))["name"] == INGEST_PACKING.name
    assert "is off from now on" in run("off", INGEST_PACKING.name, "--reason", "a reader of ours")
    assert json.loads(run("list", "--json"))["is_on"] is False
    assert json.loads(run("on", "pricing.new", "--json"))["is_on"] is True
    assert "as the code has it" in run("reset", "pricing.new")
    assert "a reader of ours" in run("list")
