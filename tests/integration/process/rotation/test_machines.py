"""Secrets change in their files while requests come: nobody who had a right is refused, and no process is restarted."""

import asyncio
import io
import json
from pathlib import Path

import httpx
import pytest

from fluxa.apps import settings
from fluxa.apps.serving.process import Tie
from fluxa.apps.serving.renewal import rotation_of
from fluxa.apps.settings import Settings
from fluxa.apps.station import station
from fluxa.telemetry.log import make_logger
from making.callers.calls import OLDER, SECRET, signed

pytestmark = pytest.mark.req("SEC-5")

PATH = "/process-queues?budget_s=0.1"


def _settings(folder: Path, **given: object) -> Settings:
    chosen = {"home": str(folder), "secrets_reload_s": 0.1, "station_port": 0, **given}
    return settings.load(chosen, environment={}, working_folder=folder).settings


def _write(file: Path, text: str) -> str:
    """Exchange a file as Kubernetes does: the whole of it at once."""
    fresh = file.with_suffix(".new")
    fresh.write_text(text, "utf-8")
    fresh.replace(file)
    return json.dumps({"cron_secrets": str(file)})


async def _ready(port: int) -> None:
    async with asyncio.timeout(30), httpx.AsyncClient() as client:
        while True:
            try:
                if (await client.get(f"http://127.0.0.1:{port}/api/ready")).status_code == httpx.codes.OK:
                    return
            except httpx.TransportError:
                await asyncio.sleep(0.05)


async def test_cron_secrets_are_exchanged_under_load(database_url: str, tmp_path: Path, unused_tcp_port: int) -> None:
    file = tmp_path / "cron"
    chosen = _settings(
        tmp_path, database_url=database_url, secret_files=_write(file, OLDER), station_port=unused_tcp_port
    )
    stopping = asyncio.Event()
    running = asyncio.create_task(station(chosen, stopping, Tie()))
    url = f"http://127.0.0.1:{unused_tcp_port}"
    refused: list[int] = []
    served = 0

    async def call(client: httpx.AsyncClient, secret: str) -> int:
        return (await client.post(url + PATH, headers=signed(PATH, secret=secret))).status_code

    try:
        await _ready(unused_tcp_port)
        async with httpx.AsyncClient(timeout=30) as client:
            assert await call(client, SECRET) == 401

            async def load(secret: str, until: asyncio.Event) -> None:
                nonlocal served
                while not until.is_set():
                    status = await call(client, secret)
                    served += 1
                    if status == 401:
                        refused.append(status)

            moved = asyncio.Event()
            senders = [asyncio.create_task(load(OLDER, moved)) for _ in range(2)]
            _write(file, f"{SECRET},{OLDER}")
            async with asyncio.timeout(30):
                while await call(client, SECRET) == 401:
                    pass
            new = asyncio.Event()
            senders += [asyncio.create_task(load(SECRET, new)) for _ in range(2)]
            moved.set()
            await asyncio.gather(*senders[:2])
            _write(file, SECRET)
            async with asyncio.timeout(30):
                while await call(client, OLDER) != 401:
                    pass
            new.set()
            await asyncio.gather(*senders)
        assert not refused
        assert served > 4
    finally:
        stopping.set()
        await asyncio.wait_for(running, 60)


async def test_a_file_of_no_use_changes_nothing_and_is_told_once(tmp_path: Path) -> None:
    file, log = tmp_path / "cron", io.StringIO()
    rotation = rotation_of(_settings(tmp_path, secret_files=_write(file, OLDER)), make_logger("test", stream=log))
    used: list[Settings] = []

    async def use(changed: Settings) -> None:
        used.append(changed)

    rotation.on_change(["cron_secrets"], use)
    await rotation.look()
    for content in ("", "hush", "hush"):
        _write(file, content)
        await rotation.look()
    file.unlink()
    await rotation.look()
    assert used == []
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["secrets not taken up"] * 3
    _write(file, f"{SECRET},{OLDER}")
    await rotation.look()
    await rotation.look()
    assert [one.cron_secret_list for one in used] == [(SECRET.encode(), OLDER.encode())]
    assert SECRET not in log.getvalue()
    assert "hush" not in log.getvalue()
