"""The dashboard's page in a real browser: its scripts run under its own policy, and draw what was recorded (OBS-4)."""

import asyncio
import datetime as dt
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from fluxa.operations.dashboard.board import Kept, board
from fluxa.operations.dashboard.moment import Flow, Moment, Process, Remark
from fluxa.postgres.pool import Database
from fluxa.station.dashboard.snapshot import snapshot
from identity.serving import served

pytestmark = [pytest.mark.req("OBS-4"), pytest.mark.system("chromium")]

BEGIN_S = 1_800_000_000.0


def _program() -> str:
    found = shutil.which("chromium")
    if found is None:
        pytest.skip("Chromium is not installed; on Debian: apt-get install chromium")
    return found


def _seen(url: str, folder: Path) -> str:
    """The page as it is once its scripts have run."""
    done = subprocess.run(
        [
            _program(),
            "--headless",
            "--no-sandbox",  # as root, in a container
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--no-proxy-server",
            f"--user-data-dir={folder / 'browser'}",
            "--virtual-time-budget=5000",
            "--dump-dom",
            url,
        ],
        capture_output=True,
        timeout=300,
        check=True,
    )
    return done.stdout.decode()


def test_a_page_that_was_handed_on_draws_its_panels(tmp_path: Path) -> None:
    kept = [
        Kept(
            BEGIN_S + 15 * number,
            Moment(
                over_s=15,
                up=1,
                expected=2,
                flows={"received": Flow(15, {"": number}), "answers@ingest": Flow(15, {"202": number})},
                levels={"depth": {"<b>jobs</b>": float(number)}},
                processes=[
                    Process("http://h:1/metrics", "ingest"),
                    Process("http://h:2/metrics", "query", "no answer"),
                ],
                remarks=[Remark("targets", "failed", "<i>gone</i>", "Start it.")],
            ),
        )
        for number in range(30)
    ]
    now = dt.datetime.fromtimestamp(kept[-1].at_s + 1, dt.UTC)
    file = tmp_path / "page.html"
    file.write_text(snapshot(board(kept, now=now, window_s=600, least_s=15)), "utf-8")
    page = _seen(file.as_uri(), tmp_path)
    _, _, shown = page.partition("<body>")
    shown, _, _ = shown.partition('id="kept"')
    assert "1 of 2 up" in shown
    assert shown.count("<canvas") >= 4
    assert "Not read: query (no answer)" in shown
    assert "&lt;b&gt;jobs&lt;/b&gt;" in shown
    assert "<b>" not in shown
    assert "<i>" not in shown
    assert "UNKNOWN" in shown, "what nobody read"
    assert "received 29 /s, highest 29 /s" in shown, "each chart has its words"


async def test_the_page_of_a_station_asks_who_one_is(
    database: Database, tmp_path: Path, unused_tcp_port_factory: Callable[[], int]
) -> None:
    port = unused_tcp_port_factory()
    async with served("station", database, tmp_path, port, log_level="error"):
        page = await asyncio.to_thread(_seen, f"http://127.0.0.1:{port}/dashboard", tmp_path)
    # Its script has run, under the policy that the station sends: without it nobody is asked.
    assert '<section id="enter" aria-label="Who are you?">' in page
    assert '<div id="board" hidden="">' in page
