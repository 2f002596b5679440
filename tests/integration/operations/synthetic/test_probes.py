"""Synthetic checks of servers that answer well, badly, slowly and not at all, over real HTTP."""

import asyncio
import contextlib
import datetime as dt
import hashlib
import json
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx
import pytest

from fluxa.kernel.clock import SystemClock
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.operations.synthetic.canary import SOURCE, Canary, CanaryLimits, Permit, Waiting, Way
from fluxa.operations.synthetic.check import CheckName, Outcome, Result
from fluxa.operations.synthetic.probe import probe
from fluxa.operations.synthetic.round import Places, Round
from fluxa.testing.serving import serving
from fluxa.web.routes import Receive, Scope, Send

pytestmark = pytest.mark.req("OBS-3")

OURS = b"# TYPE fluxa_outages_total counter\nfluxa_outages_total 0\n"
THEIRS = b"# TYPE pg_up gauge\npg_up 1\n"
ALIVE = b'{"status":"alive","service":"x"}'
WELL: Mapping[str, tuple[int, bytes]] = {
    "/health": (200, ALIVE),
    "/api/health": (200, ALIVE),
    "/api/ready": (200, b"{}"),
    "/metrics": (200, OURS),
}


def _served(server: "Server") -> AbstractAsyncContextManager[str]:
    return serving(server)  # type: ignore[arg-type] # any ASGI application is served alike


class Server:
    """Answers as it is told, and remembers what it was asked."""

    def __init__(self, answers: Mapping[str, tuple[int, bytes]]) -> None:
        self.answers = dict(answers)
        self.silent: set[str] = set()
        self.stored: dict[str, bytes] = {}
        self.sent: list[dict[str, Any]] = []
        self.tokens: set[str] = set()
        self.alter: Callable[[dict[str, Any]], None] = lambda _item: None
        self.keeps = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if path in self.silent:
            await receive()
            while (await receive())["type"] != "http.disconnect":
                pass
            return
        if path.startswith("/v1/events"):
            headers = dict(scope["headers"])
            self.tokens.add(headers[b"authorization"].decode())
            status, body = await self._event(scope["method"], path, receive)
        else:
            status, body = self.answers.get(path, (404, b"{}"))
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": body})

    async def _event(self, method: str, path: str, receive: Receive) -> tuple[int, bytes]:
        if path in self.answers:
            return self.answers[path]
        if method == "POST":
            event = json.loads((await receive())["body"])
            self.sent.append(event)
            if self.keeps:
                now = SystemClock().now()
                item = {
                    "event": event,
                    "received_at": (now - dt.timedelta(seconds=0.25)).isoformat(),
                    "stored_at": now.isoformat(),
                    "sha256": hashlib.sha256(json.dumps(event["data"], separators=(",", ":")).encode()).hexdigest(),
                }
                self.alter(item)
                self.stored[event["id"]] = json.dumps(item).encode()
            return 202, b"{}"
        found = self.stored.get(path.rpartition("/")[2])
        return (404, b"{}") if found is None else (200, found)


@contextlib.asynccontextmanager
async def _permit() -> AsyncIterator[str]:
    yield "a-token"


async def _probed(url: str, timeout_s: float = 20.0) -> dict[str, Outcome]:
    async with httpx.AsyncClient(trust_env=False) as client:
        found = await probe(client, url, tuple(CheckName), clock=SystemClock(), timeout_s=timeout_s)
    return {one.check: one for one in found}


async def _flown(
    url: str, waiting: Waiting | None = None, *, deadline_s: float = 20.0, permit: Permit = _permit
) -> tuple[Outcome, Waiting | None, tuple[str, ...]]:
    canary = Canary(permit, clock=SystemClock(), limits=CanaryLimits(deadline_s, 20.0))
    async with httpx.AsyncClient(trust_env=False) as client:
        flight = await canary.fly(client, Way(url, url), waiting)
    return flight.outcome, flight.waiting, flight.arrived


async def test_a_process_that_answers_well_is_well_and_timed() -> None:
    async with _served(Server(WELL)) as url:
        found = await _probed(url)
    assert set(found) == {"health", "api_health", "api_ready", "metrics"}
    for one in found.values():
        assert (one.result, one.detail, one.target) == (Result.OK, "", url.removeprefix("http://"))
        assert one.duration_s is not None
        assert one.duration_s > 0


async def test_each_page_is_judged_by_itself() -> None:
    server = Server({**WELL, "/api/ready": (503, b'{"failed":["queue"]}'), "/health": (200, b"hello")})
    del server.answers["/api/health"]
    server.answers["/metrics"] = (200, OURS)
    async with _served(server) as url:
        found = await _probed(url)
    assert {name: one.detail for name, one in found.items()} == {
        "api_health": "status 404",
        "api_ready": "not ready: queue",
        "health": "it does not say that it is alive",
        "metrics": "",
    }


async def test_a_page_that_is_no_metrics_page_fails_and_one_of_others_is_asked_for_nothing_else() -> None:
    for page in (b"<html>", b"", b"\xff", b'h_bucket{le="+Inf" 3\n', b"a{"):
        async with _served(Server({**WELL, "/metrics": (200, page)})) as url:
            assert (await _probed(url))["metrics"].detail.startswith("no metrics page"), page
    async with _served(Server({"/metrics": (200, THEIRS)})) as url:
        found = await _probed(url)
    assert {name: one.result for name, one in found.items()} == {"metrics": Result.OK}


async def test_who_does_not_answer_in_time_has_failed_and_the_others_are_not_kept_waiting() -> None:
    server = Server(WELL)
    server.silent = {"/health"}
    async with _served(server) as url:
        found = await _probed(url, timeout_s=1.0)
    assert found["health"].detail == "no answer within 1 s"
    assert {name for name, one in found.items() if one.result is Result.OK} == {"api_health", "api_ready", "metrics"}


async def test_who_is_not_there_has_failed() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: nobody else takes it
        found = await _probed(f"http://127.0.0.1:{taken.getsockname()[1]}")
    assert {one.detail for one in found.values()} == {"no answer (ConnectError)"}
    assert {one.result for one in found.values()} == {Result.FAILED}


async def test_an_answer_without_end_is_given_up() -> None:
    async with _served(Server({**WELL, "/health": (200, b"x" * (9 * 1024 * 1024))})) as url:
        assert (await _probed(url))["health"].detail == "no answer (DecodingError)"


async def test_a_canary_that_arrives_is_well_and_each_leg_is_timed() -> None:
    server = Server({})
    async with _served(server) as url:
        outcome, waiting, arrived = await _flown(url)
    assert (outcome.result, outcome.detail, waiting) == (Result.OK, "", None)
    assert set(outcome.legs) == {"accept", "store", "read"}
    assert outcome.legs["store"] == pytest.approx(0.25, abs=0.01)
    assert [event["source"] for event in server.sent] == [SOURCE]
    assert arrived == (server.sent[0]["id"],)
    assert server.tokens == {"Bearer a-token"}


async def test_a_canary_that_is_refused_says_by_whom_and_why() -> None:
    refused = (403, b'{"code":"Forbidden","detail":"not you"}')
    async with _served(Server({"/v1/events": refused})) as url:
        outcome, waiting, _ = await _flown(url)
    assert outcome.detail == "ingest: status 403 (Forbidden: not you)"
    assert (outcome.result, waiting) == (Result.FAILED, None)


@pytest.mark.parametrize("what", ["sha256", "data"])
async def test_a_canary_that_comes_back_altered_has_failed(what: str) -> None:
    def alter(item: dict[str, Any]) -> None:
        if what == "sha256":
            item["sha256"] = hashlib.sha256(b"other").hexdigest()
        else:
            item["event"] = {**item["event"], "data": {"sent_at": 0}}

    server = Server({})
    server.alter = alter
    async with _served(server) as url:
        outcome, _, arrived = await _flown(url)
    assert (outcome.result, outcome.detail) == (Result.FAILED, "query: it gave back other data than was sent")
    assert len(arrived) == 1


async def test_while_one_canary_has_not_arrived_no_other_is_sent() -> None:
    server = Server({})
    server.keeps = False
    async with _served(server) as url:
        outcome, waiting, arrived = await _flown(url, deadline_s=0.5)
        assert (outcome.result, arrived) == (Result.FAILED, ())
        assert outcome.detail.startswith("processor: accepted, and not stored")
        assert waiting is not None
        again, still, _ = await _flown(url, waiting, deadline_s=0.5)
        assert (again.result, still, len(server.sent)) == (Result.FAILED, waiting, 1)

        lost = Waiting(waiting.event_id, waiting.sent_at - 4000)
        server.keeps = True
        outcome, none, arrived = await _flown(url, lost)
        assert (outcome.result, none, len(server.sent)) == (Result.OK, None, 2), "one that is lost is given up"

        server.stored[waiting.event_id] = server.stored[arrived[0]]
        outcome, none, arrived = await _flown(url, waiting)
    assert (outcome.result, none) == (Result.OK, None)
    assert len(arrived) == 2, "the one that came late is deleted too"
    assert arrived[0] == waiting.event_id


async def test_without_a_credential_nothing_is_known() -> None:
    @contextlib.asynccontextmanager
    async def barred() -> AsyncIterator[str]:
        raise FluxaError(ErrorCode.CONFIGURATION, "secret_key is not set")
        yield ""  # type: ignore[unreachable] # what makes it a generator

    server = Server({})
    waiting = Waiting("e", 0.0)
    async with _served(server) as url:
        outcome, still, _ = await _flown(url, waiting, permit=barred)
    assert (outcome.result, outcome.detail) == (Result.UNKNOWN, "Configuration: secret_key is not set")
    assert (still, server.sent) == (waiting, [])


async def test_a_round_asks_all_at_once_and_knows_nothing_of_a_way_that_nobody_named() -> None:
    slow, well = Server(WELL), Server(WELL)
    slow.silent = set(WELL)

    async def places() -> Places:
        return Places(urls, None)

    canary = Canary(_permit, clock=SystemClock(), limits=CanaryLimits())
    async with contextlib.AsyncExitStack() as life:
        urls = [await life.enter_async_context(_served(one)) for one in (slow, well)]
        round_ = Round(places, canary, tuple(CheckName), clock=SystemClock(), timeout_s=2.0)
        async with asyncio.timeout(60):
            done = await round_.run()
    results = {(one.check, one.target): one.result for one in done.outcomes}
    assert len(results) == 9
    assert {result for (_, target), result in results.items() if target in urls[1]} == {Result.OK}
    assert {result for (_, target), result in results.items() if target in urls[0]} == {Result.FAILED}
    assert results[CheckName.CANARY, "pipeline"] is Result.UNKNOWN
