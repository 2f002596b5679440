"""The services as processes of their own, each started, stopped and read alone."""

import asyncio
import contextlib
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from fluxa.auth.keys.api_keys import ApiKeys
from fluxa.auth.roles import Role
from fluxa.postgres.pool import Database
from making.stack import Program, fluxa, running, until


async def _address(program: Program) -> str:
    line = json.loads(await program.line(lambda line: '"event": "ready"' in line))
    return str(line["url"])


async def _get(client: httpx.AsyncClient, url: str) -> httpx.Response:
    """Ask until it is found."""
    await until(lambda: _answers(client, url, httpx.codes.OK))
    return await client.get(url)


async def _answers(client: httpx.AsyncClient, url: str, status: int) -> bool:
    return (await client.get(url)).status_code == status


def _of(program: Program, event_id: str) -> list[dict[str, Any]]:
    return [line for line in program.told if line.get("event_id") == event_id]


@pytest.mark.req("PIPE-10", "PIPE-11", "HARDEN-4")
async def test_three_processes_know_each_other_only_by_the_database(tmp_path: Path, database: Database) -> None:
    token = (await ApiKeys(database).create("acme", "test", role=Role.ADMIN)).token
    settings = {"FLUXA_DATABASE_URL": database.config.url}
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    headers = {
        "authorization": f"Bearer {token}",
        "content-type": "application/cloudevents+json",
        "traceparent": f"00-{trace_id}-b7ad6b7169203331-01",
    }
    async with contextlib.AsyncExitStack() as all_of_them:
        ingest, query = [
            await all_of_them.enter_async_context(running(name, "--port", "0", home=tmp_path, **settings))
            for name in ("ingest", "query")
        ]
        client = await all_of_them.enter_async_context(httpx.AsyncClient(headers=headers, trust_env=False))
        body = {"specversion": "1.0", "id": "e1", "source": "/t", "type": "t", "data": 1}
        accepted = await client.post(f"{await _address(ingest)}/v1/events", json=body)
        assert accepted.status_code == httpx.codes.ACCEPTED
        asked = await _address(query)
        assert (await client.get(f"{asked}/v1/events/e1")).status_code == httpx.codes.NOT_FOUND
        processor = await all_of_them.enter_async_context(
            running("processor", "--port", "0", home=tmp_path, **settings)
        )
        found = await _get(client, f"{asked}/v1/events/e1")
        story = await client.get(f"{asked}/v1/traces/{trace_id}")
        await _address(processor)
        codes = [await one.stop() for one in (ingest, query, processor)]
    assert found.json()["correlation_id"] == trace_id
    assert [stage["stage"] for stage in story.json()["events"][0]["stages"]] == [
        "validate",
        "enqueue",
        "process",
        "persist",
    ]
    assert codes == [0, 0, 0]
    told = [(line["service"], line["stage"], line["status"]) for line in [*_of(ingest, "e1"), *_of(processor, "e1")]]
    assert told == [
        ("ingest", "validate", "success"),
        ("ingest", "enqueue", "success"),
        ("processor", "process", "success"),
        ("processor", "persist", "success"),
    ]
    lines = [*_of(ingest, "e1"), *_of(processor, "e1")]
    assert {line["correlation_id"] for line in lines} == {trace_id}
    assert all(line["latency_ms"] >= 0 for line in lines)


@pytest.mark.req("PIPE-11")
async def test_readiness_says_503_before_the_port_closes(tmp_path: Path, database_url: str) -> None:
    async with running(
        "query", "--port", "0", home=tmp_path, FLUXA_DATABASE_URL=database_url, FLUXA_SHUTDOWN_NOTICE_S="2"
    ) as program:
        url = await _address(program)
        async with httpx.AsyncClient(trust_env=False) as client:
            assert (await client.get(f"{url}/api/ready")).status_code == httpx.codes.OK
            ended = asyncio.create_task(program.stop())
            await until(lambda: _answers(client, f"{url}/api/ready", httpx.codes.SERVICE_UNAVAILABLE))
            answer = await client.get(f"{url}/api/ready")
        assert answer.json()["failed"] == ["accepting"]
        assert await ended == 0


@pytest.mark.parametrize("name", ["ingest", "processor", "query", "station"])
def test_a_service_refuses_a_database_without_its_schema(name: str, tmp_path: Path, postgres_server: str) -> None:
    done = fluxa(name, "--port", "0", home=tmp_path, FLUXA_DATABASE_URL=postgres_server.format("postgres"))
    assert done.returncode == 1
    assert "Run: fluxa db migrate" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_service_says_when_the_database_is_not_there(tmp_path: Path) -> None:
    done = fluxa("ingest", "--port", "0", home=tmp_path, FLUXA_DATABASE_URL="postgresql://127.0.0.1:9/none")
    assert done.returncode == 5
    assert "Postgres cannot be reached" in done.stderr
    assert "Traceback" not in done.stderr
