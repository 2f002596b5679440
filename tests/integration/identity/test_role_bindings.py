"""Roles bound to routes while processes run: over HTTP and by command, followed by every process, written down."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from fluxa.auth.keys.api_keys import ApiKeys
from fluxa.auth.roles import Role
from fluxa.cli.main import app as commands
from fluxa.kernel.clock import SystemClock
from fluxa.kernel.errors import FluxaError
from fluxa.kernel.ids import Tenant
from fluxa.operations.ledger import Ledger
from fluxa.postgres.pool import Database
from fluxa.telemetry.catalogue import MaintenanceFinished, RoleBindingChanged
from fluxa.testing.signals import Signals
from fluxa.web.identity import Access
from fluxa.web.identity.bindings import Bindings, BindingWatch
from fluxa.web.routes import Auth, Bucket, Operation, Route, Terms
from identity.serving import served
from identity.tokens import Recorder

pytestmark = [pytest.mark.req("SEC-2")]

QUEUES = "/api/queues"
ROLES = "/api/routes/queues_list/roles"


async def _nothing(*_: object) -> None:
    """No endpoint is called here."""


def row(name: str, auth: Auth = Auth.BEARER, roles: frozenset[Role] = frozenset({Role.ADMIN})) -> Route:
    sources = ("stripe",) if auth is Auth.WEBHOOK else ()
    terms = Terms(Bucket.PUBLIC, roles if auth is Auth.BEARER else frozenset())
    return Route(name, f"/{name}", ("GET",), auth, _nothing, Operation(name), terms, sources)


async def _bearing(database: Database, role: Role, tenant: str = "default") -> dict[str, str]:
    made = await ApiKeys(database).create(tenant, f"{tenant} {role}", role=role)
    return {"Authorization": f"Bearer {made.token}"}


@contextlib.asynccontextmanager
async def two(database: Database, folder: Path, ports: Callable[[], int]) -> AsyncIterator[list[httpx.AsyncClient]]:
    """A station and a query service."""
    async with (
        served("station", database, folder, ports()) as station,
        served("query", database, folder, ports()) as query,
    ):
        yield [station, query]


async def _becomes(client: httpx.AsyncClient, path: str, headers: dict[str, str], status: int) -> None:
    """Ask until the answer has this status; within a time in which nobody polls."""
    async with asyncio.timeout(1.5):
        while (await client.get(path, headers=headers)).status_code != status:  # noqa: ASYNC110 - what it waits for happens in the server
            await asyncio.sleep(0.02)


async def test_what_is_bound_counts_at_once_on_every_process(
    database: Database, tmp_path: Path, unused_tcp_port_factory: Callable[[], int]
) -> None:
    async with two(database, tmp_path, unused_tcp_port_factory) as (station, query):
        admin, analyst = await _bearing(database, Role.ADMIN), await _bearing(database, Role.ANALYST)
        places = ((station, "queues_list", QUEUES), (query, "list_events", "/v1/events"))
        for client, name, path in places:
            assert (await client.get(path, headers=analyst)).status_code == 200
            roles = f"/api/routes/{name}/roles"
            bound = await station.put(roles, headers=admin, json={"roles": ["admin"], "reason": "locked down"})
            assert (bound.status_code, bound.json()["roles"]) == (200, ["admin"]), bound.text
            await _becomes(client, path, analyst, 403)
            assert (await client.get(path, headers=admin)).status_code == 200
            assert (await station.delete(roles, headers=admin)).status_code == 204
            await _becomes(client, path, analyst, 200)
        assert (await station.delete(ROLES, headers=admin)).status_code == 404


async def test_bindings_are_in_the_audit_log_with_who_and_what_was_before(database: Database) -> None:
    bindings = Bindings(database, Ledger(database), Tenant("default"))
    await bindings.tell("station", [row("a")], version="1")
    await bindings.bind("a", [Role.MANAGER, Role.ADMIN], by="user:u1", reason="night", correlation_id="c-1")
    await bindings.bind("a", [], by="key:k1")
    await bindings.unbind("a", by="cli:ada")
    found = await database.fetch(
        "select actor, action, subject, detail::text as detail, correlation_id from fluxa.ledger order by number"
    )
    assert [(one["actor"], one["action"], one["subject"], one["correlation_id"]) for one in found] == [
        ("user:u1", "role_binding.changed", "route:a", "c-1"),
        ("key:k1", "role_binding.changed", "route:a", ""),
        ("cli:ada", "role_binding.removed", "route:a", ""),
    ]
    assert [json.loads(one["detail"]) for one in found] == [
        {"before": None, "roles": ["admin", "manager"], "reason": "night"},
        {"before": ["admin", "manager"], "roles": [], "reason": ""},
        {"before": []},
    ]


async def test_an_act_that_cannot_be_written_down_is_not_done(database: Database) -> None:
    class Full:
        async def record(self, *_: object) -> None:
            raise FluxaError("Overloaded", "the log takes nothing")

    bindings = Bindings(database, Full(), Tenant("default"))
    await bindings.tell("station", [row("a")], version="1")
    with pytest.raises(FluxaError, match="takes nothing"):
        await bindings.bind("a", [Role.MANAGER], by="cli")
    assert await bindings.all() == []


async def test_a_binding_that_makes_no_sense_or_locks_the_admins_out_is_refused(database: Database) -> None:
    bindings = Bindings(database, Recorder(), Tenant("default"))
    with pytest.raises(FluxaError, match="No process has told yet") as untold:
        await bindings.bind("queues_list", [Role.ADMIN], by="cli")
    assert untold.value.code == "NotFound"
    rows = [row("queues_list"), row("routes_list"), row("routes_bind"), row("routes_unbind")]
    rows += [row("open", Auth.OPEN), row("cron", Auth.CRON), row("hook", Auth.WEBHOOK)]
    await bindings.tell("station", rows, version="1")
    for name, code in {
        "queue_list": "NotFound",
        "\x00": "NotFound",
        "open": "InvalidRequest",
        "cron": "InvalidRequest",
        "hook": "InvalidRequest",
        "routes_list": "Refused",
        "routes_bind": "Refused",
        "routes_unbind": "Refused",
    }.items():
        for roles in ([], [Role.MANAGER, Role.SERVICE]):
            with pytest.raises(FluxaError) as refused:
                await bindings.bind(name, roles, by="cli")
            assert refused.value.code == code, name
    assert await bindings.all() == []
    with pytest.raises(FluxaError, match="Do you mean queues_list"):
        await bindings.bind("queue_list", [Role.ADMIN], by="cli")
    bound = await bindings.bind("routes_bind", [Role.ADMIN, Role.MANAGER], by="cli")
    assert bound.roles == [Role.ADMIN, Role.MANAGER]
    with pytest.raises(FluxaError, match="Nothing is bound"):
        await bindings.unbind("\x00", by="cli")


async def test_the_table_is_what_processes_told_last(database: Database) -> None:
    bindings = Bindings(database, Recorder(), Tenant("default"))
    await bindings.tell("station", [row("a"), row("b"), row("health", Auth.OPEN)], version="1")
    await bindings.tell("query", [row("health", Auth.OPEN)], version="1")
    await bindings.bind("a", [Role.MANAGER], by="cli")
    await bindings.tell("station", [row("b"), row("health", Auth.OPEN)], version="2")
    table = await bindings.table()
    assert [(one.name, one.processes, one.binding) for one in table.routes] == [
        ("b", ["station"], None),
        ("health", ["query", "station"], None),
    ]
    assert [one.route for one in table.lost] == ["a"]
    await bindings.tell("station", [row("a")], version="3")
    (again,) = [one for one in (await bindings.table()).routes if one.name == "a"]
    assert again.binding is not None
    assert (again.roles, again.binding.roles) == (["admin"], [Role.MANAGER])


async def test_a_process_follows_without_wake_ups_and_keeps_what_it_knew_in_an_outage(database: Database) -> None:
    signals, access, clock = Signals(), Access(Tenant("default")), SystemClock()
    bindings = Bindings(database, Recorder(), Tenant("default"))
    await bindings.tell("station", [row("a"), row("b")], version="1")
    await bindings.bind("a", [], by="cli")
    watch = BindingWatch(bindings, access, listener=None, clock=clock, hook=signals.hear, period_s=0.02)
    await watch.start()
    try:
        assert signals.heard == [RoleBindingChanged("a", (), "cli")]
        await bindings.bind("b", [Role.AGENT], by="key:k")
        await signals.wait_for(RoleBindingChanged, lambda one: one == RoleBindingChanged("b", ("agent",), "key:k"))
        await database.execute("alter table fluxa.role_bindings rename to away")
        await signals.wait_for(MaintenanceFinished)
        assert access.roles(row("a")) == frozenset()
        await database.execute("alter table fluxa.away rename to role_bindings")
        await bindings.unbind("a", by="cli")
        await signals.wait_for(RoleBindingChanged, lambda one: one == RoleBindingChanged("a", None))
        assert access.roles(row("a")) == {Role.ADMIN}
        assert access.roles(row("b")) == {Role.AGENT}
    finally:
        await watch.stop()


async def test_over_http_only_admins_of_the_default_tenant_bind(
    database: Database, tmp_path: Path, unused_tcp_port_factory: Callable[[], int]
) -> None:
    async with served("station", database, tmp_path, unused_tcp_port_factory()) as client:
        admin = await _bearing(database, Role.ADMIN)
        for others in (await _bearing(database, Role.ADMIN, "acme"), await _bearing(database, Role.MANAGER)):
            for method, path in (("GET", "/api/routes"), ("PUT", ROLES), ("DELETE", ROLES)):
                answer = await client.request(method, path, headers=others, content=b'{"roles": []}')
                assert answer.status_code == 403, (method, path)
        for content, status in (
            (b'{"roles": ["boss"]}', 400),
            (b'{"roles": "admin"}', 400),
            (b"{}", 400),
            (b"{", 400),
            (b'{"roles": [], "tenant": "acme"}', 400),
        ):
            assert (await client.put(ROLES, headers=admin, content=content)).status_code == status, content
        assert (await client.put("/api/routes/gone/roles", headers=admin, json={"roles": []})).status_code == 404
        locked = await client.put("/api/routes/routes_bind/roles", headers=admin, json={"roles": ["manager"]})
        assert (locked.status_code, locked.json()["code"]) == (409, "Refused")
        assert (await client.get("/api/routes", headers=admin)).json()["lost"] == []


async def _fluxa(database: Database, folder: Path, *words: str) -> str:
    """What a command writes; the exit code before it."""
    given = ["--home", str(folder), "--set", f"database_url={database.config.url}"]
    found = await asyncio.to_thread(CliRunner().invoke, commands, [*given, *words])
    return f"{found.exit_code} {found.output}"


@pytest.mark.req("STATION-table")
async def test_routes_are_shown_bound_and_unbound_by_commands(
    database: Database, tmp_path: Path, unused_tcp_port_factory: Callable[[], int]
) -> None:
    assert "No process has told yet" in await _fluxa(database, tmp_path, "routes")
    async with served("station", database, tmp_path, unused_tcp_port_factory()) as client:
        document = (await client.get("/openapi.json")).json()
    printed = (await _fluxa(database, tmp_path, "routes", "--json")).removeprefix("0 ").splitlines()
    shown = [json.loads(line) for line in printed]
    assert {(one["path"], method.lower()) for one in shown for method in one["methods"]} == {
        (path, method) for path, methods in document["paths"].items() for method in methods
    }
    pause = next(one for one in shown if one["name"] == "queues_pause")
    assert pause | {"told_at": None, "roles": sorted(pause["roles"])} == {
        "name": "queues_pause",
        "path": "/api/queues/{queue}/pause",
        "methods": ["POST"],
        "auth": "bearer",
        "bucket": "operation",
        "roles": ["admin", "manager", "service"],
        "binding": None,
        "scope": "queues:write",
        "platform": True,
        "body_max_bytes": pause["body_max_bytes"],
        "timeout_s": 60.0,
        "processes": ["station"],
        "told_at": None,
    }
    assert (await _fluxa(database, tmp_path, "routes", "bind", "queues_pause")).startswith("2 ")
    assert (await _fluxa(database, tmp_path, "routes", "bind", "queues_pause", "--role", "boss")).startswith("2 ")
    assert (await _fluxa(database, tmp_path, "routes", "bind", "queues_paus", "--nobody")).startswith("4 ")
    assert (await _fluxa(database, tmp_path, "routes", "bind", "routes_bind", "--nobody")).startswith("3 ")
    done = await _fluxa(database, tmp_path, "routes", "bind", "queues_pause", "--role", "admin", "--reason", "night")
    assert done.startswith("0 From now on queues_pause can be called by: admin.")
    assert "wider" not in done
    opened = await _fluxa(database, tmp_path, "routes", "bind", "audit_list", "--role", "admin", "--role", "agent")
    assert "That is wider than the route was built for: its own row does not let in agent." in opened.replace("\n", " ")
    assert (await _fluxa(database, tmp_path, "routes", "unbind", "audit_list")).startswith("0 ")
    table = await _fluxa(database, tmp_path, "routes", "list", "--process", "station")
    (line,) = [line for line in table.splitlines() if line.startswith("queues_pause")]
    assert "* admin (row: admin manager service)" in line
    assert "queues_pause" not in await _fluxa(database, tmp_path, "routes", "list", "--process", "query")
    assert (await _fluxa(database, tmp_path, "routes", "unbind", "queues_pause")).startswith("0 ")
    assert (await _fluxa(database, tmp_path, "routes", "unbind", "queues_pause")).startswith("4 ")
