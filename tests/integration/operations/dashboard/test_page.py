"""The dashboard's page and data as a station serves them: headers, who may see what, nothing from elsewhere (OBS-4)."""

import asyncio
import datetime as dt
import json
import re
import subprocess
from collections.abc import AsyncIterator, Callable
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest
from typing_extensions import override

from fluxa.auth.keys.api_keys import ApiKeys
from fluxa.auth.roles import Role
from fluxa.auth.scopes import Scope
from fluxa.operations.dashboard.board import Board
from fluxa.operations.dashboard.moment import Process
from fluxa.postgres.pool import Database
from fluxa.station.dashboard.page import text_of
from fluxa.station.dashboard.routes import FILES
from fluxa.station.dashboard.snapshot import snapshot
from identity.serving import served
from making.stack import fluxa, until

pytestmark = pytest.mark.req("OBS-4")


@pytest.fixture
async def client(
    database: Database, tmp_path: Path, unused_tcp_port_factory: Callable[[], int]
) -> AsyncIterator[httpx.AsyncClient]:
    port = unused_tcp_port_factory()
    targets = f"127.0.0.1:{port}"
    more = {"log_level": "error", "metrics_targets": targets, "dashboard_period_s": 0.5}
    async with served("station", database, tmp_path, port, **more) as found:
        yield found


class Parts(HTMLParser):
    """What a page is made of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


async def test_the_page_is_open_holds_no_data_and_loads_only_its_own_files(client: httpx.AsyncClient) -> None:
    page = await client.get("/dashboard")
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    (policy,) = page.headers.get_list("content-security-policy")
    given = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert given["default-src"] == "'none'"
    assert given["script-src"] == given["style-src"] == given["connect-src"] == "'self'"
    assert given["frame-ancestors"] == given["base-uri"] == given["form-action"] == "'none'"
    assert "unsafe" not in policy
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["referrer-policy"] == "no-referrer"
    parts = Parts(page.text)
    used = [attrs.get("src") or attrs.get("href") for tag, attrs in parts.tags if tag in {"script", "link", "img"}]
    files = [one for one in used if one != "data:,"]
    assert len(files) == len(FILES)
    for _, attrs in parts.tags:
        assert not [name for name in attrs if name.startswith("on") or name == "style"], attrs
    for file in files:
        assert file is not None
        assert file.startswith("/dashboard/")
        answer = await client.get(file)
        assert answer.status_code == 200
        assert answer.headers["content-type"] in {"text/javascript; charset=utf-8", "text/css; charset=utf-8"}
        assert "url(" not in answer.text
        assert "@import" not in answer.text
    assert all(attrs.get("src") for tag, attrs in parts.tags if tag == "script"), "no script stands in the page"
    other = await client.get("/health")
    assert other.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"


def test_the_page_is_for_people_of_all_kinds() -> None:
    parts = Parts(text_of("dashboard.html"))
    found: dict[str, list[dict[str, str | None]]] = {}
    for tag, attrs in parts.tags:
        found.setdefault(tag, []).append(attrs)
    assert found["html"][0]["lang"] == "en"
    labels = {one["for"] for one in found["label"]}
    for control in (*found["input"], *found["select"]):
        assert control["id"] in labels
    assert all(one.get("scope") for one in found["th"])
    assert "prefers-color-scheme: dark" in text_of("dashboard.css")
    assert "max-width" in text_of("dashboard.css")
    script = text_of("dashboard.js")
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|localStorage|sessionStorage", script
    )


def test_what_is_of_others_says_whose_it_is() -> None:
    version = re.search(r"# uPlot ([\d.]+)", text_of("uplot/README.md"))
    assert version is not None
    assert f"v{version[1]}" in text_of("uplot/uPlot.iife.min.js")[:300]
    assert "The MIT License" in text_of("uplot/LICENSE")


async def test_the_data_is_for_those_who_watch(client: httpx.AsyncClient, database: Database) -> None:
    keys = ApiKeys(database)

    async def status(tenant: str, role: Role, *scopes: Scope, path: str = "/api/dashboard") -> int:
        made = await keys.create(tenant, "k", role=role, narrowed=scopes)
        return (await client.get(path, headers={"authorization": f"Bearer {made.token}"})).status_code

    assert (await client.get("/api/dashboard")).status_code == 401
    assert await status("default", Role.ANALYST) == 200
    assert await status("default", Role.ANALYST, Scope.METRICS_READ) == 200
    assert await status("default", Role.ANALYST, Scope.QUEUES_READ) == 403
    assert await status("default", Role.INTEGRATION) == 403
    assert await status("acme", Role.ADMIN) == 403
    assert await status("default", Role.ADMIN, path="/api/dashboard?window=24h") == 200
    for wrong in ("15d", "0m", "1s", "", "x", "1h&window=2h"):
        assert await status("default", Role.ADMIN, path=f"/api/dashboard?window={wrong}") == 400, wrong
    assert await status("default", Role.ADMIN, path="/api/dashboard?until=now") == 400


async def test_a_station_alone_shows_itself_and_the_command_shows_the_same(
    client: httpx.AsyncClient, database: Database, tmp_path: Path
) -> None:
    token = (await ApiKeys(database).create("default", "k", role=Role.MANAGER)).token
    head = {"authorization": f"Bearer {token}"}

    async def board() -> dict[str, list[dict[str, object]]]:
        answer = (await client.get("/api/dashboard?window=5m", headers=head)).json()
        return {one["name"]: one["lines"] for one in answer["panels"]}

    async def served_some() -> bool:
        lines = (await board())["requests"]
        return any(value for line in lines for value in _values(line))

    await until(served_some)
    shown = await board()
    assert {line["name"] for line in shown["requests"]} == {"station"}
    assert {line["name"] for line in shown["latency"]} == {"p50", "p95", "p99"}

    def shown_by(*args: str) -> subprocess.CompletedProcess[str]:
        return fluxa("dashboard", *args, home=tmp_path, FLUXA_DATABASE_URL=database.config.url)

    told = await asyncio.to_thread(shown_by, "--once", "--window", "5m")
    assert told.returncode == 0, told.stderr
    assert "Request duration" in told.stdout
    assert "station" in told.stdout
    told = await asyncio.to_thread(shown_by, "--json", "--window", "5m")
    assert {one["name"] for one in json.loads(told.stdout)["panels"]} == set(shown)
    file = tmp_path / "page.html"
    told = await asyncio.to_thread(shown_by, "--html", str(file))
    assert told.returncode == 0, told.stderr
    assert "/dashboard/" not in " ".join(str(attrs) for _, attrs in Parts(file.read_text()).tags)


def _values(line: dict[str, object]) -> list[float | None]:
    values = line["values"]
    assert isinstance(values, list)
    return values


def test_without_any_history_the_command_says_why_and_what_to_do(database: Database, tmp_path: Path) -> None:
    url = database.config.url
    told = fluxa("dashboard", home=tmp_path, FLUXA_DATABASE_URL=url)
    assert told.returncode == 0
    assert "There is no history yet" in told.stdout
    assert "fluxa up" in told.stdout
    assert "UNKNOWN" in told.stdout
    assert fluxa("dashboard", "--window", "1y", home=tmp_path, FLUXA_DATABASE_URL=url).returncode == 2


def test_a_page_to_hand_on_holds_all_that_it_needs_and_no_text_ends_its_data() -> None:
    evil = Process("http://x/</script><script>alert(1)</script>", "ingest", "no answer <!--")
    board = Board(
        at=dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
        window_s=60,
        step_s=15,
        recorded_s=1.0,
        times=[],
        panels=[],
        processes=[evil],
        remarks=[],
    )
    page = snapshot(board)
    parts = Parts(page)
    scripts = [attrs for tag, attrs in parts.tags if tag == "script"]
    assert [one.get("id") for one in scripts] == ["kept", None, None]
    assert not [attrs for _, attrs in parts.tags if attrs.get("src")]
    data = re.search(r'id="kept">(.*?)</script>', page, re.DOTALL)
    assert data is not None
    assert json.loads(data[1])["processes"][0]["target"] == evil.target
    (policy,) = [attrs["content"] for tag, attrs in parts.tags if attrs.get("http-equiv")]
    assert policy is not None
    assert policy.count("sha256-") == 4
    assert "unsafe" not in policy
