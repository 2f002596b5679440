"""External queues as a user runs them: a worker process, settings, and commands to look at them (QUEUE-13)."""

import asyncio
import contextlib
import json
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fluxa import Fluxa
from fluxa.kernel.clock import SystemClock
from fluxa.postgres.pool import Database
from fluxa.queue.backends.pgmq import PgmqBackend
from fluxa.queue.producer import Producer
from integration.providers.receivers import Received, answering, receiver
from making.stack import environment, fluxa, json_lines, running, until

pytestmark = pytest.mark.req("QUEUE-13")

QUEUE = "package_generation"


PROGRAM = """
from fluxa import Fluxa

app = Fluxa()


@app.handler("pulse")
async def beat(job: dict) -> None: ...
"""


class Shell:
    """A user with a database, and perhaps an endpoint."""

    def __init__(self, home: Path, url: str, endpoint: dict[str, object] | None = None) -> None:
        self.home = home
        self.settings = {"FLUXA_DATABASE_URL": url, "FLUXA_WORKER_PORT": "0"}
        if endpoint is not None:
            self.settings["FLUXA_EXTERNAL_QUEUES"] = json.dumps({QUEUE: endpoint})
            self.settings["FLUXA_QUEUES"] = json.dumps({QUEUE: {"retry_base_s": 0.05, "rest_s": 0.2}})

    def run(self, *args: str, code: int = 0, **more: str) -> str:
        """A command that ends with this code; all that it says."""
        done = fluxa(*args, home=self.home, stdin=b"", **self.settings, **more)
        assert done.returncode == code, (args, done.stdout, done.stderr)
        return done.stdout + done.stderr

    @contextlib.asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """A worker, ended in order."""
        worker = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "fluxa", "worker"),
            env=environment(FLUXA_HOME=str(self.home), **self.settings),
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            yield
        finally:
            worker.terminate()
            _, said = await asyncio.wait_for(worker.communicate(), 60)
        assert worker.returncode == 0, said.decode()


def test_a_queue_without_an_endpoint_keeps_its_records_and_says_so(tmp_path: Path, database_url: str) -> None:
    shell = Shell(tmp_path, database_url)
    shell.run("queue", "send", QUEUE, "--data", "{}")
    assert "Name the endpoint of package_generation in the setting external_queues" in shell.run("queue", "show", QUEUE)
    (health,) = json_lines(shell.run("queue", "show", QUEUE, "--json"))
    assert (health["state"], health["external"], health["queue_length"]) == ("unserved", True, 1)
    assert "external_queues" in shell.run("worker", "--queues", QUEUE, code=2)
    (tmp_path / "shop.py").write_text(PROGRAM)
    program = ("worker", "--app", "shop:app", "--queues", QUEUE)
    assert "[external_queues.package_generation]" in shell.run(
        *program, code=2, PYTHONPATH=os.pathsep.join([str(tmp_path), *sys.path])
    )


async def test_each_record_ends_as_its_endpoint_says(tmp_path: Path, database: Database, database_url: str) -> None:
    seen: Counter[str] = Counter()

    async def behave(received: Received, writer: asyncio.StreamWriter) -> None:
        name = received.headers["webhook-id"]
        seen[name] += 1
        status = {"bad": "422 Unfit", "shaky": "503 Later" if seen["shaky"] < 3 else "200 OK"}.get(name, "204 Done")
        await answering(status, b"because")(received, writer)

    async with receiver(behave) as server:
        shell = Shell(tmp_path, database_url, {"url": server.url, "allow_private": True})
        for name in ("good", "bad", "shaky"):
            shell.run("queue", "send", QUEUE, "--data", json.dumps({"is": name}), "--id", name)
        async with shell.working():
            await until(lambda: _is_empty(database))
    assert seen == {"good": 1, "bad": 1, "shaky": 3}
    (letter,) = json_lines(shell.run("dlq", "list", "--queue", QUEUE, "--json"))
    assert (letter["error_code"], letter["attempts"]) == ("ProviderRejected", 1)
    assert "422: because" in letter["reason"]
    assert {received.body for received in server.received} == {b'{"is": "good"}', b'{"is": "bad"}', b'{"is": "shaky"}'}


@pytest.mark.req("PIPE-10", "HARDEN-4")
async def test_a_story_goes_on_in_the_workers_log_and_to_the_provider(
    tmp_path: Path, database: Database, database_url: str
) -> None:
    """One record fails for a passing reason, then for good: each line of it, and each call, names the story."""
    answers = iter(("503 Later", "422 Unfit"))

    async def behave(received: Received, writer: asyncio.StreamWriter) -> None:
        await answering(next(answers), b"because")(received, writer)

    async with receiver(behave) as server:
        shell = Shell(tmp_path, database_url, {"url": server.url, "allow_private": True})
        backend = PgmqBackend(database, listener=None, notifier=None, clock=SystemClock())
        await backend.create(QUEUE)
        producer = Producer(backend, Fluxa().registry, SystemClock())
        (record,) = await producer.send(QUEUE, [{"n": 1}], correlation_id="story-9")
        async with running("worker", home=tmp_path, **shell.settings) as worker:
            await until(lambda: any(line["event"] == "record parked" for line in worker.told))
    assert [received.headers["x-correlation-id"] for received in server.received] == ["story-9"] * 2
    lines = [line for line in worker.told if line.get("correlation_id") == "story-9"]
    assert {line["service"] for line in lines} == {"worker"}
    assert {(line["event"], line["error_code"]) for line in lines} == {
        ("call failed", "ProviderUnavailable"),
        ("record retried", "ProviderUnavailable"),
        ("call failed", "ProviderRejected"),
        ("record parked", "ProviderRejected"),
    }
    assert {line["event_id"] for line in lines if line["event"].startswith("record")} == {record}
    assert all(line["latency_ms"] >= 0 for line in lines if line["event"] == "call failed")
    assert all(line["status"] for line in lines if line["event"] == "call failed")


async def _is_empty(database: Database) -> bool:
    return not await database.fetch_value("select count(*) from pgmq.q_package_generation")
