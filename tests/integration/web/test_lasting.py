"""Answers that last: their callers are looked at again, over real HTTP."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from fluxa.auth.principal import Principal
from fluxa.auth.roles import ADMINS, Role
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.kernel.ids import Tenant
from fluxa.telemetry.catalogue import AuthenticationFailed
from fluxa.telemetry.log import make_logger
from fluxa.telemetry.redaction import redacted_text
from fluxa.testing.serving import serving
from fluxa.testing.signals import Signals
from fluxa.web.app import App
from fluxa.web.identity import Access, bearer
from fluxa.web.responses import json_response, send_response
from fluxa.web.routes import Auth, Bucket, Call, Operation, Receive, Route, Scope, Send, Terms

pytestmark = [pytest.mark.req("STATION-auth", "SEC-1")]

HEADERS = {"Authorization": "Bearer right"}


class Stand:
    """A row whose answer lasts and one whose does not, and who may have them."""

    def __init__(self) -> None:
        self.signals = Signals()
        self.release, self.left = asyncio.Event(), asyncio.Event()
        self.revoked = self.outage = False
        self.asked = 0
        rows = [
            self._row("lasting", self._last, Terms(Bucket.NONE, ADMINS, asked_again_s=0.02)),
            self._row("brief", self._brief, Terms(Bucket.NONE, ADMINS)),
        ]
        self.app = App(
            rows,
            identify=bearer(self._verify),
            access=Access(Tenant("default")),
            hook=self.signals.hear,
            logger=make_logger("query", level="error"),
        )

    @staticmethod
    def _row(name: str, endpoint: object, terms: Terms) -> Route:
        return Route(name, f"/{name}", ("GET",), Auth.BEARER, endpoint, Operation(name), terms)  # type: ignore[arg-type]

    async def _verify(self, _token: str) -> Principal | None:
        self.asked += 1
        if self.outage:
            raise FluxaError(ErrorCode.DB_CONNECTION_ERROR, "nobody knows")
        return None if self.revoked else Principal(Tenant("acme"), "test", Role.ADMIN)

    async def _last(self, _call: Call, _scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        try:
            await self.release.wait()
            await send({"type": "http.response.body", "body": b" and ended"})
        finally:
            self.left.set()

    async def _brief(self, _call: Call, _scope: Scope, _receive: Receive, send: Send) -> None:
        await send_response(send, json_response("brief"))

    async def asked_again(self, times: int) -> None:
        """Wait until callers were looked at so many times more."""
        until = self.asked + times
        while self.asked < until:  # noqa: ASYNC110 - what it waits for happens in the server
            await asyncio.sleep(0.01)


@pytest.fixture
async def stand() -> Stand:
    return Stand()


@pytest.fixture
async def client(stand: Stand) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(stand.app) as url, httpx.AsyncClient(base_url=url, headers=HEADERS) as client:
        yield client


async def test_an_answer_that_lasts_ends_when_its_caller_is_not_let_in_any_more(
    client: httpx.AsyncClient, stand: Stand
) -> None:
    async with client.stream("GET", "/lasting") as answer:
        parts = answer.aiter_bytes()
        assert await anext(parts) == b"begun"
        stand.outage = True
        await stand.asked_again(3)
        assert not stand.left.is_set(), "an outage says nothing against the caller"
        stand.outage, stand.revoked = False, True
        with pytest.raises(httpx.RemoteProtocolError):
            await anext(parts)
    await stand.left.wait()
    told = await stand.signals.wait_for(AuthenticationFailed)
    assert (told.route, told.reason) == ("lasting", "unknown")
    assert redacted_text(told.principal) == "key:test", "the log says whose key it is, and hides nothing of that"


async def test_an_answer_that_lasts_is_whole_for_who_stays_let_in(client: httpx.AsyncClient, stand: Stand) -> None:
    async with client.stream("GET", "/lasting") as answer:
        await stand.asked_again(3)
        stand.release.set()
        assert (await answer.aread()) == b"begun and ended"
    asked = stand.asked
    assert (await client.get("/brief")).json() == "brief"
    assert stand.asked == asked + 1, "nobody asks again about an answer that is over"
