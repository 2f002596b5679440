"""The station in a whole stack beside the worker: steered over HTTP, called by cron as the papers say."""

import asyncio
import functools
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from fluxa.kernel.clock import SystemClock
from fluxa.postgres.pool import Database
from fluxa.queue.backends.pgmq import PgmqBackend
from fluxa.queue.producer import Producer
from fluxa.queue.registry import QueueSpec, Registry
from house.tree import ROOT
from making.callers.calls import SECRET
from making.stack import Program, fluxa, json_lines, stack, until

APP = """
from fluxa import Fluxa
from fluxa.kernel.errors import FluxaError
from fluxa.queue.registry import QueueSpec

app = Fluxa()
app.queue(QueueSpec("thumbnails"))


@app.handler("thumbnails")
async def resize(job: dict[str, int]) -> None:
    if job["n"] % 2:
        raise FluxaError("ProviderRejected", "odd")
"""
GUIDE = ROOT / "docs" / "guides" / "queues-over-http.md"


def _client(program: Program) -> httpx.AsyncClient:
    headers = {"authorization": f"Bearer {program.api_key}"}
    return httpx.AsyncClient(base_url=program.state["station_url"], headers=headers, trust_env=False, timeout=60)


def _heard(service: str, line: str) -> bool:
    """Whether a line says that this process knows of the pause."""
    return "queue paused" in line and f'"service": "{service}"' in line


def _recipe() -> str:
    """The block of the guide that signs a call with openssl and curl."""
    blocks = re.findall(r"^```bash\n(.*?)^```", GUIDE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return next(str(block) for block in blocks if "openssl" in block)


async def _run_recipe(station: str) -> tuple[int, dict[str, Any]]:
    process = await asyncio.create_subprocess_exec(
        *("bash", "-euo", "pipefail", "-c", _recipe()),
        env={"PATH": "/usr/bin:/bin", "CRON_SECRET": SECRET, "STATION": station},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    assert out, err.decode()
    return process.returncode, json.loads(out)


@pytest.mark.req("QUEUE-8", "QUEUE-9", "QUEUE-10", "QUEUE-12")
async def test_queues_are_steered_over_http_and_worked_off_by_worker_and_cron(
    tmp_path: Path, database: Database
) -> None:
    (tmp_path / "work.py").write_text(APP)
    settings = {
        "FLUXA_DATABASE_URL": database.config.url,
        "FLUXA_CRON_SECRETS": SECRET,
        "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path]),
    }
    backend = PgmqBackend(database, listener=None, notifier=None, clock=SystemClock())
    producer = Producer(backend, Registry([QueueSpec("thumbnails")]), SystemClock())
    async with stack(tmp_path / "home", "--app", "work:app", **settings) as program, _client(program) as client:
        assert "worker" in program.state["children"]
        async with httpx.AsyncClient(trust_env=False) as anybody:
            assert (await anybody.get(f"{program.state['worker_url']}/api/ready")).status_code == httpx.codes.OK
        paused = await client.post("/api/queues/thumbnails/pause", json={"reason": "for the test"})
        assert paused.status_code == httpx.codes.OK
        for service in ("worker", "station"):
            await program.line(functools.partial(_heard, service))
        await producer.send("thumbnails", [{"n": number} for number in range(10)])
        code, told = await _run_recipe(program.state["station_url"])
        assert (code, [(one["queue"], one["skipped"]) for one in told["summary"]["results"]]) == (
            0,
            [("thumbnails", "paused")],
        )
        assert (await client.post("/api/queues/thumbnails/resume")).status_code == httpx.codes.OK

        async def worked_off() -> bool:
            found = (await client.get("/api/queues/thumbnails")).json()
            return bool(found["queue_length"] == 0 and found["dead"] == 5)

        await until(worked_off)
        order = {"all": True, "force": ["ProviderRejected"]}
        task = (await client.post("/api/queues/thumbnails/redrives", json=order)).json()

        async def redriven() -> bool:
            found = (await client.get(f"/api/redrives/{task['redrive_id']}")).json()
            return bool(found["state"] == "done" and found["moved"] == 5)

        await until(redriven)
        await until(worked_off)
        code, told = await _run_recipe(program.state["station_url"])
        assert (code, told["success"]) == (0, True)
        done = await asyncio.to_thread(
            fluxa, "queue", "process", "--json", home=tmp_path / "home", FLUXA_CRON_SECRETS=SECRET
        )
        assert (done.returncode, json_lines(done.stdout)[0]["success"]) == (0, True), done.stderr
        wrong = await asyncio.to_thread(
            fluxa, "queue", "process", home=tmp_path / "home", FLUXA_CRON_SECRETS="another secret than theirs"
        )
        assert wrong.returncode == 3
        assert "not that of this request" in wrong.stderr


@pytest.mark.req("QUEUE-12")
async def test_a_stack_makes_a_secret_of_its_own_and_cron_works_off_what_no_worker_serves(
    tmp_path: Path, database: Database
) -> None:
    async with stack(tmp_path / "home", FLUXA_DATABASE_URL=database.config.url) as program:
        assert "worker" not in program.state["children"]
        done = await asyncio.to_thread(fluxa, "queue", "process", home=tmp_path / "home")
        assert done.returncode == 0, done.stderr
        assert "No queue has work" in done.stderr
