"""`fluxa up` as a user runs it: real processes, killed and stopped at bad moments."""

import asyncio
import functools
import os
import signal
import socket
import stat
from collections.abc import Sequence
from pathlib import Path

import httpx
import psutil
import pytest

from fluxa.kernel.ids import uuid7
from fluxa.postgres.pool import Database
from making.stack import Program, alive, fluxa, running, stack, until

_HEADERS = {"content-type": "application/cloudevents+json"}


def _event(number: str) -> dict[str, object]:
    return {"specversion": "1.0", "id": number, "source": "/load", "type": "load.sent", "data": {"n": number}}


def _client(program: Program) -> httpx.AsyncClient:
    headers = {"authorization": f"Bearer {program.api_key}", **_HEADERS}
    return httpx.AsyncClient(headers=headers, trust_env=False, timeout=30)


async def _send(client: httpx.AsyncClient, url: str) -> str:
    """Send one event as often as it takes; its id."""
    event = _event(uuid7())
    async with asyncio.timeout(30):
        while True:
            try:
                answer = await client.post(f"{url}/v1/events", json=event)
            except httpx.TransportError:
                continue
            if answer.status_code == httpx.codes.ACCEPTED:
                return str(event["id"])


async def _stored(client: httpx.AsyncClient, url: str, event_id: str) -> None:
    """Wait until an event is found."""

    async def found() -> bool:
        try:
            return (await client.get(f"{url}/v1/events/{event_id}")).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False  # the query service itself may have been killed

    await until(found)


@pytest.mark.req("PIPE-8", "PIPE-11")
async def test_with_nothing_but_a_folder_an_event_goes_all_the_way(tmp_path: Path) -> None:
    home = tmp_path / "home"
    async with stack(home) as program:
        assert stat.S_IMODE((home / "credentials.json").stat().st_mode) == 0o600
        for command in (
            ("events", "send", "--type", "hello", "--source", "me", "--data", '{"n": 1}', "--id", "a1"),
            ("events", "list"),
        ):
            done = await asyncio.to_thread(fluxa, *command, home=home)
            assert done.returncode == 0, done.stderr
        async with _client(program) as client:
            await _stored(client, program.state["query_url"], "a1")
            found = (await client.get(f"{program.state['query_url']}/v1/events/a1")).json()
            ready = await client.get(f"{program.state['processor_urls'][0]}/api/ready")
        story = await asyncio.to_thread(fluxa, "trace", found["correlation_id"], home=home)
        pids = [program.process.pid, *program.state["children"].values()]
        server = await asyncio.to_thread(fluxa, "db", "status", "--json", home=home)
        assert '"running":true' in server.stdout
        code = await program.stop()
    assert ready.json()["status"] == "ready"
    assert [word for word in ("validate", "enqueue", "process", "persist") if word in story.stdout] == [
        "validate",
        "enqueue",
        "process",
        "persist",
    ]
    assert code == 0, program.text
    assert not any(alive(pid) for pid in pids)
    assert not (home / "run.json").exists()
    after = await asyncio.to_thread(fluxa, "db", "status", "--json", home=home)
    assert '"running":false' in after.stdout, "the embedded server ends with its last user"


@pytest.mark.req("PIPE-5", "PIPE-11")
@pytest.mark.parametrize("asked", [signal.SIGTERM, signal.SIGINT])
async def test_a_stop_under_load_loses_no_acknowledged_event(
    tmp_path: Path, database: Database, asked: signal.Signals
) -> None:
    acknowledged: list[str] = []
    enough = asyncio.Event()

    async def load(program: Program, url: str) -> None:
        async with _client(program) as client:
            while True:
                event = _event(uuid7())
                try:
                    answer = await client.post(f"{url}/v1/events", json=event)
                except httpx.TransportError:
                    return  # the door is closed; what was not acknowledged may be lost
                if answer.status_code == httpx.codes.ACCEPTED:
                    acknowledged.append(str(event["id"]))
                    if len(acknowledged) >= 300:
                        enough.set()

    async with stack(tmp_path / "home", FLUXA_DATABASE_URL=database.config.url) as program:
        url = program.state["ingest_url"]
        clients = [asyncio.create_task(load(program, url)) for _ in range(16)]
        async with asyncio.timeout(60):
            await enough.wait()
        code = await program.stop(asked)
        await asyncio.gather(*clients)
    assert code == 0, program.text
    stored = {str(row["id"]) for row in await database.fetch("select id from fluxa.events")}
    queued = str(await database.fetch_value("select json_agg(message)::text from pgmq.q_events"))
    missing = [one for one in set(acknowledged) - stored if one not in queued]
    if missing and "packed" in queued:  # several in one message: let a processor unpack them
        async with running("processor", "--port", "0", home=tmp_path, FLUXA_DATABASE_URL=database.config.url) as last:
            await last.line(lambda line: '"ready"' in line)
            await _drained(database)
        stored = {str(row["id"]) for row in await database.fetch("select id from fluxa.events")}
        missing = sorted(set(acknowledged) - stored)
    assert missing == []


async def _drained(database: Database) -> None:
    async def empty() -> bool:
        return not await database.fetch_value("select count(*) from pgmq.q_events")

    await until(empty)


def _replaced(program: Program, name: str, pid: int) -> bool:
    return bool(program.state["children"].get(name, pid) != pid)


@pytest.mark.req("PIPE-11")
async def test_each_service_that_is_killed_comes_back(tmp_path: Path, database: Database) -> None:
    async with stack(tmp_path / "home", "--processors", "2", FLUXA_DATABASE_URL=database.config.url) as program:
        before = program.state["children"]
        assert set(before) == {"ingest", "query", "processor-1", "processor-2", "station"}
        async with _client(program) as client:
            for name, pid in before.items():
                os.kill(pid, signal.SIGKILL)
                event_id = await _send(client, program.state["ingest_url"])
                await _stored(client, program.state["query_url"], event_id)
                await until(functools.partial(_replaced, program, name, pid))
            scraped = (await client.get(f"{program.state['ingest_url']}/metrics")).text
        assert 'fluxa_process_restarts_total{process="ingest"} 1.0' in scraped
        restarted = [told["process"] for told in program.told if told["event"] == "process restarted"]
    assert restarted == list(before)


async def test_nothing_outlives_a_supervisor_that_is_killed_and_the_next_one_starts(tmp_path: Path) -> None:
    home = tmp_path / "home"
    async with stack(home) as program:
        family = [one.pid for one in psutil.Process(program.process.pid).children(recursive=True)]
        assert len(family) >= 3
        program.process.kill()
        await program.ended()
        await until(lambda: not any(alive(pid) for pid in family))
        idle = await asyncio.to_thread(fluxa, "--set", "query_port=9", "events", "list", home=home)
        assert "The query service at http://127.0.0.1:9 does not answer" in idle.stderr, (
            "what a killed stack left behind is not believed"
        )
    async with stack(home) as program, _client(program) as client:
        await _stored(client, program.state["query_url"], await _send(client, program.state["ingest_url"]))


async def test_a_second_stack_on_a_home_is_refused_and_the_first_goes_on(tmp_path: Path, database_url: str) -> None:
    home = tmp_path / "home"
    async with stack(home, FLUXA_DATABASE_URL=database_url) as program:
        second = await asyncio.to_thread(fluxa, "up", "--port", "0", home=home, FLUXA_DATABASE_URL=database_url)
        async with _client(program) as client:
            assert (await client.get(f"{program.state['query_url']}/api/ready")).status_code == httpx.codes.OK
    assert second.returncode == 3
    assert f"A stack runs on {home} already" in second.stderr
    assert "Traceback" not in second.stderr


def test_a_port_in_use_is_told_before_anything_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = fluxa("--set", f"ingest_port={port}", "up", home=tmp_path / "home")
    assert done.returncode == 2
    assert f"Port {port} on 127.0.0.1 is in use by another program" in done.stderr
    assert not (tmp_path / "home" / "postgres").exists()


def test_a_database_of_others_is_not_changed_unasked(tmp_path: Path, postgres_server: str) -> None:
    done = fluxa("up", "--port", "0", home=tmp_path, FLUXA_DATABASE_URL=postgres_server.format("postgres"))
    assert done.returncode == 1
    assert "Run: fluxa db migrate" in done.stderr


async def test_a_service_that_cannot_start_ends_the_start_with_its_words(tmp_path: Path, database_url: str) -> None:
    async with running(
        "up",
        "--port",
        "0",
        home=tmp_path / "home",
        FLUXA_DATABASE_URL=database_url,
        FLUXA_OBJECT_STORE_URL="ftp://nowhere",
    ) as program:
        code = await program.ended()
    assert code == 1
    assert "it must be file:///folder or s3://bucket/prefix" in program.text


async def test_a_second_signal_ends_a_stop_that_takes_too_long(tmp_path: Path, database_url: str) -> None:
    async with stack(tmp_path / "home", FLUXA_DATABASE_URL=database_url, FLUXA_SHUTDOWN_NOTICE_S="200") as program:
        children: Sequence[int] = list(program.state["children"].values())
        program.process.send_signal(signal.SIGINT)
        await until(lambda: not (tmp_path / "home" / "run.json").exists())
        assert all(alive(pid) for pid in children)
        code = await program.stop(signal.SIGINT)
    assert code == 0
    assert not any(alive(pid) for pid in children)
