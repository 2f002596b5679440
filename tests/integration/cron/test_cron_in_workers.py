"""Schedules of a program, run by a real worker process that delivers them to an endpoint (QUEUE-13, QUEUE-14)."""

import asyncio
import json
import sys
from pathlib import Path

import pytest
from standardwebhooks.webhooks import Webhook

from fluxa.postgres.pool import Database
from integration.providers.deliveries import new_secret
from integration.providers.receivers import Received, answering, receiver
from making.stack import READY_S, environment, until

pytestmark = pytest.mark.req("QUEUE-13", "QUEUE-14")

PROGRAM = """
from fluxa import Fluxa

app = Fluxa()
app.cron("package", "0 0 1 1 *", queue="package_generation", body={"kind": "yearly"})
"""


async def test_a_due_time_reaches_the_endpoint_once_though_its_first_answer_is_lost(
    tmp_path: Path, database: Database, database_url: str
) -> None:
    """The endpoint does the work, and the connection ends before it can say so: it is sent again under its id."""
    (tmp_path / "shop.py").write_text(PROGRAM)
    secret = new_secret()

    async def lose_the_first(received: Received, writer: asyncio.StreamWriter) -> None:
        if len(server.received) == 1:
            writer.transport.abort()
        else:
            await answering("200 OK")(received, writer)

    async with receiver(lose_the_first) as server:
        endpoint = {"url": server.url, "bearer": "role", "secrets": [secret], "allow_private": True, "timeout_s": 5}
        worker = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "fluxa", "worker", "--app", "shop:app"),
            cwd=tmp_path,
            env=environment(
                FLUXA_HOME=str(tmp_path),
                FLUXA_DATABASE_URL=database_url,
                FLUXA_WORKER_PORT="0",
                FLUXA_EXTERNAL_QUEUES=json.dumps({"package_generation": endpoint}),
                FLUXA_QUEUES=json.dumps({"package_generation": {"retry_base_s": 0.05}}),
            ),
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            await until(lambda: _declared(database), timeout_s=READY_S)
            await database.execute("update fluxa.schedules set next_at = '2026-01-01'")
            await database.execute("select pg_notify('fluxa_wake', 'cron')")
            await until(lambda: len(server.received) == 2)
            await until(lambda: _is_empty(database))
        finally:
            worker.terminate()
            _, said = await asyncio.wait_for(worker.communicate(), 30)
    assert worker.returncode == 0, said.decode()
    assert len({received.headers["webhook-id"] for received in server.received}) == 1
    for received in server.received:
        assert received.headers["authorization"] == "Bearer role"
        assert Webhook(secret).verify(received.body, received.headers) == {"kind": "yearly"}
    (run,) = await database.fetch("select name, status, record_id from fluxa.schedule_runs")
    assert (run["name"], run["status"]) == ("package", "sent")
    assert server.received[0].headers["webhook-id"] == run["record_id"]
    assert '"status": "unknown"' in said.decode()


async def _declared(database: Database) -> bool:
    return bool(
        await database.fetch_value("select exists (select from fluxa.schedules where declared_by = 'shop:app')")
    )


async def _is_empty(database: Database) -> bool:
    return not await database.fetch_value("select count(*) from pgmq.q_package_generation")
