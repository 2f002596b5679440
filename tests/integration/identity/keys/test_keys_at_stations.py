"""API keys at two real stations on one database: what commands do to a key counts with the next request at both."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from fluxa.auth.keys.accounts import ServiceAccounts
from fluxa.auth.keys.api_keys import ApiKeys
from fluxa.auth.roles import Role
from fluxa.operations.ledger import Ledger
from fluxa.postgres.pool import Database
from identity.town import Town, bearing, town

pytestmark = [pytest.mark.req("STATION-auth", "SEC-2", "SEC-5")]


@pytest.fixture
def ports(unused_tcp_port_factory: Callable[[], int]) -> list[int]:
    """Of the two stations."""
    return [unused_tcp_port_factory() for _ in range(2)]


async def _refused(here: Town, token: str) -> None:
    """Both stations refuse it; the wake-up has a moment to arrive, as it has before anybody's next request."""
    async with asyncio.timeout(1.0):
        while await here.everywhere(token) != [401, 401]:
            pass


async def test_a_key_that_is_ended_is_refused_by_every_station(
    database: Database, tmp_path: Path, ports: list[int]
) -> None:
    keys, ledger = ApiKeys(database, Ledger(database)), Ledger(database)
    accounts = ServiceAccounts(database, keys, ledger)
    await accounts.create("default", "billing", role=Role.ANALYST, by="cli")
    revoked = await keys.create("default", "ci", role=Role.ADMIN)
    owned = await keys.create("default", "of an account", account="billing")
    brief = await keys.create("default", "brief", role=Role.ADMIN, expires_in_s=20)
    other = await keys.create("default", "other", role=Role.ADMIN)
    async with town(database, tmp_path, ports) as here:
        for made in (revoked, owned, other):
            assert await here.everywhere(made.token) == [200, 200]
        await keys.revoke(revoked.key.key_id)
        await _refused(here, revoked.token)
        told = await here.clients[0].get("/api/auth/me", headers=bearing(revoked.token))
        assert "not valid" in told.json()["detail"]

        await accounts.disable("default", "billing", by="cli")
        await _refused(here, owned.token)
        told = await here.clients[1].get("/api/auth/me", headers=bearing(owned.token))
        assert "billing" in told.json()["detail"]
        guessed = await here.clients[1].get("/api/auth/me", headers=bearing(owned.token[:-4] + "AAAA"))
        assert "billing" not in guessed.text

        await database.execute(
            "update fluxa.api_keys set expires_at = now() - interval '1 s' where key_id = $1", brief.key.key_id
        )
        told = await here.clients[0].get("/api/auth/me", headers=bearing(brief.token))
        assert (told.status_code, told.json()["code"]) == (401, "Unauthenticated")
        assert "expired at" in told.json()["detail"]

        turned = await keys.rotate(other.key.key_id, overlap_s=600)
        assert await here.everywhere(turned.token) == [200, 200]
        assert await here.everywhere(other.token) == [200, 200]
        last = await keys.rotate(other.key.key_id, overlap_s=0)
        assert await here.everywhere(last.token) == [200, 200]
        await _refused(here, turned.token)
        await _refused(here, other.token)
    used = {one.name: one.last_used_at for one in await keys.list()}
    assert used["ci"] is not None
    assert used["other"] is not None
    assert used["brief"] is None


async def test_a_narrowed_key_may_what_its_scopes_say_and_what_concerns_itself(
    database: Database, tmp_path: Path, ports: list[int]
) -> None:
    keys = ApiKeys(database)
    made = await keys.create("default", "watcher", role=Role.ADMIN, narrowed=["queues:read", "users:read"])
    whole = await keys.create("default", "whole", role=Role.ADMIN)
    async with town(database, tmp_path, ports[:1]) as here:
        client = here.clients[0]
        for method, path, status in (
            ("GET", "/api/auth/me", 200),
            ("GET", "/api/queues", 200),
            ("GET", "/api/users", 200),
            ("POST", "/api/queues/events/pause", 403),
            ("POST", "/api/users", 403),
            ("GET", "/api/audit", 403),
            ("GET", "/api/alarms", 403),
        ):
            answer = await client.request(method, path, headers=bearing(made.token))
            assert answer.status_code == status, (path, answer.text)
            if status == 403:
                assert "scope" in answer.json()["detail"]
            assert (await client.request(method, path, headers=bearing(whole.token))).status_code != 403
        metrics = (await client.get("/metrics")).text
    assert 'reason="scope"' in metrics
