"""Nobody gives rights that he does not have: users and bindings, by narrowed keys and by roles that were let in."""

import contextlib
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from fluxa.auth.keys.api_keys import ApiKeys
from fluxa.auth.roles import Role
from fluxa.auth.scopes import GRANTED, holders
from fluxa.postgres.pool import Database
from identity.serving import served
from identity.town import PHRASE, bearing, town
from integration.web.matrix.expected import EXPECTED

pytestmark = [pytest.mark.req("SEC-2", "STATION-auth")]

USERS = "/api/users"


async def key(database: Database, role: Role, *scopes: str) -> dict[str, str]:
    made = await ApiKeys(database).create("default", f"{role} {scopes}", role=role, narrowed=scopes)
    return bearing(made.token)


def test_it_is_written_down_for_which_roles_scopes_are_built() -> None:
    rows = [row for rows in EXPECTED.values() for row in rows.values()]
    built = {scope: {role for row in rows if row.scope == scope for role in row.roles} for scope in GRANTED}
    assert built == {scope: set(holders(scope)) for scope in GRANTED}


async def make(client: httpx.AsyncClient, as_: dict[str, str], role: str) -> httpx.Response:
    new = {"name": f"{role}@example.org", "password": PHRASE, "role": role}
    return await client.post(USERS, headers=as_, json=new)


async def bind(client: httpx.AsyncClient, as_: dict[str, str], route: str, *roles: str) -> httpx.Response:
    return await client.put(f"/api/routes/{route}/roles", headers=as_, json={"roles": list(roles)})


async def test_a_narrowed_key_makes_and_changes_only_users_who_may_no_more_than_itself(
    database: Database, tmp_path: Path, unused_tcp_port: int
) -> None:
    async with town(database, tmp_path, [unused_tcp_port]) as here:
        ada = await here.user("ada@example.org", Role.ADMIN)
        bob = await here.user("bob@example.org", Role.AGENT)
        client = here.clients[0]
        narrow = await key(database, Role.ADMIN, "users:write")
        wider = await key(
            database, Role.ADMIN, "users:write", "queues:read", "alarms:read", "metrics:read", "flags:read"
        )
        for role in Role:
            refused = await make(client, narrow, role)
            assert (refused.status_code, "Nobody gives rights" in refused.text) == (403, True), role
        made = await make(client, wider, "agent")
        assert made.status_code == 201, made.text
        assert (await make(client, wider, "admin")).status_code == 403

        changes: list[dict[str, object]] = [{"password": f"{PHRASE} 2"}, {"role": "analyst"}, {"disabled": False}]
        for change in changes:  # in whose hands the account would then be
            answer = await client.patch(f"{USERS}/{ada.user_id}", headers=wider, json=change)
            assert answer.status_code == 403, (change, answer.text)
        raised = await client.patch(f"{USERS}/{bob.user_id}", headers=wider, json={"role": "admin"})
        assert raised.status_code == 403
        assert (await here.login("ada@example.org")).status_code == 200
        same = await client.patch(f"{USERS}/{bob.user_id}", headers=wider, json={"password": f"{PHRASE} 3"})
        assert same.status_code == 200, same.text
        # What takes away is given to nobody.
        ended = await client.patch(f"{USERS}/{ada.user_id}", headers=narrow, json={"disabled": True})
        assert (ended.status_code, ended.json()["disabled"]) == (200, True)
        assert (await client.delete(f"{USERS}/{bob.user_id}/sessions", headers=narrow)).status_code == 200
        text = (await client.get("/metrics")).text
        counted = [line for line in text.splitlines() if line.startswith("fluxa_authentication_failures_total")]
        assert any("users_create" in line and 'reason="scope"' in line for line in counted)


@pytest.mark.req("SEC-1")
async def test_a_stream_ends_with_the_key_or_the_session_that_opened_it(
    database: Database, tmp_path: Path, unused_tcp_port_factory: Callable[[], int]
) -> None:
    async with (
        town(database, tmp_path, [unused_tcp_port_factory()]) as here,
        served("query", database, tmp_path, unused_tcp_port_factory()) as query,
    ):
        keys = ApiKeys(database)
        made = await keys.create("default", "reader", role=Role.ANALYST)
        ada = await here.user("ada@example.org", Role.ANALYST)
        pair = await here.pair("ada@example.org")
        opened = [made.token, pair["access_token"]]
        async with contextlib.AsyncExitStack() as stack:
            streams = [
                await stack.enter_async_context(query.stream("GET", "/v1/events/stream", headers=bearing(token)))
                for token in opened
            ]
            assert [stream.status_code for stream in streams] == [200, 200]
            await keys.revoke(made.key.key_id, by="cli")
            await here.people.users.end_sessions(ada.user_id, by="cli")
            for stream in streams:
                with pytest.raises(httpx.RemoteProtocolError):  # cut, and not ended as if there were no more
                    await stream.aread()
        for token in opened:
            assert (await query.get("/v1/events/stream", headers=bearing(token))).status_code == 401


async def test_a_role_that_was_let_in_gives_no_more_than_it_has(
    database: Database, tmp_path: Path, unused_tcp_port: int
) -> None:
    async with served("station", database, tmp_path, unused_tcp_port) as client:
        admin, manager = await key(database, Role.ADMIN), await key(database, Role.MANAGER)
        for route in ("users_create", "users_change", "routes_bind", "routes_unbind"):
            assert (await bind(client, admin, route, "admin", "manager")).status_code == 200
        assert (await bind(client, admin, "queues_list", "admin")).status_code == 200
        assert (await make(client, admin, "admin")).status_code == 201
        assert (await make(client, manager, "admin")).status_code == 403
        assert (await make(client, manager, "agent")).status_code == 201, "all that an agent may a manager may too"

        for route, roles in (("audit_list", ["manager"]), ("audit_list", ["admin", "analyst"])):
            refused = await bind(client, manager, route, *roles)
            assert (refused.status_code, "Nobody gives rights" in refused.text) == (403, True)
        undone = await client.delete("/api/routes/queues_list/roles", headers=manager)
        assert undone.status_code == 403, "the row would let managers in again"
        assert (await bind(client, manager, "audit_list")).status_code == 200, "closing gives nothing"
        assert (await client.delete("/api/routes/audit_list/roles", headers=manager)).status_code == 403
        assert (await bind(client, manager, "queues_pause", "admin", "manager", "agent")).status_code == 200


async def test_a_key_narrowed_to_bindings_closes_routes_and_opens_none(
    database: Database, tmp_path: Path, unused_tcp_port: int
) -> None:
    async with served("station", database, tmp_path, unused_tcp_port) as client:
        narrow = await key(database, Role.ADMIN, "roles:write")
        closed = await bind(client, narrow, "queues_pause", "admin")
        assert (closed.status_code, closed.json()["beyond_row"]) == (200, [])
        assert (await bind(client, narrow, "queues_pause", "admin", "agent")).status_code == 403
        assert (await client.delete("/api/routes/queues_pause/roles", headers=narrow)).status_code == 403
        opened = await bind(client, narrow, "routes_list", "admin", "analyst")
        assert (opened.status_code, opened.json()["beyond_row"]) == (200, ["analyst"])
