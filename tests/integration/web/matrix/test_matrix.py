"""Every route of every process against every kind of credential, and against what is written down of it."""

import ast
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from fluxa.postgres.pool import Database
from fluxa.web.routes import Bucket
from house.tree import SOURCE
from identity.serving import PROCESSES, served
from identity.tokens import office
from integration.web.matrix.credentials import (
    CRON_JOB,
    OURS,
    Caller,
    Headers,
    Kind,
    Wallet,
    Who,
    callers,
    filled,
    machines,
    narrowed,
    not_keys,
    not_tokens,
)
from integration.web.matrix.expected import BEARER, CRON, EXPECTED, OPEN, Row
from making.callers.calls import LEGACY, OLDER, OVERRIDE, SECRET, signed

SETTINGS: dict[str, object] = {
    "log_level": "error",
    "buckets": {str(bucket): {"limit": 0} for bucket in Bucket},
    "cron_secrets": f"{SECRET},{OLDER}",
    "queue_processor_override_token": OVERRIDE,
    "queue_processor_legacy_mode": True,
    "queue_processor_legacy_secret": LEGACY,
}
OF_THE_WORKER = {"external_queues": {"package_generation": {"url": "http://127.0.0.1:9/", "allow_private": True}}}
EVENT = b'{"specversion":"1.0","id":"1","source":"/s","type":"t"}'
SMALL = tuple(name for name in PROCESSES if name != "station")
GROUPS = ("not keys", "not tokens", "callers", "narrowed", "machines")


@dataclass
class Place:
    """A process that runs, and what it is asked with."""

    name: str
    client: httpx.AsyncClient
    wallet: Wallet

    @property
    def rows(self) -> dict[str, Row]:
        """What is expected of it."""
        return EXPECTED[self.name]

    async def ask(self, row: Row, headers: Headers, query: str = "") -> httpx.Response:
        """Ask as the row says; of what streams without an end, only the head is read."""
        given = {**headers, "Content-Type": "application/cloudevents+json"} if row.event else headers
        content = EVENT if row.event else None
        request = self.client.build_request(row.method, row.path + query, headers=given, content=content)
        answer = await self.client.send(request, stream=True)
        try:
            if not answer.headers["content-type"].startswith("text/event-stream"):
                await answer.aread()
        finally:
            await answer.aclose()
        return answer


@contextlib.asynccontextmanager
async def place(name: str, database: Database, folder: Path, port: int) -> AsyncIterator[Place]:
    """This process, as its command runs it."""
    more = OF_THE_WORKER if name == "worker" else {}
    async with office(database) as at:
        clients: list[httpx.AsyncClient] = []

        async def used(row: Row) -> Headers:
            made = signed(row.path, method=row.method)
            await clients[0].request(row.method, row.path, headers=made)
            return made

        wallet = await filled(database, at, used)
        async with served(name, database, folder, port, **SETTINGS, **more) as client:
            clients.append(client)
            yield Place(name, client, wallet)


def may(row: Row, who: Who) -> bool:
    """Whether the row is for this one."""
    if row.auth == OPEN:
        return True
    if row.auth == CRON:
        return who == CRON_JOB
    if not isinstance(who, Caller):
        return False
    return (
        who.role in row.roles
        and (who.scope in {None, row.scope} or row.scope == "own")
        and (who.tenant == OURS or not row.platform)
        and (who.person or not row.person)
    )


def expected(row: Row, who: Who) -> int:
    """The status that this one gets."""
    if may(row, who):
        return row.right
    return 403 if row.auth == BEARER and isinstance(who, Caller) else 401


async def _kinds(wallet: Wallet, group: str) -> Sequence[Kind]:
    made = {"not keys": not_keys, "callers": callers, "narrowed": narrowed, "machines": machines}.get(group)
    return await not_tokens(wallet) if made is None else made(wallet)


async def _told(database: Database, name: str) -> dict[str, tuple[object, ...]]:
    """What the process says of its own table."""
    found = await database.fetch(
        "select name, methods, path, auth, roles, scope, platform from fluxa.routes where process = $1", name
    )
    return {
        row["name"]: (f"{' '.join(row['methods'])} {row['path']}", row["auth"], set(row["roles"]), *row[5:])
        for row in found
    }


async def _effects(here: Place) -> tuple[int, int]:
    """What would show that a call was done: acts that were written down, events that were taken in."""
    acts = await here.wallet.database.fetch_value("select count(*) from fluxa.ledger")
    if here.name != "ingest":
        return acts, 0
    return acts, await here.wallet.database.fetch_value("select count(*) from pgmq.q_events")


async def _compare(here: Place, kinds: Sequence[Kind]) -> list[str]:
    """What is not as expected."""
    wrong = []
    for name, row in here.rows.items():
        for kind in kinds:
            answer = await here.ask(row, await kind.headers(row), kind.query)
            status = expected(row, kind.who)
            if kind.query and row.auth == OPEN and answer.status_code == 400:
                continue  # it takes no such parameter, and says so
            code = {401: "Unauthenticated", 403: "Forbidden"}.get(status)
            told = answer.headers["content-type"] == "application/problem+json" and answer.json().get("code")
            asked = answer.headers.get("www-authenticate", "")
            scheme = "Fluxa-Signature" if row.auth == CRON else "Bearer"
            if (
                answer.status_code != status
                or (code is not None and told != code)
                or (status == 401 and not asked.startswith(scheme))
            ):
                wrong.append(f"{here.name} {name} ({row.call}) by {kind.name}: {answer.status_code}, not {status}")
    return wrong


def test_every_process_that_serves_is_in_the_matrix() -> None:
    services = {
        node.value.value
        for path in (SOURCE / "apps").rglob("*.py")
        for node in ast.parse(path.read_text("utf-8")).body
        if isinstance(node, ast.Assign)
        and [ast.unparse(target) for target in node.targets] == ["SERVICE"]
        and isinstance(node.value, ast.Constant)
    }
    assert services == set(EXPECTED) == set(PROCESSES)


@pytest.mark.req("STATION-table", "STATION-auth", "HARDEN-5", "SEC-2", "PIPE-1", "PIPE-8", "QUEUE-10", "QUEUE-12")
@pytest.mark.parametrize(
    ("name", "groups"), [*((name, GROUPS) for name in SMALL), *(("station", (group,)) for group in GROUPS)]
)
async def test_a_route_lets_in_whom_it_says_and_nobody_else(
    database: Database, tmp_path: Path, unused_tcp_port_factory: Callable[[], int], name: str, groups: tuple[str, ...]
) -> None:
    async with place(name, database, tmp_path, unused_tcp_port_factory()) as here:
        written = {route: (row.call, row.auth, row.roles, row.scope, row.platform) for route, row in here.rows.items()}
        assert await _told(database, name) == written, "a route is not in expected.py, or is there as it was before"
        document = (await here.client.get("/openapi.json")).json()["paths"]
        paths = {f"{method.upper()} {path}" for path, methods in document.items() for method in methods}
        assert paths == {row.call for row in here.rows.values()}
        for group in groups:
            kinds = await _kinds(here.wallet, group)
            before = await _effects(here)
            wrong = await _compare(here, kinds)
            assert not wrong, "\n".join(wrong)
            if group in {"not keys", "not tokens"}:
                assert await _effects(here) == before


HOSTILE = (
    "X-Original-URL",
    "X-Rewrite-URL",
    "X-Forwarded-Uri",
    "X-Forwarded-Path",
    "X-Forwarded-Prefix",
    "X-Matched-Path",
    "X-Invoke-Path",
    "X-Middleware-Rewrite",
    "X-Route",
    "X-Webhook",
    "X-Function",
    "X-Path",
)
METHODS = ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override")


def _spelt(path: str) -> list[str]:
    """Other ways to write a path, none of which is the path."""
    return [
        f"{path}/",
        f"/{path}",
        f"/.{path}",
        f"/health/..{path}",
        f"/%2e{path}",
        path.upper() if path.upper() != path else f"{path}//",
        path.replace("/", "%2F"),
        f"{path}%00",
        f"{path};jsessionid=1",
        f"{path}/.",
    ]


@pytest.mark.req("STATION-table", "STATION-auth", "HARDEN-5")
@pytest.mark.parametrize("name", list(PROCESSES))
async def test_no_header_and_no_spelling_pulls_a_request_off_its_path(
    database: Database, tmp_path: Path, unused_tcp_port_factory: Callable[[], int], name: str
) -> None:
    async with place(name, database, tmp_path, unused_tcp_port_factory()) as here:
        admin = {"Authorization": f"Bearer {here.wallet.keys[OURS, 'admin']}"}
        for route, row in here.rows.items():
            lure = dict.fromkeys(HOSTILE, row.path) | dict.fromkeys(METHODS, row.method)
            lure |= {"Forwarded": f"for=127.0.0.1;host=localhost;path={row.path}", "X-Forwarded-Method": row.method}
            for method in ("GET", "POST"):
                unknown = await here.client.request(method, "/nothing/here", headers={**admin, **lure})
                assert (unknown.status_code, unknown.json()["code"]) == (404, "NotFound"), route
            if row.auth != OPEN:
                open_ = dict.fromkeys(HOSTILE, "/health") | dict.fromkeys(METHODS, "GET")
                assert (await here.ask(row, open_)).status_code == 401, route
            for path in _spelt(row.path):
                answer = await here.client.request(row.method, "/", extensions={"target": path.encode()})
                assert answer.status_code in {400, 401, 404, 405}, (route, path, answer.status_code)
