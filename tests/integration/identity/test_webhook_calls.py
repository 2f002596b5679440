"""Webhooks over real HTTP: who is let in, what is told, and that each is acted on once, with receipts in a database."""

import asyncio
import io
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import httpx
import pytest

from fluxa.auth.keys.api_keys import ApiKeys
from fluxa.auth.keys.key_guard import KeyGuard
from fluxa.auth.nonces import Nonces
from fluxa.kernel.clock import SystemClock
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.kernel.ids import Tenant
from fluxa.postgres.pool import Database
from fluxa.postgres.transaction import Transaction
from fluxa.telemetry.log import make_logger
from fluxa.testing.serving import serving
from fluxa.testing.signals import Signals
from fluxa.web.app import App
from fluxa.web.identity import Access, Delivery, Receipts, bearer, once
from fluxa.web.identity.webhook import BODY_MAX_BYTES, Source, WebhookGuard
from fluxa.web.responses import Response, json_response
from fluxa.web.routes import UNCOUNTED, Auth, Operation, Route
from making.callers.webhooks import BODY, SECRETS, scheme

pytestmark = pytest.mark.req("STATION-auth")

TENANT = Tenant("default")


@dataclass
class Stand:
    """A service that takes webhooks, and what it did with them."""

    guard: WebhookGuard
    log: io.StringIO
    url: str = ""
    acted: list[str] = field(default_factory=list)
    failures_left: int = 0

    async def act_on(self, delivery: Delivery, body: bytes, tx: Transaction) -> Response:
        await tx.execute("insert into acted (source, body) values ($1, $2)", delivery.source, body)
        if self.failures_left:
            self.failures_left -= 1
            raise FluxaError(ErrorCode.OVERLOADED, "not now")
        self.acted.append(delivery.source)
        return json_response({"source": delivery.source, "id": delivery.verified.message_id})

    async def post(self, path: str, headers: dict[str, str], body: bytes = BODY) -> httpx.Response:
        async with httpx.AsyncClient(base_url=self.url) as client:
            return await client.post(path, content=body, headers=headers)

    def reasons(self) -> list[str]:
        lines = [json.loads(line) for line in self.log.getvalue().splitlines()]
        return [line["reason"] for line in lines if line["event"] == "webhook refused"]


def _sources(*places: int) -> dict[str, Source]:
    found = {name: Source(scheme(name, *places), 660.0, 86400.0) for name in SECRETS}
    return found | {"forgetful": Source(scheme("vercel", *places), 660.0, 0.0)}


@pytest.fixture
async def stand(database: Database) -> AsyncIterator[Stand]:
    await database.execute("create table acted (source text, body bytea)")
    log = io.StringIO()
    logger = make_logger("test", stream=log)
    guard = WebhookGuard(_sources(0), tenant=TENANT, clock=SystemClock(), logger=logger)
    found = Stand(guard, log)
    act_once = once(database, Receipts(Nonces(database)), found.act_on)

    def row(name: str, *sources: str) -> Route:
        return Route(name, f"/{name}", ("POST",), Auth.WEBHOOK, act_once, Operation(name), UNCOUNTED, sources)

    rows = [row(name.replace(" ", "-"), name) for name in [*SECRETS, "forgetful"]]
    rows += [row("any", "vercel", "svix", "standard"), row("unset", "nobody-set-this-up")]
    identify = bearer(KeyGuard(ApiKeys(database), SystemClock()).verify)
    app = App(
        rows,
        identify=identify,
        access=Access(TENANT),
        guards={Auth.WEBHOOK: guard},
        hook=Signals().hear,
        logger=logger,
    )
    async with serving(app) as url:
        found.url = url
        yield found


def _headers(name: str, *, place: int = 0, late_s: float = 0, body: bytes = BODY) -> dict[str, str]:
    return dict(scheme(name, place).sign(body, message_id="msg_1", now_s=time.time() - late_s))


@pytest.mark.parametrize("name", SECRETS)
async def test_a_right_webhook_is_acted_on_and_a_wrong_one_is_not(stand: Stand, name: str) -> None:
    path = "/" + name.replace(" ", "-")
    wrong = [{}, _headers(name, place=1), {"Authorization": f"Bearer {SECRETS[name][1]}"}]
    for headers in wrong:
        refused = await stand.post(path, headers)
        assert (refused.status_code, refused.json()["code"]) == (401, "Unauthenticated")
        assert refused.headers["www-authenticate"].startswith("Webhook-Signature")
        assert refused.json()["detail"] == "The signature of this webhook is missing or not valid."
    assert stand.acted == []
    answer = await stand.post(path, _headers(name))
    assert answer.status_code == 200
    assert answer.json()["source"] == name
    assert stand.acted == [name]


@pytest.mark.parametrize("late_s", [400, -400])
async def test_a_clock_that_is_off_to_either_side_is_refused(stand: Stand, late_s: int) -> None:
    assert (await stand.post("/stripe", _headers("stripe", late_s=late_s))).status_code == 401
    assert ("behind" if late_s > 0 else "ahead of") in stand.reasons()[0]


@pytest.mark.parametrize("name", ["stripe", "svix", "github", "discord", "hmac"])
async def test_a_replay_is_answered_and_not_acted_on(stand: Stand, name: str) -> None:
    headers = _headers(name)
    assert (await stand.post(f"/{name}", headers)).json()["source"] == name
    for other in ({}, {"X-GitHub-Delivery": "new"}, {"X-Forwarded-For": "10.0.0.1"}):
        assert (await stand.post(f"/{name}", headers | other)).json() == {"duplicate": True}
    assert stand.acted == [name]


async def test_what_failed_is_acted_on_when_it_comes_again(stand: Stand, database: Database) -> None:
    stand.failures_left = 1
    headers = _headers("github")
    assert (await stand.post("/github", headers)).status_code == 429
    assert await database.fetch_value("select count(*) from acted") == 0
    assert (await stand.post("/github", headers)).status_code == 200
    assert (await stand.post("/github", headers)).json() == {"duplicate": True}
    assert await database.fetch_value("select count(*) from acted") == 1


async def test_twenty_copies_at_once_are_acted_on_once(stand: Stand, database: Database) -> None:
    headers = _headers("svix")
    answers = await asyncio.gather(*(stand.post("/svix", headers) for _ in range(20)))
    assert [answer.status_code for answer in answers] == [200] * 20
    assert sum("duplicate" not in answer.json() for answer in answers) == 1
    assert await database.fetch_value("select count(*) from acted") == 1


async def test_where_bodies_may_repeat_nothing_is_remembered(stand: Stand) -> None:
    for _ in range(2):
        assert (await stand.post("/forgetful", _headers("vercel"))).json()["source"] == "forgetful"
        assert (await stand.post("/header", _headers("header"))).json()["source"] == "header"


async def test_a_row_takes_the_sources_that_it_names_and_no_header_chooses_another(stand: Stand) -> None:
    for name in ("vercel", "svix"):
        assert (await stand.post("/any", _headers(name))).json()["source"] == name
    assert (await stand.post("/any", _headers("stripe"))).status_code == 401
    assert (await stand.post("/any", _headers("github") | {"X-Fluxa-Source": "github"})).status_code == 401
    assert stand.acted == ["vercel", "svix"]


async def test_a_source_without_secrets_lets_nobody_in(stand: Stand) -> None:
    assert (await stand.post("/unset", _headers("stripe"))).status_code == 401
    assert "webhook_secrets has no secret" in stand.reasons()[0]


async def test_secrets_are_exchanged_while_webhooks_come(stand: Stand) -> None:
    sent: list[int] = []

    async def send(place: int, number: int) -> None:
        body = b'{"number":%d}' % number
        sent.append((await stand.post("/stripe", _headers("stripe", place=place, body=body), body)).status_code)

    await asyncio.gather(*(send(0, number) for number in range(10)))
    stand.guard.use(_sources(1, 0))
    await asyncio.gather(*(send(number % 2, 100 + number) for number in range(20)))
    stand.guard.use(_sources(1))
    await asyncio.gather(*(send(1, 200 + number) for number in range(10)))
    assert sent == [200] * 40
    assert (await stand.post("/stripe", _headers("stripe", place=0))).status_code == 401


async def test_a_body_that_is_too_long_is_not_read(stand: Stand) -> None:
    answer = await stand.post("/github", _headers("github"), b"x" * (BODY_MAX_BYTES + 1))
    assert answer.status_code == 413


def test_a_row_must_say_whose_webhooks_it_takes() -> None:
    async def nobody(*_args: object) -> None: ...

    for auth, sources in ((Auth.WEBHOOK, ()), (Auth.OPEN, ("stripe",))):
        row = Route("a", "/a", ("POST",), auth, nobody, Operation("a"), UNCOUNTED, sources)
        with pytest.raises(ValueError, match="names no source"):
            App(
                [row],
                identify=bearer(lambda _token: asyncio.sleep(0)),
                access=Access(TENANT),
                hook=Signals().hear,
                logger=make_logger("test", stream=io.StringIO()),
            )
