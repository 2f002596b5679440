"""The dashboard of real processes: its numbers are what was sent; who dies is a gap; a station is followed (OBS-4)."""

import contextlib
import re
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from fluxa.auth.keys.api_keys import ApiKeys
from fluxa.auth.roles import Role
from fluxa.kernel import json
from fluxa.postgres.pool import Database
from making.stack import Program, running, stack, until

pytestmark = pytest.mark.req("OBS-4")

FORM = {"content-type": "application/cloudevents+json"}


async def _moments(database: Database) -> list[dict[str, Any]]:
    rows = await database.fetch("select moment::text as text from fluxa.dashboard_moments where is_fine order by at")
    return [json.decode(row["text"]) for row in rows]


async def _counted(database: Database, source: str, subject: str = "") -> float:
    """How many, over all that was written down."""
    flows = [one["flows"].get(source) for one in await _moments(database)]
    return float(sum(flow["per_s"].get(subject, 0.0) * flow["over_s"] for flow in flows if flow is not None))


async def _last(database: Database) -> dict[str, Any]:
    return (await _moments(database))[-1]


async def _send(client: httpx.AsyncClient, url: str, count: int) -> None:
    for number in range(count):
        event = {"specversion": "1.0", "id": f"{url}{number}", "source": "/t", "type": "t"}
        assert (await client.post(f"{url}/v1/events", json=event, headers=FORM)).status_code == 202


async def test_what_a_whole_stack_did_is_what_the_dashboard_says(tmp_path: Path, database: Database) -> None:
    settings = {"FLUXA_DATABASE_URL": database.config.url, "FLUXA_DASHBOARD_PERIOD_S": "1"}
    async with stack(tmp_path, **settings) as program:
        head = {"authorization": f"Bearer {program.api_key}"}
        async with httpx.AsyncClient(trust_env=False, headers=head, timeout=60) as client:

            async def is_known() -> bool:
                return "stored" in (moments[-1] if (moments := await _moments(database)) else {"flows": {}})["flows"]

            await until(is_known)
            await _send(client, program.state["ingest_url"], 37)
            for _ in range(5):
                answer = await client.get(
                    f"{program.state['query_url']}/v1/events", headers={"authorization": "Bearer x"}
                )
                assert answer.status_code == 401

            async def has_all() -> bool:
                return round(await _counted(database, "stored"), 3) >= 37

            await until(has_all)

            async def has_refusals() -> bool:
                return round(await _counted(database, "answers@query", "401"), 3) >= 5

            await until(has_refusals)
            assert await _counted(database, "received") == pytest.approx(37)
            assert await _counted(database, "stored") == pytest.approx(37)
            assert await _counted(database, "answers@ingest", "202") == pytest.approx(37)
            assert await _counted(database, "answers@query", "401") == pytest.approx(5)
            spreads = [one["spreads"].get("seconds@ingest", {}).get("", {}) for one in await _moments(database)]
            assert sum(one.get("+Inf", 0.0) for one in spreads) == pytest.approx(37)
            shown = (await client.get(f"{program.state['station_url']}/api/dashboard?window=5m")).json()
    assert {one["service"] for one in shown["processes"]} == {"ingest", "query", "processor", "station"}
    values = {
        line["name"]: line["values"]
        for panel in shown["panels"]
        if panel["name"] == "events"
        for line in panel["lines"]
    }
    assert max(value for value in values["stored"] if value is not None) > 0
    durations = next(one for one in shown["panels"] if one["name"] == "latency")["lines"]
    assert [line["name"] for line in durations] == ["p50", "p95", "p99"]
    assert max(value or 0.0 for value in durations[0]["values"]) > 0


@contextlib.asynccontextmanager
async def apart(folder: Path, database: Database, ports: Mapping[str, int]) -> AsyncIterator[dict[str, Program]]:
    """An ingest and two stations, each a process of its own, which know where all three are."""
    settings = {
        "FLUXA_DATABASE_URL": database.config.url,
        "FLUXA_DASHBOARD_PERIOD_S": "1",
        "FLUXA_METRICS_TARGETS": ",".join(f"127.0.0.1:{port}" for port in ports.values()),
        "FLUXA_LOG_LEVEL": "error",
        "FLUXA_SECRET_KEY": "s" * 43,
    }
    async with contextlib.AsyncExitStack() as opened:
        found = {}
        for name, port in ports.items():
            command = "ingest" if name == "ingest" else "station"
            run = running(command, "--port", str(port), home=folder / name, **settings)
            found[name] = await opened.enter_async_context(run)
        yield found


def _is_of(program: Program, holder: str) -> bool:
    return re.search(rf"\b{program.process.pid}\b", holder) is not None


async def _holder(database: Database) -> str:
    return str(await database.fetch_value("select holder from fluxa.check_turns where name = 'dashboard'"))


async def test_a_process_that_is_killed_is_a_gap_and_a_station_that_is_killed_is_followed(
    tmp_path: Path, database: Database, unused_tcp_port_factory: Callable[[], int]
) -> None:
    token = (await ApiKeys(database).create("default", "test", role=Role.ADMIN)).token
    ports = {name: unused_tcp_port_factory() for name in ("ingest", "first", "second")}
    head = {"authorization": f"Bearer {token}"}
    async with (
        apart(tmp_path, database, ports) as programs,
        httpx.AsyncClient(trust_env=False, headers=head, timeout=60) as client,
    ):

        async def all_are_up() -> bool:
            moments = await _moments(database)
            return bool(moments) and moments[-1]["up"] == 3 and "received" in moments[-1]["flows"]

        await until(all_are_up, timeout_s=60)
        await _send(client, f"http://127.0.0.1:{ports['ingest']}", 8)

        async def counted() -> bool:
            return round(await _counted(database, "received"), 3) == 8

        await until(counted)
        await programs["ingest"].stop(signal.SIGKILL)

        async def is_missed() -> bool:
            gap.update(await _last(database))
            return [one["service"] for one in gap["processes"] if one["reason"]] == ["ingest"]

        gap: dict[str, Any] = {}
        await until(is_missed)
        assert (gap["up"], gap["expected"]) == (2, 3)
        assert "received" not in gap["flows"]
        assert "answers@ingest" not in gap["flows"]
        assert "answers@station" in gap["flows"]
        alive = "first" if _is_of(programs["first"], await _holder(database)) else "second"
        other = "second" if alive == "first" else "first"
        former = await _holder(database)
        await programs[alive].stop(signal.SIGKILL)

        async def goes_on() -> bool:
            last = await _last(database)
            return await _holder(database) != former and last["up"] == 1 and "answers" not in last["flows"]

        await until(goes_on, timeout_s=60)
        assert _is_of(programs[other], await _holder(database))
        answer = await client.get(f"http://127.0.0.1:{ports[other]}/api/dashboard?window=5m")
        events = next(one for one in answer.json()["panels"] if one["name"] == "events")
        received = next(line for line in events["lines"] if line["name"] == "received")["values"]
        assert received[-2] is None, "what nobody could count is no zero"
