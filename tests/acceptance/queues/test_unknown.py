"""What cannot be measured is UNKNOWN in API, command line and metrics, and a real worker works on (issue: line 6)."""

import contextlib
import json
import os
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from fluxa.auth.keys.api_keys import ApiKeys
from fluxa.auth.roles import Role
from fluxa.kernel.ids import Tenant
from fluxa.postgres.pool import Database
from making.stack import Program, fluxa, json_lines, running, until

pytestmark = [pytest.mark.req("QUEUE-7")]

APP = """
from fluxa import Fluxa

app = Fluxa()


@app.handler("pulse")
async def pulse(job: dict) -> None:
    pass
"""


@contextlib.asynccontextmanager
async def owner(database: Database) -> AsyncIterator[tuple[str, str]]:
    """A role that owns all there is, so that a right can be taken from it: its URL and name."""
    role = f"owner_{secrets.token_hex(4)}"
    await database.execute(f"create role {role} in role pg_read_all_stats")
    for schema in ("pgmq", "fluxa"):
        await database.execute(f"alter schema {schema} owner to {role}")
        rows = await database.fetch(
            "select format('%I.%I', schemaname, tablename) as name from pg_tables where schemaname = $1", schema
        )
        for row in rows:
            await database.execute(f"alter table {row['name']} owner to {role}")
    url = database.config.url
    try:
        yield f"{url}{'&' if '?' in url else '?'}role={role}", role
    finally:
        await database.execute(f"drop owned by {role} cascade")
        await database.execute(f"drop role {role}")


async def asked(client: httpx.AsyncClient, station: Program, database: Database) -> dict[str, Any]:
    """What the API says of the queue."""
    key = await ApiKeys(database).create(Tenant("default"), "test", role=Role.ADMIN)
    answer = await client.get(
        f"{address(station)}/api/queues", headers={"authorization": f"Bearer {key.token}"}, timeout=30
    )
    assert answer.status_code == 200, answer.text
    return next(one for one in answer.json()["queues"] if one["queue"] == "pulse")


def address(program: Program) -> str:
    """Where a process listens, once it is ready."""
    return str(next(line["url"] for line in program.told if line["event"] == "ready"))


async def metrics(client: httpx.AsyncClient, program: Program) -> str:
    """What a scrape of a process shows."""
    return (await client.get(f"{address(program)}/metrics")).text


async def _shows(client: httpx.AsyncClient, program: Program, text: str) -> bool:
    return text in await metrics(client, program)


async def _is(client: httpx.AsyncClient, worker: Program, records: int) -> bool:
    return await done(client, worker) == records


async def done(client: httpx.AsyncClient, worker: Program) -> float:
    """Records that the worker finished."""
    for line in (await metrics(client, worker)).splitlines():
        if line.startswith('fluxa_worker_records_total{outcome="done",queue="pulse"}'):
            return float(line.split()[-1])
    return 0.0


async def test_a_revoked_right_and_a_lock_are_unknown_everywhere_and_work_goes_on(
    database: Database, tmp_path: Path
) -> None:
    (tmp_path / "shop.py").write_text(APP)
    async with owner(database) as (url, role), contextlib.AsyncExitStack() as stack:
        paths = {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}  # noqa: TID251 - the test's
        settings = {"FLUXA_DATABASE_URL": url, "FLUXA_QUEUE_WATCH_PERIOD_S": "0.2", **paths}
        worker = await stack.enter_async_context(
            running("worker", "--app", "shop:app", "--port", "0", home=tmp_path, **settings)
        )
        station = await stack.enter_async_context(running("station", "--port", "0", home=tmp_path, **settings))
        client = await stack.enter_async_context(httpx.AsyncClient())
        for program in (worker, station):
            await program.line(lambda line: '"ready"' in line)

        def send(number: int) -> None:
            sent = fluxa(
                "queue", "send", "pulse", "--data", json.dumps({"n": number}), home=tmp_path, stdin=b"", **settings
            )
            assert sent.returncode == 0, sent.stderr

        send(1)
        await until(lambda: _is(client, worker, 1))
        assert 'fluxa_queue_depth{queue="pulse"}' in await metrics(client, worker)

        # The rows of dead letters are no part of claiming or settling what is done: only measuring reads them.
        await database.execute(f"revoke all on pgmq.q_pulse_dlq from {role}")
        await worker.line(lambda line: '"queue health unknown"' in line and '"pulse"' in line)
        send(2)
        await until(lambda: _is(client, worker, 2))
        for program in (worker, station):
            text = await metrics(client, program)
            assert 'fluxa_queue_depth{queue="pulse"}' not in text
            assert 'fluxa_queue_unknown{part="metrics",queue="pulse"} 1.0' in text
            assert 'fluxa_queue_probe_failures_total{probe="metrics",queue="pulse"}' in text
        (warning, *_) = [line for line in worker.told if line["event"] == "queue health unknown"]
        assert (warning["level"], warning["queue"]) == ("warning", "pulse")
        pulse = await asked(client, station, database)
        assert pulse["queue_length"] is None
        assert "permission denied" in pulse["unknown"]["metrics"]
        listed = json_lines(fluxa("queue", "list", "--json", home=tmp_path, stdin=b"", **settings).stdout)
        assert next(one for one in listed if one["queue"] == "pulse")["queue_length"] is None
        shown = fluxa("queue", "list", home=tmp_path, stdin=b"", **settings).stdout
        assert "UNKNOWN" in next(line for line in shown.splitlines() if line.startswith("pulse "))

        await database.execute(f"grant all on pgmq.q_pulse_dlq to {role}")
        await until(lambda: _shows(client, worker, 'fluxa_queue_depth{queue="pulse"} 0.0'))
        async with database.transaction() as handle:
            await handle.execute("lock table pgmq.q_pulse_dlq in access exclusive mode")
            await until(lambda: _shows(client, worker, 'fluxa_queue_unknown{part="metrics",queue="pulse"} 1.0'))
            await database.execute("select pgmq.send('pulse', '{\"n\": 3}')")
            await until(lambda: _is(client, worker, 3))
            pulse = await asked(client, station, database)
            assert pulse["unknown"]["metrics"].startswith("Timeout")
        await until(lambda: _shows(client, worker, 'fluxa_queue_depth{queue="pulse"} 0.0'))
