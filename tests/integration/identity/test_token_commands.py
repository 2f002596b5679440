"""`fluxa jwt`, and what a process answers to a token: the way from the command line to a request."""

import asyncio
import io
import json
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from fluxa.auth.keys.api_keys import ApiKeys
from fluxa.auth.keys.key_guard import KeyGuard
from fluxa.auth.roles import OPERATORS, Role
from fluxa.cli.commands.ground import actor
from fluxa.cli.main import app as commands
from fluxa.kernel.clock import SystemClock
from fluxa.kernel.ids import Tenant
from fluxa.postgres.pool import Database
from fluxa.telemetry.log import LogHook, make_logger
from fluxa.testing.serving import serving
from fluxa.web.app import App
from fluxa.web.identity import Access, bearer, either, jwks
from fluxa.web.responses import json_response, send_response
from fluxa.web.routes import Auth, Bucket, Call, Operation, Receive, Route, Scope, Send, Terms
from identity.tokens import SECRET, USER, Office, office, parts


async def _fluxa(database: Database, folder: Path, *words: str, secret: str | None = SECRET.decode()) -> str:
    """What a command writes; the exit code before it."""
    given = ["--home", str(folder), "--set", f"database_url={database.config.url}"]
    given += ["--set", f"secret_key={secret}"] if secret else []
    found = await asyncio.to_thread(CliRunner().invoke, commands, [*given, *words])
    return f"{found.exit_code} {found.output}"


async def _listed(database: Database, folder: Path) -> dict[str, str]:
    lines = (await _fluxa(database, folder, "jwt", "list", "--json")).removeprefix("0 ").splitlines()
    return {key["kid"]: key["state"] for key in map(json.loads, lines)}


@pytest.mark.req("SEC-1", "SEC-5")
async def test_keys_are_listed_succeeded_and_ended_by_commands(database: Database, tmp_path: Path) -> None:
    assert "There are no keys yet" in await _fluxa(database, tmp_path, "jwt", "list")
    assert "openssl rand -hex 32" in await _fluxa(database, tmp_path, "jwt", "rotate", secret=None)
    assert (await _fluxa(database, tmp_path, "jwt", "rotate")).startswith("0 Key ")
    ((first, state),) = (await _listed(database, tmp_path)).items()
    assert state == "active"
    await _fluxa(database, tmp_path, "jwt", "rotate", "--overlap-s", "60")
    assert list((await _listed(database, tmp_path)).values()) == ["active", "next"]
    assert "under way" in await _fluxa(database, tmp_path, "jwt", "rotate")
    assert "is retired" in await _fluxa(database, tmp_path, "jwt", "retire", first)
    assert list((await _listed(database, tmp_path)).values()) == ["retired", "active"]
    assert (await _fluxa(database, tmp_path, "jwt", "retire", "nobody")).startswith("4 ")
    assert "retired" in await _fluxa(database, tmp_path, "jwt", "list")
    acts = await database.fetch("select action, actor from fluxa.ledger order by number")
    assert [(row["action"], row["actor"]) for row in acts] == [
        ("signing_key.created", actor()),
        ("signing_key.created", actor()),
        ("signing_key.retired", actor()),
    ]


async def _who(call: Call, _scope: Scope, _receive: Receive, send: Send) -> None:
    assert call.principal is not None
    await send_response(send, json_response({"name": call.principal.name}))


def _app(database: Database, at: Office, log: io.StringIO) -> App:
    keys = KeyGuard(ApiKeys(database), SystemClock())
    logger = make_logger("test", stream=log)
    terms = Terms(Bucket.QUERY, OPERATORS)
    hook = LogHook(logger)
    at.tokens._hook = hook.hear
    return App(
        [
            Route("who", "/who", ("GET",), Auth.BEARER, _who, Operation("Who"), terms),
            jwks.route(at.ring.jwks),
        ],
        identify=bearer(either(keys.verify, at.tokens.verify)),
        access=Access(Tenant("default")),
        hook=hook.hear,
        logger=logger,
    )


@pytest.mark.req("SEC-1", "STATION-auth")
async def test_a_route_takes_an_api_key_or_an_access_token_and_says_nothing_of_why_not(database: Database) -> None:
    log = io.StringIO()
    async with office(database) as at, serving(_app(database, at, log)) as url, httpx.AsyncClient(base_url=url) as http:
        key = (await ApiKeys(database).create("acme", "ci", role=Role.MANAGER)).token
        token = await at.tokens.mint(USER, ttl_s=60)

        async def get(credential: str) -> httpx.Response:
            return await http.get("/who", headers={"authorization": f"Bearer {credential}"})

        assert (await get(key)).json() == {"name": "ci"}
        assert (await get(token)).json() == {"name": "ada"}
        refused = [await get(text) for text in (token[:-5] + "AAAAA", token.replace(".", ".e30", 1), key[:-1], "x.y.z")]
        at.sessions.ended.add("u1.session")
        refused.append(await get(token))
        assert {answer.status_code for answer in refused} == {401}
        assert len({answer.json()["detail"] for answer in refused}) == 1
        reasons = [line["reason"] for line in map(json.loads, log.getvalue().splitlines()) if "reason" in line]
        assert {"malformed", "session"} <= set(reasons)
        assert token not in log.getvalue()
        analyst = await http.get("/who", headers={"authorization": "Bearer " + "e" * 5000})
        assert analyst.status_code == 401


@pytest.mark.req("SEC-1")
async def test_anybody_may_fetch_the_keys_and_keep_them_for_a_minute(database: Database) -> None:
    async with office(database) as at, serving(_app(database, at, io.StringIO())) as url:
        token = await at.tokens.mint(USER, ttl_s=60)
        async with httpx.AsyncClient(base_url=url) as http:
            answer = await http.get("/.well-known/jwks.json")
    assert answer.headers.get_list("cache-control") == ["public, max-age=60"]
    assert [key["kid"] for key in answer.json()["keys"]] == [parts(token)[0]["kid"]]
    assert "d" not in answer.json()["keys"][0]
