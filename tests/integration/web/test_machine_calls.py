"""Signed calls, the override token, legacy mode and operators' keys over real HTTP, with nonces in a real database."""

import asyncio
import io
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import httpx
import pytest

from fluxa.auth.keys.api_keys import ApiKeys
from fluxa.auth.keys.key_guard import KeyGuard
from fluxa.auth.nonces import Nonces
from fluxa.auth.roles import ADMINS, Role
from fluxa.kernel.clock import SystemClock
from fluxa.kernel.ids import Tenant
from fluxa.postgres.pool import Database
from fluxa.telemetry.log import make_logger
from fluxa.testing.serving import serving
from fluxa.testing.signals import Signals
from fluxa.web.app import App
from fluxa.web.bodies import Bodies
from fluxa.web.identity import Access, Guard, bearer
from fluxa.web.identity.cron import BODY_MAX_BYTES, CronGuard, CronRights
from fluxa.web.limits import UNLIMITED, BucketRule, Counting, Limiter
from fluxa.web.responses import json_response, send_response
from fluxa.web.routes import UNCOUNTED, Auth, Bucket, Call, Operation, Receive, Route, Scope, Send, Terms
from making.callers.calls import LEGACY, OLDER, OVERRIDE, SECRET, signed

PATH = "/drain"
RIGHTS = CronRights((SECRET.encode(), OLDER.encode()), OVERRIDE.encode(), LEGACY.encode())
TENANT = Tenant("default")
NEVER = "a secret that was never in force"
# Made when the test runs: a timestamp from when it was collected may be too old, and be refused for that.
WRONG: dict[str, tuple[Callable[[], dict[str, str]], bytes, str]] = {
    "nothing": (dict, b"", PATH),
    "an API key's header": (lambda: {"Authorization": f"Bearer {SECRET}"}, b"", PATH),
    "another secret": (lambda: signed(PATH, secret=NEVER), b"", PATH),
    "the override token as secret": (lambda: signed(PATH, secret=OVERRIDE), b"", PATH),
    "another body": (lambda: signed(PATH), b"another body", PATH),
    "another path": (lambda: signed("/other"), b"", PATH),
    "another query": (lambda: signed(PATH), b"", f"{PATH}?budget_s=50"),
    "another method": (lambda: signed(PATH, method="GET"), b"", PATH),
    "another nonce": (lambda: signed(PATH) | {"X-Fluxa-Nonce": "another-nonce-0123456789"}, b"", PATH),
    "another time": (lambda: signed(PATH) | {"X-Fluxa-Timestamp": str(int(time.time()) - 2)}, b"", PATH),
    "only a nonce": (lambda: {"X-Fluxa-Nonce": "only-a-nonce-0123456789"}, b"", PATH),
    "bad signature, good token": (lambda: signed(PATH, secret=NEVER) | {"X-Fluxa-Override": OVERRIDE}, b"", PATH),
    "empty token": (lambda: {"X-Fluxa-Override": ""}, b"", PATH),
    "cut token": (lambda: {"X-Fluxa-Override": OVERRIDE[:-1]}, b"", PATH),
    "longer token": (lambda: {"X-Fluxa-Override": f"{OVERRIDE}x"}, b"", PATH),
    "old secret as token": (lambda: {"X-Fluxa-Override": LEGACY}, b"", PATH),
    "signing secret as it is": (lambda: {"X-Internal-Secret": SECRET}, b"", PATH),
    "token as old secret": (lambda: {"X-Internal-Secret": OVERRIDE}, b"", PATH),
    "token in the query": (dict, b"", f"{PATH}?x-fluxa-override={OVERRIDE}"),
}


@dataclass
class Stand:
    """One service with a row of each kind."""

    client: httpx.AsyncClient
    log: io.StringIO

    def told(self, event: str) -> list[dict[str, object]]:
        return [line for line in map(json.loads, self.log.getvalue().splitlines()) if line["event"] == event]


async def _echo(call: Call, scope: Scope, receive: Receive, send: Send) -> None:
    async with Bodies().read(scope, receive) as body:
        who = call.principal.name if call.principal else None
        await send_response(send, json_response({"who": who, "body": body.decode()}))


def _app(
    database: Database,
    log: io.StringIO,
    rights: CronRights,
    nonces: Nonces | None = None,
    *,
    counting: Counting | None = None,
) -> App:
    logger = make_logger("test", stream=log)
    identify = bearer(KeyGuard(ApiKeys(database), SystemClock()).verify)
    cron = CronGuard(rights, nonces or Nonces(database), tenant=TENANT, clock=SystemClock(), logger=logger)
    guards: dict[Auth, Guard] = {Auth.CRON: cron}
    rows = [
        Route("drain", PATH, ("POST",), Auth.CRON, _echo, Operation("Drain"), UNCOUNTED),
        Route("other", "/other", ("POST",), Auth.CRON, _echo, Operation("Other"), UNCOUNTED),
        Route(
            "pause",
            "/pause",
            ("POST",),
            Auth.BEARER,
            _echo,
            Operation("Pause"),
            Terms(Bucket.NONE, ADMINS, platform=True),
        ),
    ]
    return App(
        rows,
        identify=identify,
        access=Access(TENANT),
        guards=guards,
        counting=counting,
        hook=Signals().hear,
        logger=logger,
    )


@pytest.fixture
async def stand(database: Database) -> AsyncIterator[Stand]:
    log = io.StringIO()
    async with serving(_app(database, log, RIGHTS)) as url, httpx.AsyncClient(base_url=url) as client:
        yield Stand(client, log)


def _refused(answer: httpx.Response) -> None:
    assert answer.status_code == 401
    assert answer.json()["code"] == "Unauthenticated"
    assert answer.headers["www-authenticate"].startswith("Fluxa-Signature")
    for secret in (SECRET, OLDER, OVERRIDE, LEGACY):
        assert secret not in answer.text


@pytest.mark.req("QUEUE-12")
async def test_a_signed_call_is_admitted_and_its_body_reaches_the_endpoint(stand: Stand) -> None:
    body = b'{"budget_s": 5}'
    target = f"{PATH}?budget_s=5"
    answer = await stand.client.post(target, content=body, headers=signed(target, body=body))
    assert answer.json() == {"who": "cron", "body": body.decode()}
    without_body = await stand.client.post(PATH, headers=signed(PATH))
    assert without_body.json() == {"who": "cron", "body": ""}


@pytest.mark.req("QUEUE-12")
async def test_while_it_is_rotated_the_older_secret_is_admitted_and_told(stand: Stand) -> None:
    assert (await stand.client.post(PATH, headers=signed(PATH))).status_code == 200
    assert stand.told("older cron secret used") == []
    assert (await stand.client.post(PATH, headers=signed(PATH, secret=OLDER))).status_code == 200
    assert [line["place"] for line in stand.told("older cron secret used")] == [2]


@pytest.mark.req("QUEUE-12")
@pytest.mark.parametrize("kind", WRONG)
async def test_any_other_call_is_refused(stand: Stand, kind: str) -> None:
    make, body, path = WRONG[kind]
    _refused(await stand.client.post(path, content=body, headers=make()))
    assert stand.told("override token used") == []


@pytest.mark.req("QUEUE-12")
@pytest.mark.parametrize("late_s", [310, -310, 86_400 * 365])
async def test_a_timestamp_outside_the_window_is_refused(stand: Stand, late_s: int) -> None:
    answer = await stand.client.post(PATH, headers=signed(PATH, late_s=late_s))
    _refused(answer)
    assert ("behind" if late_s > 0 else "ahead of") in answer.json()["detail"]


@pytest.mark.req("QUEUE-12")
async def test_a_call_is_accepted_once_even_when_it_comes_many_times_at_once(stand: Stand, database: Database) -> None:
    headers = signed(PATH)
    async with serving(_app(database, io.StringIO(), RIGHTS)) as second:
        answers = await asyncio.gather(
            *(stand.client.post(PATH, headers=headers) for _ in range(10)),
            *(stand.client.post(f"{second}{PATH}", headers=headers) for _ in range(10)),
        )
    assert sorted(answer.status_code for answer in answers) == [200, *[401] * 19]


@pytest.mark.req("QUEUE-12")
async def test_a_call_that_is_refused_leaves_no_nonce(stand: Stand, database: Database) -> None:
    headers = signed(PATH, nonce="a-nonce-0123456789")
    _refused(await stand.client.post(PATH, content=b"other", headers=headers))
    assert await database.fetch_value("select count(*) from fluxa.nonces") == 0
    assert (await stand.client.post(PATH, headers=headers)).status_code == 200


async def test_nonces_are_forgotten_when_they_can_no_longer_be_accepted(database: Database) -> None:
    nonces = Nonces(database)
    for number in range(20):
        assert await nonces.take("cron", f"old-{number}", keep_s=-1)
    assert await nonces.take("cron", "new", keep_s=600)
    assert not await nonces.take("cron", "new", keep_s=600)
    assert await nonces.take("other", "new", keep_s=600)
    assert await database.fetch_value("select array_agg(signer order by signer) from fluxa.nonces") == ["cron", "other"]


@pytest.mark.req("QUEUE-12")
async def test_the_override_token_is_admitted_with_a_warning_each_time(stand: Stand) -> None:
    for _ in range(2):
        answer = await stand.client.post(PATH, headers={"X-Fluxa-Override": OVERRIDE, "X-Correlation-ID": "story"})
        assert answer.json()["who"] == "override"
    lines = stand.told("override token used")
    assert [(line["level"], line["path"], line["correlation_id"]) for line in lines] == [("warning", PATH, "story")] * 2
    assert OVERRIDE not in stand.log.getvalue()


@pytest.mark.req("STATION-auth")
async def test_who_guesses_the_override_token_is_counted_with_those_who_guess(database: Database) -> None:
    few = Limiter({**UNLIMITED, Bucket.FAILED_CREDENTIALS: BucketRule(3)})
    app = _app(database, io.StringIO(), RIGHTS, counting=Counting(few))
    async with serving(app) as url, httpx.AsyncClient(base_url=url) as client:
        for header in ("X-Fluxa-Override", "X-Internal-Secret"):
            codes = [(await client.post(PATH, headers={header: f"guess {n}"})).status_code for n in range(3)]
            assert codes == ([401] * 3 if header == "X-Fluxa-Override" else [429] * 3)
        assert (await client.post(PATH)).status_code == 401, "who brings nothing guesses nothing"
        assert (await client.post(PATH, headers={"X-Fluxa-Override": OVERRIDE})).status_code == 200


@pytest.mark.req("STATION-auth")
async def test_a_call_is_known_again_though_the_clock_was_set_back_an_hour(database: Database) -> None:
    app, headers = _app(database, io.StringIO(), RIGHTS), signed(PATH)
    async with serving(app) as url, httpx.AsyncClient(base_url=url) as client:
        assert (await client.post(PATH, headers=headers)).status_code == 200
    # An hour passes, then this machine's clock is set back by it: the timestamp is in the window again.
    await database.execute("update fluxa.nonces set expires_at = expires_at - interval '1 hour'")
    assert await Nonces(database).take("cron", "another-nonce-0123456789", keep_s=600)
    async with serving(app) as url, httpx.AsyncClient(base_url=url) as client:
        _refused(await client.post(PATH, headers=headers))


@pytest.mark.req("QUEUE-12")
async def test_legacy_mode_admits_the_static_secret_with_a_warning_each_time(stand: Stand) -> None:
    answer = await stand.client.post(PATH, headers={"X-Internal-Secret": LEGACY})
    assert answer.json()["who"] == "legacy"
    assert [line["level"] for line in stand.told("legacy secret used")] == ["warning"]


@pytest.mark.req("QUEUE-12")
async def test_where_nothing_is_set_nothing_is_admitted(database: Database) -> None:
    async with serving(_app(database, io.StringIO(), CronRights())) as url, httpx.AsyncClient(base_url=url) as client:
        for headers in (
            {},
            signed(PATH),
            signed(PATH, secret=NEVER),
            {"X-Fluxa-Override": ""},
            {"X-Fluxa-Override": "None"},
            {"X-Internal-Secret": LEGACY},
        ):
            _refused(await client.post(PATH, headers=headers))


async def test_a_body_that_is_too_long_is_refused_before_it_is_read_whole(stand: Stand) -> None:
    body = b"x" * (BODY_MAX_BYTES + 1)
    answer = await stand.client.post(PATH, content=body, headers=signed(PATH, body=body))
    assert answer.status_code == 413


async def test_without_the_database_a_signed_call_is_refused_for_now(stand: Stand, database: Database) -> None:
    await database.stop()
    answer = await stand.client.post(PATH, headers=signed(PATH))
    assert (answer.status_code, answer.json()["code"]) == (503, "DBConnectionError")
    assert (await stand.client.post(PATH, headers={"X-Fluxa-Override": OVERRIDE})).status_code == 200
    await database.start()


@pytest.mark.req("QUEUE-10")
async def test_operators_have_a_key_of_the_default_tenant(stand: Stand, database: Database) -> None:
    ours, other = [
        (await ApiKeys(database).create(tenant, "key", role=Role.ADMIN)).token for tenant in (TENANT, "acme")
    ]
    assert (await stand.client.post("/pause")).status_code == 401
    assert (await stand.client.post("/pause", headers=signed("/pause"))).status_code == 401
    refused = await stand.client.post("/pause", headers={"Authorization": f"Bearer {other}"})
    assert (refused.status_code, refused.json()["code"]) == (403, "Forbidden")
    answer = await stand.client.post("/pause", headers={"Authorization": f"Bearer {ours}"})
    assert answer.json()["who"] == "key"


def test_a_row_whose_callers_nobody_checks_is_refused_at_the_start() -> None:
    row = Route("drain", PATH, ("POST",), Auth.CRON, _echo, Operation("Drain"), UNCOUNTED)

    async def nobody(_token: str) -> None:
        return None

    with pytest.raises(ValueError, match="nobody checks who calls drain"):
        App(
            [row],
            identify=bearer(nobody),
            access=Access(TENANT),
            hook=Signals().hear,
            logger=make_logger("test", stream=io.StringIO()),
        )
