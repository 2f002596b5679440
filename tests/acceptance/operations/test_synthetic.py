"""Synthetic checks of real processes: all is well, one part after the other fails, and who checks dies."""

import asyncio
import contextlib
import json
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import httpx
import pytest

from fluxa.auth.keys.api_keys import ApiKeys
from fluxa.auth.roles import Role
from fluxa.kernel.errors import FluxaError
from fluxa.kernel.ids import SYNTHETIC
from fluxa.postgres.pool import Database
from making.stack import Program, fluxa, running, stack, until

pytestmark = pytest.mark.req("OBS-3")

_WAIT_S = 120.0
_PAGES = ("api_health", "api_ready", "health", "metrics")
_OFTEN = {"FLUXA_SYNTHETIC_EVERY_S": "1", "FLUXA_SECRET_KEY": "s3cret-" * 6}
_TABLES = ("events", "idempotency_keys", "failures")

Result = dict[tuple[str, str], str]


class Apart:
    """Services as processes of their own, on ports that stay when one is started again, and stations that check them.

    Checks are patient enough for a busy machine: who does not answer for long is not there.
    """

    def __init__(self, home: Path, database: Database, life: AsyncExitStack) -> None:
        self.database = database
        self.programs: dict[str, Program] = {}
        self.key = ""
        self.home = home
        self._life = life
        self.ports = dict(zip(("ingest", "query", "processor"), _free_ports(3), strict=True))
        self.settings = {
            **_OFTEN,
            "FLUXA_DATABASE_URL": database.config.url,
            "FLUXA_SYNTHETIC_TIMEOUT_S": "30",
            "FLUXA_SYNTHETIC_DEADLINE_S": "3",
            "FLUXA_METRICS_TARGETS": ",".join(self.target(name) for name in self.ports),
            "FLUXA_INGEST_URL": f"http://{self.target('ingest')}",
            "FLUXA_QUERY_URL": f"http://{self.target('query')}",
        }

    def target(self, service: str) -> str:
        """Host and port of a service."""
        return f"127.0.0.1:{self.ports[service]}"

    async def begin(self, service: str, name: str = "") -> Program:
        """Begin a process; ended with the test, or before."""
        port = str(self.ports.get(service, 0))
        program = await self._life.enter_async_context(
            running(service, "--port", port, home=self.home, **self.settings)
        )
        await program.line(lambda line: '"event": "ready"' in line)
        self.programs[name or service] = program
        return program

    async def ask(self, path: str, station: str = "station") -> httpx.Response:
        """Ask a station as an operator."""
        line = await self.programs[station].line(lambda line: '"event": "ready"' in line)
        async with httpx.AsyncClient(trust_env=False, timeout=60.0) as client:
            return await client.get(json.loads(line)["url"] + path, headers={"authorization": f"Bearer {self.key}"})

    async def states(self) -> Result:
        """How all checks count, as the station says."""
        answer = await self.ask("/api/synthetic")
        assert answer.status_code == httpx.codes.OK, answer.text
        return {(one["check"], one["target"]): one["state"] for one in answer.json()["checks"]}

    async def until(self, wanted: Callable[[Result], bool]) -> None:
        """Wait for checks to stand so."""
        seen: Result = {}

        async def stands() -> bool:
            nonlocal seen
            seen = await self.states()
            return wanted(seen)

        try:
            await until(stands, timeout_s=_WAIT_S)
        except TimeoutError:
            raise AssertionError(f"they stand so: {seen}") from None

    async def run(self, *args: str) -> tuple[int, dict[tuple[str, str], dict[str, Any]]]:
        """`fluxa synthetic run`."""
        done = await asyncio.to_thread(
            lambda: fluxa("synthetic", "run", "--json", *args, home=self.home, stdin=b"", **self.settings)
        )
        assert done.stdout, done.stderr
        return done.returncode, {(one["check"], one["target"]): one for one in json.loads(done.stdout)["checks"]}


def _free_ports(count: int) -> list[int]:
    """So many, held at the same time, so that none is given twice."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


@pytest.fixture
async def apart(tmp_path: Path, database: Database) -> AsyncIterator[Apart]:
    """All services, and one station."""
    async with AsyncExitStack() as life:
        processes = Apart(tmp_path, database, life)
        processes.key = (await ApiKeys(database).create("default", "test", role=Role.ADMIN)).token
        await asyncio.gather(*(processes.begin(name) for name in ("ingest", "query", "processor")))
        await processes.begin("station")
        yield processes


def _all_ok(states: Result) -> bool:
    return len(states) == 13 and set(states.values()) == {"ok"}


def _only(failed: set[tuple[str, str]]) -> Callable[[Result], bool]:
    return lambda states: len(states) == 13 and {key for key, state in states.items() if state == "failed"} == failed


async def _rows(database: Database, tenant: str = SYNTHETIC) -> list[int]:
    return [
        int(await database.fetch_value(f"select count(*) from fluxa.{table} where tenant = $1", tenant))  # noqa: S608 - names of ours
        for table in _TABLES
    ]


async def _runs(database: Database) -> int:
    return int(await database.fetch_value("select coalesce(max(run_id), 0) from fluxa.synthetic_runs"))


async def test_a_whole_stack_is_well_and_nobody_finds_anything_of_the_canaries(
    tmp_path: Path, database: Database
) -> None:
    url = database.config.url
    async with stack(tmp_path, FLUXA_DATABASE_URL=url) as program:
        done = await asyncio.to_thread(lambda: fluxa("synthetic", "run", home=tmp_path, FLUXA_DATABASE_URL=url))
        assert done.returncode == 0, done.stdout + done.stderr
        shown = await asyncio.to_thread(
            lambda: fluxa("synthetic", "run", "--json", home=tmp_path, FLUXA_DATABASE_URL=url)
        )
        checks = json.loads(shown.stdout)["checks"]
        assert len(checks) == 4 * len(_PAGES) + 1
        assert {one["result"] for one in checks} == {"ok"}
        (canary,) = [one for one in checks if one["check"] == "canary"]
        assert set(canary["legs"]) == {"accept", "store", "read"}
        assert await _rows(database) == [0, 0, 0]
        assert await database.fetch_value("select count(*) from fluxa.sessions") == 0
        assert await database.fetch_value("select count(*) from fluxa.synthetic_runs") == 0, "it was off"
        async with httpx.AsyncClient(trust_env=False) as client:
            headers = {"authorization": f"Bearer {program.api_key}"}
            found = await client.get(f"{program.state['query_url']}/v1/events", headers=headers)
        assert found.json()["items"] == []
        wrong = await asyncio.to_thread(lambda: fluxa("synthetic", "run", "nonsense", home=tmp_path))
        assert wrong.returncode == 2
        assert "There are: api_health" in wrong.stderr


async def test_a_station_checks_by_itself_and_each_part_that_fails_is_named(apart: Apart) -> None:
    await apart.until(_all_ok)

    gone = {(check, apart.target("ingest")) for check in _PAGES} | {("canary", "pipeline")}
    await apart.programs["ingest"].stop(signal.SIGKILL)
    await apart.until(_only(gone))
    page = (await apart.ask("/metrics")).text
    assert f'fluxa_synthetic_success{{check="health",target="{apart.target("ingest")}"}} 0.0' in page
    assert f'fluxa_synthetic_success{{check="health",target="{apart.target("query")}"}} 1.0' in page
    assert 'fluxa_synthetic_runs_total{check="canary",result="failed"}' in page
    assert 'fluxa_synthetic_leg_seconds_count{leg="store"}' in page
    code, found = await apart.run()
    assert code == 1
    assert found["canary", "pipeline"]["detail"] == "ingest: no answer (ConnectError)"
    assert found["health", apart.target("ingest")]["detail"] == "no answer (ConnectError)"
    await apart.begin("ingest")
    await apart.until(_all_ok)
    assert any(
        line["event"] == "synthetic check" and line["check"] == "canary" for line in apart.programs["station"].told
    )
    history = (await apart.ask("/api/synthetic/history?check=canary&bad=yes")).json()
    assert {one["result"] for one in history} == {"failed"}
    told = fluxa("synthetic", "history", "canary", "--bad", "--json", home=apart.home, stdin=b"", **apart.settings)
    assert told.stdout.count("\n") >= len(history) > 0
    listed = fluxa("synthetic", "list", home=apart.home, stdin=b"", **apart.settings)
    assert listed.stdout.count("ok") >= 13


async def test_events_that_nobody_stores_fail_the_canary_alone_and_one_waits(apart: Apart) -> None:
    await apart.until(_all_ok)
    paused = fluxa("queue", "pause", "events", "--reason", "a test", home=apart.home, stdin=b"", **apart.settings)
    assert paused.returncode == 0, paused.stderr
    await apart.until(_only({("canary", "pipeline")}))
    begun = await _runs(apart.database)

    async def three_more() -> bool:
        return await _runs(apart.database) >= begun + 3

    await until(three_more, timeout_s=_WAIT_S)
    assert await apart.database.fetch_value("select count(*) from pgmq.q_events") == 1, "one waits, however long"
    code, found = await apart.run("canary", "--deadline", "0.5")
    assert (code, set(found)) == (1, {("canary", "pipeline")})
    assert "processor: accepted, and not stored" in found["canary", "pipeline"]["detail"]
    resumed = fluxa("queue", "resume", "events", home=apart.home, stdin=b"", **apart.settings)
    assert resumed.returncode == 0, resumed.stderr
    await apart.until(_all_ok)


async def test_nothing_is_left_of_many_canaries_but_what_was_found(apart: Apart) -> None:
    await apart.until(_all_ok)

    async def ten() -> bool:
        return await _runs(apart.database) >= 10

    await until(ten, timeout_s=_WAIT_S)
    assert await apart.programs["station"].stop() == 0
    rows = await _rows(apart.database)
    if rows != [0, 0, 0]:  # the last one may have been on its way; whoever looks next finds it too old one day
        assert max(rows) == 1
        await apart.database.execute("update fluxa.idempotency_keys set received_at = received_at - interval '2 hours'")
        await apart.database.execute("update fluxa.events set received_at = received_at - interval '2 hours'")
        assert (await apart.run())[0] == 0
    assert await _rows(apart.database) == [0, 0, 0]
    assert await apart.database.fetch_value("select count(*) from fluxa.sessions where user_id = $1", SYNTHETIC) <= 1
    assert await apart.database.fetch_value("select count(*) from fluxa.request_keys") == 0
    made = "select count(*) from fluxa.ledger where tenant = $1"
    assert await apart.database.fetch_value(made, SYNTHETIC) == 0


async def test_another_station_goes_on_where_one_is_killed(apart: Apart) -> None:
    await apart.until(_all_ok)

    async def stations() -> set[str]:
        rows = await apart.database.fetch("select distinct station from fluxa.synthetic_runs")
        return {row["station"] for row in rows}

    (first,) = await stations()
    await apart.begin("station", "other")
    before = await _runs(apart.database)

    async def more() -> bool:
        return await _runs(apart.database) >= before + 2

    await until(more, timeout_s=_WAIT_S)
    assert await stations() == {first}, "two did it at once"
    await apart.programs["station"].stop(signal.SIGKILL)

    async def taken_over() -> bool:
        return len(await stations()) > 1

    await until(taken_over, timeout_s=_WAIT_S)
    apart.programs["station"] = apart.programs["other"]
    await apart.until(_all_ok)


async def test_without_postgres_pages_are_asked_and_of_the_canary_nothing_is_known(apart: Apart) -> None:
    await apart.until(_all_ok)
    address = urlsplit(apart.database.config.url)
    name = address.path[1:]
    admin = await asyncpg.connect(address._replace(path="/postgres").geturl())
    try:
        await admin.execute(f'alter database "{name}" with allow_connections false')
        await admin.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = $1", name)
        code, found = await apart.run()
        assert code == 1
        canary = found["canary", "pipeline"]
        assert canary["result"] == "UNKNOWN"
        assert canary["detail"].startswith("DB")
        by_check = {
            check: {found[check, apart.target(service)]["result"] for service in apart.ports} for check in _PAGES
        }
        assert by_check["health"] == by_check["api_health"] == {"ok"}
        assert by_check["api_ready"] == {"failed"}
        page = await apart.ask("/metrics")
        assert page.status_code == httpx.codes.OK, "what the process itself has counted is shown in an outage, too"
        assert "fluxa_synthetic_success{" not in page.text, "what is not known is absent"
        assert "fluxa_alarm_firing{" not in page.text
        assert "fluxa_outages_total" in page.text
    finally:
        await admin.execute(f'alter database "{name}" with allow_connections true')
        await admin.close()
    await apart.until(_all_ok)
    failed = await apart.database.fetch_value(
        "select count(*) from fluxa.synthetic_standings where judged = 'failed' and name = 'canary'"
    )
    assert failed == 0


async def test_nobody_can_be_given_the_tenant_of_canaries(database: Database) -> None:
    with pytest.raises(FluxaError, match="cannot name a tenant"):
        await ApiKeys(database).create(SYNTHETIC, "mine", role=Role.ADMIN)
