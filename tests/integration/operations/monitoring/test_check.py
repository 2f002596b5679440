"""`fluxa metrics check` against real processes of this home, others that answer badly, and none."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from fluxa.operations.monitoring.pages import Page, read
from making.stack import Program, fluxa, stack, until

pytestmark = [pytest.mark.req("OBS-5", "OBS-1")]

# How long things take on a busy machine is not asked here.
PATIENT = tuple(
    f"{option}={check}=1000000" for option in ("--warn", "--fail") for check in ("request_p95", "slow_statements")
)


async def _check(home: Path, *args: str, **settings: str) -> tuple[int, dict[str, dict[str, Any]]]:
    done = await asyncio.to_thread(lambda: fluxa("metrics", "check", "--json", *args, home=home, stdin=b"", **settings))
    assert done.stdout, done.stderr
    return done.returncode, {one["check"]: one for one in json.loads(done.stdout)["checks"]}


async def test_a_stack_is_well_until_a_fault_and_the_check_names_it(tmp_path: Path) -> None:
    async with stack(tmp_path) as program:
        key = {"authorization": f"Bearer {program.api_key}"}
        await _looked_at(program)
        code, found = await _check(tmp_path, *PATIENT)
        assert code == 0
        assert not {name: one for name, one in found.items() if one["verdict"] != "ok"}
        assert found["targets"]["said"] == "all 4 were read"

        async with httpx.AsyncClient(trust_env=False, headers=key) as client:
            url = f"{program.state['ingest_url']}/v1/events"
            for _ in range(40):
                assert (await client.post(url, headers={"authorization": "Bearer flx_no"})).status_code == 401
            event = {"specversion": "1.0", "id": "a", "source": "/t", "type": "t"}
            form = {"content-type": "application/cloudevents+json"}
            for _ in range(120):
                assert (await client.post(url, json=event, headers=form)).status_code == 202
        code, found = await _check(
            tmp_path, "--fail", "authentication_failures=1", FLUXA_METRICS_CHECKS='{"request_p95": {"warning": 0}}'
        )
        assert code == 1
        assert found["authentication_failures"]["verdict"] == "failed"
        assert found["request_p95"]["verdict"] == "warning"
        assert found["request_p95"]["subject"] == "events_post"
        assert 0 < found["request_p95"]["value"] < 10

        code, found = await _check(tmp_path, "--fail", "cache_hit_rate=100")
        lowest = found["cache_hit_rate"]
        assert (code, lowest["verdict"], lowest["comparison"]) == (1, "failed", "below")
        ingest = await _page(program.state["ingest_url"])
        assert ingest.total("fluxa_cache_requests_total", cache="api_keys", result="miss") < 10
        assert ingest.total("fluxa_cache_requests_total", cache="api_keys", result="hit") >= 110
        assert lowest["value"] <= 100 * 119 / 120, "the key was looked up once, so no cache can be better than its own"

        code, found = await _check(tmp_path, "--over", "0.2", "--fail", "authentication_failures=1")
        assert code == 0
        assert found["authentication_failures"]["value"] == 0, "nobody was refused meanwhile"

        shown = await asyncio.to_thread(fluxa, "metrics", "check", home=tmp_path)
        assert "request_p95" in shown.stdout


async def _page(url: str) -> Page:
    async with httpx.AsyncClient(trust_env=False) as client:
        return read(url, (await client.get(f"{url}/metrics")).text, now_s=time.time())


async def _looked_at(program: Program) -> None:
    """Wait until the station has looked at alarms and queues once."""

    async def told() -> bool:
        async with httpx.AsyncClient(trust_env=False) as client:
            return "fluxa_alarm_firing{" in (await client.get(f"{program.state['station_url']}/metrics")).text

    await until(told)


@pytest.fixture
async def odd(request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """A server that answers every request with this status and text."""
    status, text = request.param

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 {status} So\r\nContent-Length: {len(text)}\r\nConnection: close\r\n\r\n"
        writer.write((head + text).encode())
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize(
    ("odd", "said"),
    [((503, "down"), "status 503"), ((200, "<html></html>"), "no metrics page"), ((200, ""), "it holds no metrics")],
    indirect=["odd"],
)
async def test_a_target_without_a_metrics_page_is_told_and_the_rest_is_unknown(
    tmp_path: Path, odd: str, said: str
) -> None:
    code, found = await _check(tmp_path, odd)
    assert code == 1
    assert found["targets"]["verdict"] == "failed"
    assert said in found["targets"]["said"]
    assert found["server_errors"]["verdict"] == "UNKNOWN"


async def test_a_port_where_nobody_listens_is_told(tmp_path: Path) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        code, found = await _check(tmp_path, FLUXA_METRICS_TARGETS=f"127.0.0.1:{held.getsockname()[1]}")
    assert code == 1
    assert "ConnectError" in found["targets"]["said"]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--warn", "nothing=1"), "There is no check nothing"),
        (("--fail", "targets=many"), "is not CHECK=VALUE"),
        (("ftp://somewhere/metrics",), "no URL of a metrics page"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, args: tuple[str, ...], said: str) -> None:
    done = fluxa("metrics", "check", *args, home=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
