"""The door while Postgres is away: 503 with a time to come back, then as before, and nothing promised is lost."""

import asyncio
import json
import time
from pathlib import Path

import pytest

from fluxa.postgres import migrate
from fluxa.postgres.embedded import EmbeddedPostgres
from fluxa.postgres.pool import Database, PoolConfig
from fluxa.telemetry.catalogue import OutageBegan, OutageEnded
from making.door import open_door

STRUCTURED = {"content-type": "application/cloudevents+json"}


def event(number: int) -> bytes:
    return json.dumps({"specversion": "1.0", "id": f"e-{number}", "source": "/s", "type": "t"}).encode()


@pytest.mark.req("PIPE-5")
async def test_without_postgres_the_door_says_503_and_when_to_come_back_and_then_recovers(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "home", settings={"fsync": "off"})
    await server.start()
    database = Database(PoolConfig(url=server.url))
    await database.start()
    try:
        await migrate.migrate(database)
        async with open_door(database, tmp_path / "objects") as stand:
            post = stand.client.post
            assert (await post("/v1/events", content=event(1), headers=STRUCTURED)).status_code == 202
            await server.force_stop()
            began = time.monotonic()
            answers = await asyncio.gather(
                *(post("/v1/events", content=event(number), headers=STRUCTURED) for number in range(100, 110))
            )
            assert time.monotonic() - began < 15
            assert {(one.status_code, one.json()["code"]) for one in answers} == {(503, "DBConnectionError")}
            assert all(int(one.headers["retry-after"]) >= 1 for one in answers)
            assert all(str(tmp_path) not in one.text for one in answers)
            await server.start()
            async with asyncio.timeout(20):
                while (await post("/v1/events", content=event(2), headers=STRUCTURED)).status_code != 202:  # noqa: ASYNC110 - what a client does
                    await asyncio.sleep(0.05)
            stored = {record.id for record in await stand.queued()}
            assert {"e-1", "e-2"} <= stored <= {"e-1", "e-2"} | {f"e-{number}" for number in range(100, 110)}
            kinds = [type(one) for one in stand.signals.heard if isinstance(one, OutageBegan | OutageEnded)]
            assert kinds == [OutageBegan, OutageEnded]
            assert "Traceback" not in stand.log.getvalue()
    finally:
        await database.stop()
        await server.force_stop()
