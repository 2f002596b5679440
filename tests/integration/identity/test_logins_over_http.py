"""Logins, sessions and users at two real stations on one database: from the password to the end of the session."""

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from fluxa.auth.roles import Role
from fluxa.postgres.pool import Database
from identity.town import LOGIN, PHRASE, REFRESH, bearing, town

pytestmark = [pytest.mark.req("SEC-1", "STATION-auth")]


@pytest.fixture
def ports(unused_tcp_port_factory: Callable[[], int]) -> list[int]:
    """Of the two stations."""
    return [unused_tcp_port_factory() for _ in range(2)]


async def test_a_login_opens_what_the_role_says_until_it_is_ended(
    database: Database, tmp_path: Path, ports: list[int]
) -> None:
    async with town(database, tmp_path, ports) as here:
        ada, bob = await here.user("ada@example.org", Role.ADMIN), await here.user("bob@example.org", Role.ANALYST)
        admin, reader = await here.pair(" ADA@example.org"), await here.pair("bob@example.org")
        me = (await here.clients[1].get("/api/auth/me", headers=bearing(admin["access_token"]))).json()
        assert (me["name"], me["role"], me["kind"], me["subject"]) == ("ada@example.org", "admin", "user", ada.user_id)
        assert me["session_id"] == admin["session_id"]
        for path, statuses in (("/api/queues", (200, 200)), ("/api/users", (200, 403)), ("/api/auth/me", (200, 200))):
            for pair, status in zip((admin, reader), statuses, strict=True):
                assert await here.everywhere(pair["access_token"], path) == [status, status], path

        other = await here.pair("bob@example.org")
        left = await here.clients[0].post("/api/auth/logout", headers=bearing(reader["access_token"]))
        assert left.status_code == 204
        assert await here.everywhere(reader["access_token"]) == [401, 401]
        assert await here.everywhere(other["access_token"]) == [200, 200]
        told = (await here.clients[0].post(REFRESH, json={"refresh_token": reader["refresh_token"]})).status_code
        assert told == 401

        path = f"/api/users/{bob.user_id}/sessions"
        as_reader = await here.clients[0].delete(path, headers=bearing(other["access_token"]))
        assert as_reader.status_code == 403
        ended = await here.clients[0].delete(path, headers=bearing(admin["access_token"]))
        assert (ended.status_code, ended.json()) == (200, {"ended": 1})
        assert await here.everywhere(other["access_token"]) == [401, 401]
        assert await here.everywhere(admin["access_token"]) == [200, 200]
        acts = await database.fetch("select action, actor from fluxa.ledger order by number")
        assert ("session.revoked_all", f"user:{ada.user_id}") in [(row["action"], row["actor"]) for row in acts]


async def test_a_refresh_token_is_exchanged_once_and_ends_the_session_when_shown_again(
    database: Database, tmp_path: Path, ports: list[int]
) -> None:
    async with town(database, tmp_path, ports) as here:
        await here.user("ada@example.org", Role.ADMIN)
        first = await here.pair("ada@example.org")

        async def refresh(token: str) -> httpx.Response:
            return await here.clients[1].post(REFRESH, json={"refresh_token": token})

        second = (await refresh(first["refresh_token"])).json()
        third = (await refresh(second["refresh_token"])).json()
        assert len({first["refresh_token"], second["refresh_token"], third["refresh_token"]}) == 3
        assert third["session_id"] == first["session_id"]
        assert await here.everywhere(third["access_token"]) == [200, 200]
        stolen = await refresh(first["refresh_token"])
        assert (stolen.status_code, stolen.json()["code"]) == (401, "Unauthenticated")
        assert await here.everywhere(third["access_token"]) == [401, 401]
        assert (await refresh(third["refresh_token"])).status_code == 401
        assert (await refresh("fr_" + "x" * 43)).status_code == 401
        assert (
            await database.fetch_value("select count(*) from fluxa.ledger where action = 'session.reuse_detected'") == 1
        )


async def test_a_wrong_password_says_nothing_and_locks_after_a_few(
    database: Database, tmp_path: Path, ports: list[int]
) -> None:
    async with town(database, tmp_path, ports[:1]) as here:
        await here.user("ada@example.org", Role.ADMIN)
        answers = [await here.login(name, "wrong wrong wrong") for name in ("ada@example.org", "eve@example.org")]
        assert [answer.status_code for answer in answers] == [401, 401]
        assert answers[0].json()["detail"] == answers[1].json()["detail"]
        for _ in range(4):
            assert (await here.login("ada@example.org", "wrong wrong wrong")).status_code == 401
        locked = await here.login("ada@example.org")
        assert (locked.status_code, int(locked.headers["retry-after"]) > 0) == (429, True)
        await here.people.users.unlock("ada@example.org", by="cli")
        assert (await here.login("ada@example.org")).status_code == 200
        for body in (b"[]", b"{", b'{"name": 1, "password": "x"}', b'{"name": "a@b"}'):
            assert (await here.clients[0].post(LOGIN, content=body)).status_code == 400
        assert (await here.clients[0].post(LOGIN, content=b" " * 70_000)).status_code == 413


async def test_logins_are_counted_by_client(database: Database, tmp_path: Path, ports: list[int]) -> None:
    async with town(database, tmp_path, ports[:1], buckets={"login": {"limit": 2}}) as here:
        tried = [await here.login("eve@example.org", "wrong wrong wrong") for _ in range(3)]
        assert [answer.status_code for answer in tried] == [401, 401, 429]
        assert tried[2].json()["code"] == "RateLimited"
        assert tried[2].headers["ratelimit-policy"].startswith('"login";q=2')


async def test_admins_run_the_users_of_their_own_tenant(database: Database, tmp_path: Path, ports: list[int]) -> None:
    async with town(database, tmp_path, ports[:1]) as here:
        ada = await here.user("ada@example.org", Role.ADMIN)
        stranger = await here.user("zoe@example.org", Role.ADMIN, tenant="acme")
        client, admin = here.clients[0], bearing((await here.pair("ada@example.org"))["access_token"])
        new = {"name": "Bob@example.org", "password": PHRASE, "role": "manager"}
        made = await client.post("/api/users", headers=admin, json=new)
        assert (made.status_code, made.json()["name"]) == (201, "bob@example.org")
        assert (await client.post("/api/users", headers=admin, json=new)).status_code == 409
        listed = (await client.get("/api/users", headers=admin)).json()["users"]
        assert [one["name"] for one in listed] == ["ada@example.org", "bob@example.org"]
        assert "password" not in str(listed)

        bob, path = await here.pair("bob@example.org"), made.headers["location"]
        sessions = (await client.get(f"{path}/sessions", headers=admin)).json()["sessions"]
        assert [(one["session_id"], one["address"]) for one in sessions] == [(bob["session_id"], "127.0.0.1")]
        client.headers["X-Correlation-ID"] = "story-1"
        assert (await client.patch(path, headers=admin, json={"role": "analyst"})).json()["role"] == "analyst"
        assert await here.everywhere(bob["access_token"]) == [401]
        assert (await client.patch(path, headers=admin, json={"disabled": True})).json()["disabled"] is True
        assert (await here.login("bob@example.org")).status_code == 401

        rows = await database.fetch("select action, correlation_id from fluxa.ledger where action like 'user.%'")
        said = [row["correlation_id"] for row in rows if row["action"] == "user.changed"]
        assert said == ["story-1", "story-1"], "who looks into an act finds the request"

        own = await client.patch(f"/api/users/{ada.user_id}", headers=admin, json={"disabled": True})
        assert own.status_code == 403
        for missing in (stranger.user_id, "nobody", "%00"):
            assert (await client.get(f"/api/users/{missing}/sessions", headers=admin)).status_code == 404
            assert (await client.patch(f"/api/users/{missing}", headers=admin, json={})).status_code == 404
