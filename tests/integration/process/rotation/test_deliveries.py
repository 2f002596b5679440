"""Bearers and signing secrets of receivers are exchanged while deliveries go out: none is refused, and all arrive."""

import asyncio
import base64
import contextlib
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from fluxa.apps.station import station
from fluxa.apps.worker import work
from fluxa.auth.keys.api_keys import ApiKeys
from fluxa.auth.roles import Role
from fluxa.kernel.clock import SystemClock
from fluxa.kernel.ids import uuid7
from fluxa.operations.ledger import Ledger
from fluxa.postgres.pool import Database
from fluxa.queue.backend import Envelope
from fluxa.queue.backends.pgmq import PgmqBackend
from fluxa.queue.record import Record
from integration.process.rotation.stand import Files, Heard, load, rotates, running
from integration.providers.receivers import Received, Receiver, answering, receiver

pytestmark = [pytest.mark.req("SEC-5")]

QUEUE = "package_generation"


def _secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


@dataclass
class Desk:
    """A receiver that takes what has a bearer in force and is signed with the secret in force; as others sign.

    Attributes:
        bearers: in force.
        secret: in force.
        refused: how many were sent back.
        by: how many were taken, by bearer.
    """

    bearers: set[str]
    secret: str
    refused: int = 0
    by: dict[str, int] = field(default_factory=dict)
    server: Receiver | None = None

    async def behave(self, received: Received, writer: object) -> None:
        """Take it or not."""
        bearer = received.headers.get("authorization", "").removeprefix("Bearer ")
        try:
            with contextlib.suppress(json.JSONDecodeError):  # what is signed need not be one JSON value
                Webhook(self.secret).verify(received.body, received.headers)
            right = bearer in self.bearers
        except WebhookVerificationError:
            right = False
        self.refused += not right
        self.by[bearer] = self.by.get(bearer, 0) + right
        await answering("204 No Content" if right else "401 Unauthorized")(received, writer)  # type: ignore[arg-type]

    @property
    def url(self) -> str:
        """Where it is."""
        assert self.server is not None
        return self.server.url


@contextlib.asynccontextmanager
async def desk() -> AsyncIterator[Desk]:
    """A receiver with a bearer and a secret."""
    made = Desk({"first-bearer"}, _secret())
    async with receiver(made.behave) as server:
        made.server = server
        yield made


async def _exchange(at: Desk, write: Callable[[str, list[str]], None], taken: Callable[[], Awaitable[None]]) -> None:
    """Exchange both, as the guide says."""
    before, new = at.secret, _secret()
    at.bearers.add("second-bearer")
    write("second-bearer", [new, before])
    await taken()
    async with _arriving(at, "second-bearer", 3):
        pass  # what went out with the first one has arrived by then
    at.bearers.discard("first-bearer")
    at.secret = new
    write("second-bearer", [new])
    await taken()


@rotates("external_queues")
async def test_external_queues_are_delivered_all_the_while(
    database: Database, tmp_path: Path, unused_tcp_port: int, heard: Heard
) -> None:
    backend = PgmqBackend(database, listener=None, notifier=None, clock=SystemClock())
    await backend.create(QUEUE)

    async def send() -> str:
        made = Record(id=uuid7(), body=b"{}", created_at=SystemClock().now())
        await backend.send(QUEUE, [Envelope((made,))])
        return ""

    async with desk() as at:
        files = Files(tmp_path)

        def write(bearer: str, whsecs: list[str]) -> None:
            table = {"url": at.url, "allow_private": True, "bearer": bearer, "secrets": whsecs}
            files.write("external_queues", {QUEUE: table})

        write("first-bearer", [at.secret])
        chosen = files.settings(
            database_url=database.config.url, worker_port=unused_tcp_port, queues={QUEUE: {"retry_base_s": 0.05}}
        )
        async with running(work, chosen, unused_tcp_port), load() as calls:
            calls.begin(send, callers=1)
            await calls.more()
            async with _arriving(at, "first-bearer", 10):
                await calls.more()
            await _exchange(at, write, lambda: heard.taken_up("external_queues"))
            async with _arriving(at, "second-bearer", 10):
                await calls.more()
    assert not at.refused


@contextlib.asynccontextmanager
async def _arriving(at: Desk, bearer: str, more: int) -> AsyncIterator[None]:
    """So many more arrive, from the beginning of the block on."""
    goal = at.by.get(bearer, 0) + more
    yield
    async with asyncio.timeout(60):
        while at.by.get(bearer, 0) < goal:  # noqa: ASYNC110 - a count, which tells nobody
            await asyncio.sleep(0.02)


@rotates("alarm_targets", "audit_sinks")
async def test_people_are_told_and_the_audit_log_is_sent_on_all_the_while(
    database: Database, tmp_path: Path, unused_tcp_port: int, heard: Heard
) -> None:
    keys = ApiKeys(database, audit=Ledger(database))
    token = (await keys.create("default", "operator", role=Role.ADMIN)).token
    async with desk() as people, desk() as auditors:
        files = Files(tmp_path)

        def tell(bearer: str, whsecs: list[str]) -> None:
            table = {"kind": "webhook", "url": people.url, "allow_private": True, "bearer": bearer, "secrets": whsecs}
            files.write("alarm_targets", {"pager": table})

        def send_on(bearer: str, whsecs: list[str]) -> None:
            table = {"kind": "http", "url": auditors.url, "allow_private": True, "bearer": bearer, "secrets": whsecs}
            files.write("audit_sinks", {"archive": table})

        tell("first-bearer", [people.secret])
        send_on("first-bearer", [auditors.secret])
        chosen = files.settings(database_url=database.config.url, station_port=unused_tcp_port)
        async with (
            running(station, chosen, unused_tcp_port) as url,
            httpx.AsyncClient(
                base_url=url, headers={"Authorization": f"Bearer {token}"}, trust_env=False, timeout=30
            ) as client,
            load() as calls,
        ):

            async def test_alarm() -> str:
                answer = await client.post("/api/alarm-test")
                return "" if answer.is_success else json.dumps(answer.json())

            async def act() -> str:
                await keys.create("default", "another", role=Role.ANALYST)
                return ""

            calls.begin(test_alarm, callers=1)
            calls.begin(act, callers=1)
            for at, write, name in ((people, tell, "alarm_targets"), (auditors, send_on, "audit_sinks")):
                async with _arriving(at, "first-bearer", 2):
                    await calls.more()
                await _exchange(at, write, lambda name=name: heard.taken_up(name))  # type: ignore[misc]
                async with _arriving(at, "second-bearer", 2):
                    await calls.more()
                assert not at.refused
