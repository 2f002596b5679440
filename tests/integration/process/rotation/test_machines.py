"""Secrets of machines change in their files while they call: nobody who had a right is refused."""

import asyncio
import io
import itertools
import json
import time
from pathlib import Path

import httpx
import pytest

from fluxa.apps import settings
from fluxa.apps.serving.observe import observe
from fluxa.apps.serving.process import Tie
from fluxa.apps.serving.renewal import rotation_of
from fluxa.apps.settings import Settings
from fluxa.apps.station import station, webhook_sources
from fluxa.auth.keys.api_keys import ApiKeys
from fluxa.auth.keys.key_guard import KeyGuard
from fluxa.auth.nonces import Nonces
from fluxa.kernel.clock import SystemClock
from fluxa.kernel.ids import Tenant
from fluxa.postgres.pool import Database
from fluxa.postgres.transaction import Transaction
from fluxa.telemetry.log import make_logger
from fluxa.testing.serving import serving
from fluxa.testing.signals import Signals
from fluxa.web.app import App
from fluxa.web.identity import Access, Delivery, Receipts, bearer, once
from fluxa.web.identity.webhook import WebhookGuard
from fluxa.web.responses import Response, json_response
from fluxa.web.routes import UNCOUNTED, Auth, Operation, Route
from integration.process.rotation.stand import Files, Heard, load, rotates, running
from making.callers.calls import LEGACY, OLDER, SECRET, signed
from making.callers.webhooks import SECRETS, scheme

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


@rotates("cron_secrets")
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


@rotates("queue_processor_override_token", "queue_processor_legacy_secret")
@pytest.mark.parametrize(
    ("name", "header"),
    [("queue_processor_override_token", "X-Fluxa-Override"), ("queue_processor_legacy_secret", "X-Internal-Secret")],
)
async def test_what_is_sent_as_it_is_counts_until_the_other_does(
    database_url: str, tmp_path: Path, unused_tcp_port: int, heard: Heard, name: str, header: str
) -> None:
    """There is one of them at a time: a call has a right to pass with one of both, in whatever moment it is made."""
    files = Files(tmp_path)
    files.write("queue_processor_legacy_secret", LEGACY)
    files.write(name, OLDER)
    chosen = files.settings(database_url=database_url, station_port=unused_tcp_port, queue_processor_legacy_mode="true")
    async with (
        running(station, chosen, unused_tcp_port) as url,
        httpx.AsyncClient(base_url=url, trust_env=False, timeout=30) as client,
        load() as calls,
    ):

        async def admitted(secret: str) -> bool:
            return (await client.post(PATH, headers={header: secret})).status_code != httpx.codes.UNAUTHORIZED

        async def call() -> str:
            # The old one first: where it counts no more, the new one does by the time that it is asked for.
            return "" if await admitted(OLDER) or await admitted(SECRET) else "neither is let in"

        calls.begin(call)
        await calls.more(3)
        assert not await admitted(SECRET)
        files.write(name, SECRET)
        await heard.taken_up(name)
        assert await admitted(SECRET)
        assert not await admitted(OLDER)
        await calls.more(3)


@rotates("webhook_secrets")
async def test_secrets_of_webhooks_are_exchanged_while_they_come(
    database: Database, tmp_path: Path, heard: Heard
) -> None:
    old, new, number = SECRETS["github"][2], SECRETS["github"][1], itertools.count()
    files = Files(tmp_path)
    files.write("webhook_secrets", {"github": {"secrets": [old]}})
    chosen, logger = files.settings(), observe("test", "info").logger
    rotation = rotation_of(chosen, logger)
    guard = WebhookGuard(webhook_sources(chosen), tenant=Tenant("default"), clock=SystemClock(), logger=logger)

    async def use(changed: Settings) -> None:
        guard.use(webhook_sources(changed))

    async def act(delivery: Delivery, _body: bytes, _tx: Transaction) -> Response:
        return json_response({"id": delivery.verified.message_id})

    rotation.on_change(["webhook_secrets"], use)
    once_only = once(database, Receipts(Nonces(database)), act)
    row = Route("github", "/github", ("POST",), Auth.WEBHOOK, once_only, Operation("Take."), UNCOUNTED, ("github",))
    app = App(
        [row],
        identify=bearer(KeyGuard(ApiKeys(database), SystemClock()).verify),
        access=Access(Tenant("default")),
        guards={Auth.WEBHOOK: guard},
        hook=Signals().hear,
        logger=logger,
    )
    await rotation.start()
    async with serving(app) as url, httpx.AsyncClient(base_url=url, trust_env=False, timeout=30) as client:
        place = 1

        async def call() -> str:
            body = json.dumps({"n": next(number)}).encode()
            headers = scheme("github", place).sign(body, message_id="m", now_s=time.time())
            answer = await client.post("/github", content=body, headers=dict(headers))
            return "" if answer.status_code == httpx.codes.OK else answer.text

        async with load() as calls:
            calls.begin(call)
            await calls.more()
            files.write("webhook_secrets", {"github": {"secrets": [new, old]}})
            await heard.taken_up("webhook_secrets")
            place = 0
            await calls.more()
            files.write("webhook_secrets", {"github": {"secrets": [new]}})
            await heard.taken_up("webhook_secrets")
            await calls.more()
        place = 1
        assert "Unauthenticated" in await call()
    await rotation.stop()
