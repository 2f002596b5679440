"""Keys behind tokens are replaced while people work at two stations; who is put out is out everywhere at once."""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from fluxa.apps.ingest import ingest
from fluxa.apps.query import query
from fluxa.apps.serving.identity import signing_keys
from fluxa.apps.serving.people import People, know_people
from fluxa.apps.settings import Settings
from fluxa.apps.station import station
from fluxa.auth.keys.api_keys import ApiKeys
from fluxa.auth.roles import Role
from fluxa.auth.sessions.postgres_store import PostgresSessions
from fluxa.auth.tokens.signing_keys import KeyState
from fluxa.kernel.clock import SystemClock
from fluxa.operations.ledger import Ledger
from fluxa.postgres.pool import Database
from fluxa.web.routes import Bucket
from identity.openid import CLIENT_ID, CLIENT_SECRET, provider
from integration.process.rotation.stand import Files, Heard, getting, load, rotates, running

pytestmark = [pytest.mark.req("SEC-5", "SEC-1")]

NAME, PHRASE = "ada@example.org", "correct horse battery"
OLD, NEW = "the secret that sealed the keys until now", "the secret that seals the keys from now on"
UNBOUND = {bucket: {"limit": 0} for bucket in Bucket}


async def _people(database: Database) -> People:
    clock = SystemClock()
    people = know_people(database, PostgresSessions(database, clock), Ledger(database), clock)
    await people.users.create("default", NAME, PHRASE, role=Role.ADMIN, by="cli")
    return people


async def _login(client: httpx.AsyncClient) -> dict[str, Any]:
    answer = await client.post("/api/auth/login", json={"name": NAME, "password": PHRASE})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def _as(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@rotates("secret_key", "signing keys", "refresh tokens")
async def test_keys_and_what_seals_them_are_replaced_while_people_work(
    database: Database, tmp_path: Path, unused_tcp_port_factory: Callable[[], int], heard: Heard
) -> None:
    files, ports = Files(tmp_path), [unused_tcp_port_factory() for _ in range(2)]
    await _people(database)
    files.write("secret_key", OLD)

    def settings(port: int) -> Settings:
        return files.settings(database_url=database.config.url, station_port=port, buckets=UNBOUND)

    async with contextlib.AsyncExitStack() as stack:
        clients = []
        for port in ports:
            url = await stack.enter_async_context(running(station, settings(port), port))
            clients.append(
                await stack.enter_async_context(httpx.AsyncClient(base_url=url, trust_env=False, timeout=30))
            )
        first, second = clients
        oldest = await _login(first)

        async def working() -> Callable[[], Any]:
            pair = await _login(first)

            async def work() -> str:
                nonlocal pair
                answer = await first.post("/api/auth/refresh", json={"refresh_token": pair["refresh_token"]})
                if answer.status_code != httpx.codes.OK:
                    return answer.text
                pair = answer.json()
                return await getting(second, "/api/auth/me", headers=_as(pair["access_token"]))()

            return work

        async with load() as calls:
            for _ in range(2):
                calls.begin(await working(), callers=1)
            await calls.more()
            files.write("secret_key", f"{NEW},{OLD}")
            await heard.taken_up("secret_key", times=2)
            keys = signing_keys(settings(0), database, audit=Ledger(database))
            assert await keys.sealed_before() == 1
            assert (await keys.reseal(by="cli"), await keys.reseal(by="cli")) == (1, 0)
            files.write("secret_key", NEW)
            await heard.taken_up("secret_key", times=2)
            await calls.more()
            keys = signing_keys(settings(0), database, audit=Ledger(database))
            made = await keys.rotate(overlap_s=1.0, by="cli")
            async with asyncio.timeout(30):
                while {key.kid: key.state for key in await keys.all()}[made.kid] is not KeyState.ACTIVE:
                    await calls.more(1)
            await calls.more()
        (before,) = [key for key in await keys.all() if key.state is KeyState.RETIRING]
        assert not await getting(second, "/api/auth/me", headers=_as(oldest["access_token"]))()
        await keys.retire(before.kid, by="cli")
        async with asyncio.timeout(10):
            for client in clients:  # heard by a wake-up
                while not await getting(client, "/api/auth/me", headers=_as(oldest["access_token"]))():  # noqa: ASYNC110
                    await asyncio.sleep(0.01)


@rotates("oidc_client_secret")
async def test_the_secret_at_the_provider_is_replaced_while_people_log_in(
    database: Database, tmp_path: Path, unused_tcp_port: int, heard: Heard
) -> None:
    await _people(database)
    files, fresh = Files(tmp_path), "another secret of the client"
    files.write("oidc_client_secret", CLIENT_SECRET)
    async with provider() as outside:
        chosen = files.settings(
            database_url=database.config.url,
            station_port=unused_tcp_port,
            secret_key=NEW,
            buckets=UNBOUND,
            oidc_issuer=outside.url,
            oidc_client_id=CLIENT_ID,
            oidc_redirect_url=f"http://127.0.0.1:{unused_tcp_port}/api/auth/oidc/callback",
        )
        async with running(station, chosen, unused_tcp_port) as url, load() as calls:

            async def log_in() -> str:
                async with httpx.AsyncClient(trust_env=False, timeout=30) as browser:
                    begun = await browser.get(f"{url}/api/auth/oidc/start")
                    sent = await browser.get(begun.headers["location"])
                    answer = await browser.get(sent.headers["location"])
                return "" if answer.status_code == httpx.codes.OK else answer.text

            calls.begin(log_in, callers=2)
            await calls.more(4)
            outside.secret, outside.before = fresh, CLIENT_SECRET
            await calls.more(4)
            files.write("oidc_client_secret", fresh)
            await heard.taken_up("oidc_client_secret")
            await calls.more(4)  # those that had begun with the first one have ended
            outside.before = ""
            await calls.more(4)


@rotates("api_key", "API keys")
async def test_an_api_key_is_replaced_while_it_is_used(
    database: Database, tmp_path: Path, unused_tcp_port: int
) -> None:
    keys = ApiKeys(database)
    old = await keys.create("acme", "before", role=Role.ANALYST)
    chosen = Files(tmp_path).settings(database_url=database.config.url, query_port=unused_tcp_port, buckets=UNBOUND)
    async with (
        running(query, chosen, unused_tcp_port) as url,
        httpx.AsyncClient(base_url=url, trust_env=False, timeout=30) as client,
        load() as calls,
    ):
        calls.begin(getting(client, "/v1/events", headers=_as(old.token)))
        await calls.more()
        new = await keys.rotate(old.key.key_id)
        calls.begin(getting(client, "/v1/events", headers=_as(new.token)))
        await calls.more()


@rotates("passwords of users")
async def test_who_is_put_out_is_out_at_the_next_request_of_every_process(
    database: Database, tmp_path: Path, unused_tcp_port_factory: Callable[[], int]
) -> None:
    people = await _people(database)
    ports = {name: unused_tcp_port_factory() for name in ("ingest", "query", "station")}
    chosen = Files(tmp_path).settings(
        database_url=database.config.url,
        secret_key=NEW,
        buckets=UNBOUND,
        **{f"{name}_port": port for name, port in ports.items()},
    )
    paths = {"ingest": "/v1/schemas", "query": "/v1/events", "station": "/api/auth/me"}
    async with contextlib.AsyncExitStack() as stack:
        clients = {}
        for name, service in (("ingest", ingest), ("query", query), ("station", station)):
            url = await stack.enter_async_context(running(service, chosen, ports[name]))
            made = httpx.AsyncClient(base_url=url, trust_env=False, timeout=30)
            clients[name] = await stack.enter_async_context(made)

        async def everywhere(token: str) -> list[int]:
            return [(await clients[name].get(path, headers=_as(token))).status_code for name, path in paths.items()]

        user = await people.users.find(NAME)

        async def log_out() -> None:
            await clients["station"].post("/api/auth/logout", headers=_as(token))

        async def end_all() -> None:
            await people.users.end_sessions(user.user_id, by="cli")

        async def change_password() -> None:
            await people.users.set_password(user.user_id, PHRASE, by="cli")

        keys = ApiKeys(database)
        key = await keys.create("default", "ci", role=Role.ADMIN)
        paths["station"] = "/api/queues"
        assert await everywhere(key.token) == [200] * 3
        await keys.revoke(key.key.key_id)
        async with asyncio.timeout(5):  # by a wake-up
            while await everywhere(key.token) != [401] * 3:
                pass

        for put_out in (log_out, end_all, change_password):
            token = (await _login(clients["station"]))["access_token"]
            assert await everywhere(token) == [200] * 3
            await put_out()
            assert await everywhere(token) == [401] * 3, put_out.__name__
