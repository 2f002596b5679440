"""Logging in through an OpenID provider at a real station: the right way once, and each wrong way refused."""

import asyncio
import contextlib
import hmac
import urllib.parse
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey
from typer.testing import CliRunner

from fluxa.apps import settings
from fluxa.auth.roles import Role
from fluxa.cli.main import app as commands
from fluxa.kernel import json
from fluxa.kernel.errors import FluxaError
from fluxa.postgres.pool import Database
from identity.openid import CLIENT_ID, CLIENT_SECRET, OpenIdProvider, provider
from identity.town import Town, bearing, town

pytestmark = [pytest.mark.req("SEC-1", "STATION-auth")]

START = "/api/auth/oidc/start"


@contextlib.asynccontextmanager
async def opened(
    database: Database, folder: Path, port: int, **more: object
) -> AsyncIterator[tuple[Town, OpenIdProvider]]:
    """A station that knows a provider."""
    async with provider() as outside:
        given = {
            "oidc_issuer": outside.url,
            "oidc_client_id": CLIENT_ID,
            "oidc_client_secret": CLIENT_SECRET,
            "oidc_redirect_url": f"http://127.0.0.1:{port}/api/auth/oidc/callback",
            **more,
        }
        set_ = {name: value for name, value in given.items() if value is not None}
        async with town(database, folder, [port], **set_) as here:
            yield here, outside


async def way_back(client: httpx.AsyncClient) -> str:
    """Begin a login, log in at the provider: where it sends the browser back to."""
    begun = await client.get(START)
    assert begun.status_code == 302, begun.text
    cookie = begun.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    async with httpx.AsyncClient(trust_env=False) as browser:
        sent = await browser.get(begun.headers["location"])
    assert sent.status_code == 302, sent.text
    return str(sent.headers["location"])


async def login(client: httpx.AsyncClient) -> httpx.Response:
    return await client.get(await way_back(client))


def changed(url: str, **values: str) -> str:
    """The same way back with other parameters."""
    parts = urllib.parse.urlsplit(url)
    query = {**dict(urllib.parse.parse_qsl(parts.query)), **values}
    return parts._replace(query=urllib.parse.urlencode({k: v for k, v in query.items() if v})).geturl()


async def test_a_login_through_the_provider_begins_the_same_session_as_a_password(
    database: Database, tmp_path: Path, unused_tcp_port: int
) -> None:
    async with opened(database, tmp_path, unused_tcp_port) as (here, outside):
        ada = await here.user("ada@example.org", Role.ANALYST)
        client = here.clients[0]
        answer = await login(client)
        assert answer.status_code == 200, answer.text
        pair = answer.json()
        me = (await client.get("/api/auth/me", headers=bearing(pair["access_token"]))).json()
        assert (me["subject"], me["role"], me["session_id"]) == (ada.user_id, "analyst", pair["session_id"])
        renewed = await client.post("/api/auth/refresh", json={"refresh_token": pair["refresh_token"]})
        assert renewed.status_code == 200
        assert (await client.post("/api/auth/logout", headers=bearing(pair["access_token"]))).status_code == 204
        assert await here.everywhere(pair["access_token"]) == [401]

        # From now on the subject counts, whatever the address becomes; and the address alone no more.
        outside.person = {"sub": "ada-1", "email": "countess@example.org"}
        assert (await login(client)).status_code == 200
        outside.person = {"sub": "eve-1", "email": "ada@example.org", "email_verified": True}
        refused = await login(client)
        assert (refused.status_code, "somebody else" in refused.text) == (403, True)
        await here.people.users.change(ada.user_id, by="cli", disabled=True)
        outside.person = {"sub": "ada-1"}
        assert (await login(client)).status_code == 401
        acts = await database.fetch("select action, detail::text from fluxa.ledger order by number")
        assert [row["action"] for row in acts][1:3] == ["user.linked", "session.created"]
        assert outside.url in acts[2]["detail"]


async def test_a_way_back_is_used_once_and_in_the_browser_that_began(
    database: Database, tmp_path: Path, unused_tcp_port: int
) -> None:
    async with opened(database, tmp_path, unused_tcp_port) as (here, outside):
        await here.user("ada@example.org", Role.ANALYST)
        client = here.clients[0]
        back = await way_back(client)
        cookies = dict(client.cookies)
        assert (await client.get(back)).status_code == 200
        client.cookies.update(cookies)
        assert (await client.get(back)).status_code == 401  # replayed as it was
        asked = outside.asked

        fresh = await way_back(client)
        code = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(back).query))["code"]
        replayed = await client.get(changed(fresh, code=code))  # a right state, with a code that was used
        assert (replayed.status_code, "does not accept the code" in replayed.text) == (401, True)
        assert outside.asked == asked + 1
        mine, theirs = await way_back(client), await way_back(client)
        injected = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(mine).query))["code"]
        swapped = await client.get(changed(theirs, code=injected))  # a fresh code, of another login: PKCE
        assert (swapped.status_code, "does not accept the code" in swapped.text) == (401, True)

        for wrong in ({"state": "x" * 43}, {"state": ""}, {"iss": "https://other.example"}, {"code": "made-up"}):
            assert (await client.get(changed(await way_back(client), **wrong))).status_code == 401, wrong
        denied = await client.get(changed(await way_back(client), code="", error="access_denied"))
        assert (denied.status_code, "access_denied" in denied.text) == (401, True)
        hostile = await client.get(changed(await way_back(client), code="", error="<script>"))
        assert "script" not in hostile.text

        stolen = await way_back(client)
        async with httpx.AsyncClient(trust_env=False) as other:
            assert (await other.get(stolen)).status_code == 401  # in another browser
        late = await way_back(client)
        await database.execute("update fluxa.oidc_flows set expires_at = now() - interval '1 s'")
        assert (await client.get(late)).status_code == 401
        repeated = await client.get(f"{await way_back(client)}&code=twice")
        assert repeated.status_code == 400
        count = await database.fetch_value("select count(*) from fluxa.sessions")
        assert count == 1


Alteration = Callable[[dict[str, Any]], dict[str, Any]]
LIES: dict[str, tuple[str, Alteration]] = {
    "another nonce": ("its nonce", lambda claims: {**claims, "nonce": "other"}),
    "no nonce": ("its nonce", lambda claims: {name: value for name, value in claims.items() if name != "nonce"}),
    "another issuer": ("its iss", lambda claims: {**claims, "iss": "https://other.example"}),
    "no issuer": ("malformed", lambda claims: {name: value for name, value in claims.items() if name != "iss"}),
    "another audience": ("audience", lambda claims: {**claims, "aud": "somebody-else"}),
    "several audiences, for another": ("its azp", lambda claims: {**claims, "aud": [CLIENT_ID, "b"], "azp": "b"}),
    "expired": ("expired", lambda claims: {**claims, "exp": claims["iat"] - 60}),
    "from the future": ("not_yet", lambda claims: {**claims, "iat": claims["iat"] + 3600}),
    "no end": ("malformed", lambda claims: {name: value for name, value in claims.items() if name != "exp"}),
    "no subject": ("its sub", lambda claims: {name: value for name, value in claims.items() if name != "sub"}),
    "for another access token": ("its at_hash", lambda claims: {**claims, "at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}),
}


def _forgeries(outside: OpenIdProvider) -> dict[str, tuple[str, Callable[[dict[str, Any]], str]]]:
    """ID tokens that say all that is right, and are signed in a wrong way."""
    stranger = RSAKey.generate_key(2048, {"kid": "one"})

    def unsigned(claims: dict[str, Any]) -> str:
        body = outside.honest(claims).split(".")[1]
        return f"{urlsafe(json.encode({'alg': 'none', 'kid': 'one'}))}.{body}."

    def symmetric(claims: dict[str, Any]) -> str:
        signed = f"{urlsafe(json.encode({'alg': 'HS256', 'kid': 'one'}))}.{outside.honest(claims).split('.')[1]}"
        return f"{signed}.{urlsafe(hmac.digest(outside.key.as_pem(private=False), signed.encode(), 'sha256'))}"

    def altered(claims: dict[str, Any]) -> str:
        head, _, signature = outside.honest(claims).split(".")
        return f"{head}.{urlsafe(json.encode({**claims, 'email': 'root@example.org'}))}.{signature}"

    return {
        "none": ("algorithm", unsigned),
        "public key as secret": ("algorithm", symmetric),
        "another algorithm of the key": (
            "algorithm",
            lambda claims: jwt.encode({"alg": "PS256", "kid": "one"}, claims, outside.key, algorithms=["PS256"]),
        ),
        "another key of that name": (
            "signature",
            lambda claims: jwt.encode({"alg": "RS256", "kid": "one"}, claims, stranger),
        ),
        "a key that nobody published": (
            "unknown_key",
            lambda claims: jwt.encode({"alg": "RS256", "kid": "two"}, claims, stranger),
        ),
        "altered": ("signature", altered),
        "no token": ("malformed", lambda _claims: "not.a.token"),
    }


def urlsafe(content: bytes) -> str:

    return urlsafe_b64encode(content).rstrip(b"=").decode()


async def test_no_lie_and_no_forgery_of_a_token_logs_anybody_in(
    database: Database, tmp_path: Path, unused_tcp_port: int
) -> None:
    async with opened(database, tmp_path, unused_tcp_port) as (here, outside):
        await here.user("ada@example.org", Role.ADMIN)
        client = here.clients[0]
        for kind, (word, lie) in LIES.items():
            outside.claims = lie
            answer = await login(client)
            assert answer.status_code == 401, (kind, answer.text)
            assert word in answer.json()["detail"], kind
        outside.claims = lambda claims: claims
        for kind, (word, forge) in _forgeries(outside).items():
            outside.sign = forge
            answer = await login(client)
            assert answer.status_code == 401, (kind, answer.text)
            assert word in answer.json()["detail"], kind
        outside.sign = None
        assert (await login(client)).status_code == 200
        metrics = (await client.get("/metrics")).text
        counted = [line for line in metrics.splitlines() if line.startswith("fluxa_authentication_failures_total")]
        assert any("auth_oidc_callback" in line and 'reason="signature"' in line for line in counted)
    assert await database.fetch_value("select count(*) from fluxa.sessions") == 1


async def test_who_is_nobody_here_is_let_in_only_where_the_settings_name_a_role(
    database: Database, tmp_path: Path, unused_tcp_port_factory: Callable[[], int]
) -> None:
    async with opened(database, tmp_path, unused_tcp_port_factory()) as (here, outside):
        client = here.clients[0]
        answer = await login(client)
        assert (answer.status_code, "no user ada@example.org" in answer.text) == (403, True)
        await here.user("ada@example.org", Role.ADMIN)
        for person in ({"email_verified": False}, {"email": None}, {"email_verified": "no"}):
            outside.person = {"sub": "x", "email": "ada@example.org", "email_verified": True, **person}
            refused = await login(client)
            assert (refused.status_code, "no verified e-mail" in refused.text) == (403, True), person
    async with opened(database, tmp_path, unused_tcp_port_factory(), oidc_default_role="analyst") as (here, outside):
        client = here.clients[0]
        outside.person = {"sub": "bob-1", "email": "Bob@Example.org", "email_verified": True}
        first, second = (await login(client)).json(), (await login(client)).json()
        assert first["session_id"].rpartition(".")[0] == second["session_id"].rpartition(".")[0]
        bob = await here.people.users.find("bob@example.org")
        assert (bob.role, bob.tenant) == (Role.ANALYST, "default")
        assert (await here.login("bob@example.org", "")).status_code == 400
        assert (await here.login("bob@example.org")).status_code == 401  # he has no password


@pytest.mark.parametrize(
    ("client_auth", "secret"),
    [("client_secret_basic", CLIENT_SECRET), ("client_secret_post", CLIENT_SECRET), ("none", None)],
)
async def test_the_client_shows_its_secret_as_the_provider_wants_it(
    database: Database, tmp_path: Path, unused_tcp_port: int, client_auth: str, secret: str | None
) -> None:
    async with opened(database, tmp_path, unused_tcp_port, oidc_client_secret=secret) as (here, outside):
        outside.client_auth = client_auth
        await here.user("ada@example.org", Role.ANALYST)
        answer = await login(here.clients[0])
        assert answer.status_code == 200, answer.text
        mine, theirs = await way_back(here.clients[0]), await way_back(here.clients[0])
        code = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(mine).query))["code"]
        # Of a public client, PKCE alone says that a code came to who asked for it.
        assert (await here.clients[0].get(changed(theirs, code=code))).status_code == 401
        outside.client_auth = "client_secret_basic" if client_auth == "none" else "none"
        refused = await login(here.clients[0])
        assert (refused.status_code, refused.json()["code"]) == (503, "ProviderUnauthorized")


@pytest.mark.parametrize("email", ["\uff41da@example.org", "ada@\uff45xample.org", " ada@example.org"])
async def test_an_address_that_only_looks_like_a_name_is_not_that_user(
    database: Database, tmp_path: Path, unused_tcp_port: int, email: str
) -> None:
    async with opened(database, tmp_path, unused_tcp_port, oidc_default_role="analyst") as (here, outside):
        await here.user("ada@example.org", Role.ADMIN)
        outside.person = {"sub": "eve-1", "email": email, "email_verified": True}
        refused = await login(here.clients[0])
        assert (refused.status_code, "cannot be a user's name" in refused.text) == (403, True)
        outside.person = {"sub": "ada-1", "email": "Ada@Example.ORG", "email_verified": True}
        assert (await login(here.clients[0])).status_code == 200
    assert await database.fetch_value("select array_agg(subject) from fluxa.oidc_identities") == ["ada-1"]


async def test_over_tls_the_cookie_is_this_hosts_alone(
    database: Database, tmp_path: Path, unused_tcp_port: int
) -> None:
    back = "https://station.example/api/auth/oidc/callback"
    async with opened(database, tmp_path, unused_tcp_port, oidc_redirect_url=back) as (here, _):
        await here.user("ada@example.org", Role.ANALYST)
        client = here.clients[0]

        async def begin() -> tuple[str, str]:
            begun = await client.get(START)
            cookie = begun.headers["set-cookie"]
            assert cookie.startswith("__Host-fluxa_oidc=")
            assert "Path=/;" in cookie
            assert "Secure" in cookie
            async with httpx.AsyncClient(trust_env=False) as browser:
                sent = await browser.get(begun.headers["location"])
            query = urllib.parse.urlsplit(sent.headers["location"]).query
            return cookie.partition(";")[0].partition("=")[2], f"/api/auth/oidc/callback?{query}"

        async with httpx.AsyncClient(base_url=client.base_url, trust_env=False) as bare:
            value, path = await begin()
            planted = await bare.get(path, headers={"Cookie": f"fluxa_oidc={value}"})  # a neighbour can set that one
            assert planted.status_code == 401
            value, path = await begin()
            kept = await bare.get(path, headers={"Cookie": f"fluxa_oidc=planted; __Host-fluxa_oidc={value}"})
            assert kept.status_code == 200, kept.text


async def test_a_provider_that_is_away_or_not_itself_is_said_so(
    database: Database, tmp_path: Path, unused_tcp_port_factory: Callable[[], int]
) -> None:
    for lie in (
        {"issuer": "https://other.example"},
        {"token_endpoint": "http://192.0.2.1/token"},
        {"authorization_endpoint": "ftp://x/y"},
    ):
        async with opened(database, tmp_path, unused_tcp_port_factory()) as (here, outside):
            outside.about = lie
            answer = await here.clients[0].get(START)
            assert (answer.status_code, "cannot be used" in answer.text) == (503, True)
    async with opened(database, tmp_path, unused_tcp_port_factory()) as (here, outside):
        await here.user("ada@example.org", Role.ADMIN)
        outside.secret = "another by now, at the provider"  # noqa: S105 - none
        refused = await login(here.clients[0])
        assert (refused.status_code, refused.json()["code"]) == (503, "ProviderUnauthorized")
    assert await database.fetch_value("select count(*) from fluxa.sessions") == 0


async def test_without_a_provider_the_routes_say_how_to_switch_it_on(
    database: Database, tmp_path: Path, unused_tcp_port: int
) -> None:
    async with town(database, tmp_path, [unused_tcp_port]) as here:
        for path in (START, "/api/auth/oidc/callback"):
            answer = await here.clients[0].get(path)
            assert (answer.status_code, "set oidc_issuer" in answer.json()["detail"]) == (404, True)


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"oidc_issuer": "https://id.example"}, "oidc_client_id"),
        ({"oidc_issuer": "https://id.example", "oidc_client_id": "x"}, "oidc_redirect_url"),
        ({"oidc_issuer": "http://id.example", "oidc_client_id": "x", "oidc_redirect_url": "https://a/b"}, "https"),
        ({"oidc_issuer": "https://i.d", "oidc_client_id": "x", "oidc_redirect_url": "http://a/b"}, "https"),
        (
            {
                "oidc_issuer": "https://i.d",
                "oidc_client_id": "x",
                "oidc_redirect_url": "https://a/b",
                "oidc_default_role": "root",
            },
            "one of",
        ),
    ],
)
def test_settings_that_cannot_work_are_refused(tmp_path: Path, given: dict[str, str], match: str) -> None:
    with pytest.raises(FluxaError, match=match):
        settings.load({"home": str(tmp_path), **given}, environment={}, working_folder=tmp_path)


async def test_operators_link_and_unlink_who_the_provider_cannot_name(
    database: Database, tmp_path: Path, unused_tcp_port: int
) -> None:
    async with opened(database, tmp_path, unused_tcp_port) as (here, outside):
        client, set_ = here.clients[0], f"oidc_issuer={outside.url}"
        ada = await here.user("ada@example.org", Role.ANALYST)

        async def fluxa(*words: str) -> str:
            given = ["--home", str(tmp_path), "--set", f"database_url={database.config.url}"]
            given += ["--set", set_, "--set", "oidc_client_id=x", "--set", "oidc_redirect_url=https://a.example/b"]
            found = await asyncio.to_thread(CliRunner().invoke, commands, [*given, *words])
            return f"{found.exit_code} {found.output}"

        outside.person = {"sub": "ada-7"}
        assert (await login(client)).status_code == 403
        assert (await fluxa("user", "link", "ada@example.org", "ada-7")).startswith("0 ")
        assert "linked already" in await fluxa("user", "link", "ada@example.org", "ada-8")
        pair = (await login(client)).json()
        me = (await client.get("/api/auth/me", headers=bearing(pair["access_token"]))).json()
        assert me["subject"] == ada.user_id
        assert "1 links of ada@example.org are gone" in await fluxa("user", "unlink", "ada@example.org")
        assert await here.everywhere(pair["access_token"]) == [401]
        assert (await login(client)).status_code == 403
        assert (await fluxa("user", "unlink", "bob@example.org")).startswith("4 ")
    acts = [row["action"] for row in await database.fetch("select action from fluxa.ledger order by number")]
    assert [act for act in acts if "link" in act] == ["user.linked", "user.unlinked"]
