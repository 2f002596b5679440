"""Debian's Prometheus and Alertmanager take our files, read a running stack, and tell of real faults until they end."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from fluxa.operations.monitoring.dashboard import dashboard, expressions
from fluxa.operations.monitoring.pages import buckets_by, quantile, read
from fluxa.postgres.pool import Database
from house.tree import ROOT
from integration.operations.monitoring.watchers import PACKAGES, Ports, Watchers, ports, program, watchers
from making.stack import Program, fluxa, stack, until

pytestmark = [
    *(pytest.mark.system(package) for package in PACKAGES),
]

# Windows of five seconds instead of five minutes, so that a rate falls as soon as its cause has ended.
_ALARMS = {"AuthenticationFailures": {"threshold": 30, "clear_at": 15, "window_s": 5}}


def _accepted(*command: str) -> str:
    done = subprocess.run([program(command[0]), *command[1:]], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.req("OBS-4", "ALARM-1")
def test_the_files_that_come_with_fluxa_are_accepted() -> None:
    deploy = ROOT / "deploy"
    assert "SUCCESS" in _accepted("promtool", "check", "rules", str(deploy / "prometheus" / "fluxa.rules.yml"))
    assert "SUCCESS" in _accepted("promtool", "check", "config", str(deploy / "prometheus" / "prometheus.yml"))
    assert "SUCCESS" in _accepted("amtool", "check-config", str(deploy / "alertmanager" / "alertmanager.yml"))


@contextlib.asynccontextmanager
async def _watched(tmp_path: Path, database_url: str) -> AsyncIterator[tuple[Program, Watchers]]:
    """A stack, with both programs watching it by the files that it wrote for them."""
    home, folder = tmp_path / "home", tmp_path / "watching"
    settings = {
        "FLUXA_DATABASE_URL": database_url,
        "FLUXA_ALARMS": json.dumps(_ALARMS),
        "FLUXA_RUNBOOK_URL": "https://books.example/{runbook}",
    }
    async with ports() as at, stack(home, **settings) as up:
        await asyncio.to_thread(_write, home, folder, at, settings)
        _accepted("promtool", "check", "config", str(folder / "prometheus.yml"))
        _accepted("promtool", "check", "rules", str(folder / "fluxa.rules.yml"))
        _accepted("amtool", "check-config", str(folder / "alertmanager.yml"))
        async with watchers(folder, at) as watching:
            services = len(up.state["children"])
            await watching.until('up{product="fluxa"} == 1', lambda found: len(found) == services)
            yield up, watching


def _write(home: Path, folder: Path, at: Ports, settings: dict[str, str]) -> None:
    options = ["--alertmanager", f"127.0.0.1:{at.alertmanager}", "--receiver", at.receiver.url]
    options += ["--every", "0.5", "--wait", "0.2", "--hold", "0"]
    done = fluxa("metrics", "files", str(folder), *options, home=home, stdin=b"", **settings)
    assert done.returncode == 0, done.stderr


def _client(up: Program) -> httpx.AsyncClient:
    headers = {"authorization": f"Bearer {up.api_key}", "content-type": "application/cloudevents+json"}
    return httpx.AsyncClient(headers=headers, trust_env=False, timeout=30)


def _event(number: int) -> dict[str, Any]:
    return {"specversion": "1.0", "id": f"e{number}", "source": "/t", "type": "t", "data": number}


@pytest.mark.req("OBS-1", "OBS-4")
async def test_a_strangers_prometheus_reads_every_process_and_answers_everything_the_dashboard_asks(
    tmp_path: Path, database: Database, database_url: str
) -> None:
    async with _watched(tmp_path, database_url) as (up, watching), _client(up) as client:
        url = up.state["ingest_url"]
        for number in range(30):
            assert (await client.post(f"{url}/v1/events", json=_event(number))).status_code == httpx.codes.ACCEPTED
        await watching.until(
            'fluxa_stage_events_total{stage="persist",status="success"}',
            lambda found: [one["value"][1] for one in found] == ["30"],
        )
        for expression in expressions(dashboard()):
            await watching.ask(expression.replace("$__rate_interval", "5s").replace("$job", ".*"))
        jobs = {one["metric"]["job"] for one in await watching.ask("process_resident_memory_bytes")}
        assert jobs == {"fluxa-ingest", "fluxa-query", "fluxa-processor", "fluxa-station"}

        # Our own quantile is theirs.
        asked = 'histogram_quantile(0.95, http_request_duration_seconds_bucket{route="events_post",status_code="202"})'
        (theirs,) = await watching.until(asked)
        page = read(url, (await client.get(f"{url}/metrics")).text, now_s=0.0)
        ours = quantile(0.95, buckets_by([page], "http_request_duration_seconds", "route")["events_post"])
        assert ours == pytest.approx(float(theirs["value"][1]))

        # Other routes may be recorded before: whoever reads metrics asks at once.
        assert await watching.until(
            'job_method_route_status_code:http_request_duration_seconds:p95_5m{route="events_post"}'
        )
    assert await database.fetch_value("select count(*) from fluxa.events") == 30


@pytest.mark.req("ALARM-2", "ALARM-1", "SEC-3")
async def test_real_faults_fire_through_prometheus_and_alertmanager_and_are_over_when_they_end(
    tmp_path: Path, database: Database, database_url: str
) -> None:
    async with _watched(tmp_path, database_url) as (up, watching), _client(up) as client:
        # A record that nobody can read is put aside; then somebody deletes it.
        await database.execute("""select pgmq.send('events', '{"no": "envelope"}'::jsonb)""")
        fired = await watching.hears("DLQDepth", "firing")
        assert fired["labels"]["queue"] == "events"
        assert fired["labels"]["severity"] == "warning"
        assert fired["annotations"]["runbook_url"] == "https://books.example/dlq-triage"
        assert "fluxa dlq list" in fired["annotations"]["first_action"]
        done = await asyncio.to_thread(
            lambda: fluxa(
                *("dlq", "purge", "--queue", "events", "--all", "--yes"),
                home=tmp_path / "home",
                stdin=b"",
                FLUXA_DATABASE_URL=database_url,
            )
        )
        assert done.returncode == 0, done.stderr
        await watching.hears("DLQDepth", "resolved")

        # Somebody tries keys, and gives up.
        async def tried() -> bool:
            answer = await client.get(f"{up.state['query_url']}/v1/events", headers={"authorization": "Bearer no"})
            assert answer.status_code in {httpx.codes.UNAUTHORIZED, httpx.codes.TOO_MANY_REQUESTS}
            return bool(watching.alerts("AuthenticationFailures", "firing"))

        await until(tried, timeout_s=60)
        await watching.hears("AuthenticationFailures", "resolved")

        # The station hangs, and with it everybody who looks at Fluxa's own alarms.
        station = up.state["children"]["station"]
        os.kill(station, signal.SIGSTOP)
        try:
            fired = await watching.hears("TargetDown", "firing")
            assert fired["labels"]["job"] == "fluxa-station"
            await watching.hears("AlarmsUnwatched", "firing")
        finally:
            os.kill(station, signal.SIGCONT)
        await watching.hears("TargetDown", "resolved")
        await watching.hears("AlarmsUnwatched", "resolved")
