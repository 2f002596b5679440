"""Every route of every service against every kind of credential, over real HTTP with real keys."""

import base64
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import httpx
import pytest

from fluxa.auth.keys.api_keys import ApiKeys
from fluxa.auth.keys.key_guard import KeyGuard
from fluxa.auth.roles import Role
from fluxa.events.query.follow import StreamLimits
from fluxa.kernel.clock import SystemClock
from fluxa.postgres.pool import Database
from fluxa.web.routes import Auth, Route
from making.door import open_door
from making.querying import make_stand, running, stored

OPEN = {"api_health", "health", "api_ready", "api_metrics", "metrics", "openapi", "problem"}
KINDS = (
    "none",
    "empty",
    "no scheme",
    "other scheme",
    "cut",
    "longer",
    "altered",
    "unknown",
    "revoked",
    "key id only",
    "two keys",
    "in the query",
    "in a cookie",
)
EVENT = b'{"specversion":"1.0","id":"1","source":"/s","type":"t"}'


@pytest.fixture
async def right(database: Database) -> str:
    return (await ApiKeys(database).create("acme", "right", role=Role.ADMIN)).token


async def _request(database: Database, kind: str, right: str) -> tuple[dict[str, str], str]:
    """The headers and the query of a request whose credential is wrong in this way."""
    revoked = await ApiKeys(database).create("acme", "revoked", role=Role.ADMIN)
    await ApiKeys(database).revoke(revoked.key.key_id)
    headers = {
        "none": None,
        "empty": "",
        "no scheme": right,
        "other scheme": "Basic " + base64.b64encode(f"x:{right}".encode()).decode(),
        "cut": f"Bearer {right[:-1]}",
        "longer": f"Bearer {right}x",
        "altered": f"Bearer {right[:-1]}{'A' if right[-1] != 'A' else 'B'}",
        "unknown": "Bearer fx_0123456789abcdef_" + "x" * 43,
        "revoked": f"Bearer {revoked.token}",
        "key id only": f"Bearer {right.rpartition('_')[0]}",
        "two keys": f"Bearer {right}, Bearer {right}",
        "in the query": None,
        "in a cookie": None,
    }
    value = headers[kind]
    found = {} if value is None else {"Authorization": value}
    if kind == "in a cookie":
        found["Cookie"] = f"Authorization={right}"
    return found, f"?access_token={right}" if kind == "in the query" else ""


async def _refuses(client: httpx.AsyncClient, routes: Sequence[Route], headers: dict[str, str], query: str) -> int:
    """Send the request to every route; how many need a credential."""
    closed = 0
    for route in routes:
        path = (
            route.path.replace("{id}", "e-1")
            .replace("{correlation_id}", "c-1")
            .replace("{type}", "t")
            .replace("{code}", "NotFound")
        )
        for method in route.methods:
            content = EVENT if method in {"POST", "PUT"} else None
            sent = headers | ({"Content-Type": "application/cloudevents+json"} if content else {})
            answer = await client.request(method, path + query, headers=sent, content=content)
            if route.auth is Auth.OPEN:
                assert answer.status_code == 200, route.name
                continue
            assert answer.status_code == 401, route.name
            assert answer.json()["code"] == "Unauthenticated"
            assert answer.headers["www-authenticate"].startswith("Bearer")
            closed += 1
    return closed


@pytest.fixture
async def query(database: Database) -> AsyncIterator[tuple[str, Sequence[Route]]]:
    async with running(make_stand(database, stream=StreamLimits(longest_s=0.05, heartbeat_s=0.02))) as stand:
        await stand.write(stored(1))
        yield stand.url, stand.app.routes


@pytest.mark.req("PIPE-8")
async def test_nothing_is_shown_without_a_right_credential(
    database: Database, query: tuple[str, Sequence[Route]], right: str
) -> None:
    url, routes = query
    async with httpx.AsyncClient(base_url=url) as client:
        for kind in KINDS:
            headers, extra = await _request(database, kind, right)
            assert await _refuses(client, routes, headers, extra) == 4, kind
        for path in ("/v1/events", "/v1/events/e-1", "/v1/events/stream", "/v1/traces/c-1"):
            answer = await client.get(path, headers={"Authorization": f"Bearer {right}"})
            assert answer.status_code == 200, path


@pytest.mark.req("PIPE-1")
async def test_nothing_is_taken_in_without_a_right_credential(database: Database, right: str, tmp_path: Path) -> None:
    verify = KeyGuard(ApiKeys(database), SystemClock()).verify
    async with open_door(database, tmp_path, verify=verify) as stand:
        async with httpx.AsyncClient(base_url=str(stand.client.base_url)) as client:
            for kind in KINDS:
                headers, extra = await _request(database, kind, right)
                assert await _refuses(client, stand.app.routes, headers, extra) == sum(
                    len(route.methods) for route in stand.app.routes if route.auth is not Auth.OPEN
                )
        assert await stand.queued() == []
        sent = {"Authorization": f"Bearer {right}", "Content-Type": "application/cloudevents+json"}
        assert (await stand.client.post("/v1/events", content=EVENT, headers=sent)).status_code == 202
        assert len(await stand.queued()) == 1
        assert {route.name for route in stand.app.routes if route.auth is Auth.OPEN} <= OPEN


def test_what_is_open_is_a_short_list(query: tuple[str, Sequence[Route]]) -> None:
    _, routes = query
    assert {route.name for route in routes if route.auth is Auth.OPEN} == OPEN
