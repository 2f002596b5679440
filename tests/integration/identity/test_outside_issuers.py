"""Tokens of other issuers: their keys come by HTTP from where the settings say, which also say what claims mean."""

import contextlib
import hmac
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import httpx
import pytest
from joserfc import jws
from joserfc.jwk import ECKey, RSAKey

from fluxa.auth.principal import Kind, Principal
from fluxa.auth.roles import Role
from fluxa.auth.tokens.issuers import HttpKeys, IssuerTerms, OutsideIssuer
from fluxa.kernel import json
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.kernel.ids import Tenant
from fluxa.postgres.pool import Database
from fluxa.telemetry.caches import CacheCount
from fluxa.telemetry.log import make_logger
from fluxa.testing.clock import ManualClock
from fluxa.testing.serving import serving
from fluxa.web.app import App
from fluxa.web.identity import Access, bearer
from fluxa.web.responses import Response, send_response
from fluxa.web.routes import UNCOUNTED, Auth, Call, Operation, Receive, Route, Scope, Send
from identity.tokens import USER, Office, b64, office, unsigned

ISSUER = "https://project.example/auth/v1"
TERMS = IssuerTerms(
    issuer=ISSUER,
    audience="authenticated",
    tenant_claim="app_metadata.tenant",
    role_claim="app_metadata.roles",
    roles={"staff": Role.MANAGER, "reader": Role.ANALYST},
)
BEGAN_S = 1767225600
CLAIMS = {
    "iss": ISSUER,
    "aud": "authenticated",
    "sub": "5f3a",
    "email": "grace@example.org",
    "iat": BEGAN_S,
    "exp": BEGAN_S + 600,
    "app_metadata": {"tenant": "acme", "roles": ["staff", "unknown"]},
}
ADA = Principal(Tenant("acme"), "grace@example.org", Role.MANAGER, Kind.USER, f"{ISSUER}#5f3a")


@dataclass
class Provider:
    """An issuer: publishes these keys."""

    keys: dict[str, ECKey | RSAKey] = field(default_factory=dict)
    answers: list[Response] = field(default_factory=list)
    asked: int = 0
    url: str = ""

    def add(self, kid: str, key: ECKey | RSAKey) -> None:
        self.keys[kid] = key

    def token(self, kid: str, algorithm: str = "ES256", **changes: object) -> str:
        header = {"alg": algorithm, "kid": kid, "typ": "JWT"}
        return jws.serialize_compact(header, json.encode({**CLAIMS, **changes}), self.keys[kid], [algorithm])

    async def show(self, _call: Call, _scope: Scope, _receive: Receive, send: Send) -> None:
        self.asked += 1
        listed = [{**key.as_dict(private=False), "kid": kid, "use": "sig"} for kid, key in self.keys.items()]
        answer = self.answers.pop(0) if self.answers else Response(body=json.encode({"keys": listed}))
        await send_response(send, answer)


@contextlib.asynccontextmanager
async def provider() -> AsyncIterator[Provider]:
    made = Provider()
    made.add("ec", ECKey.generate_key("P-256"))
    made.add("rsa", RSAKey.generate_key(2048))
    row = Route("keys", "/keys", ("GET",), Auth.OPEN, made.show, Operation("Keys"), UNCOUNTED)

    async def nobody(_token: str) -> None:
        return None

    app = App(
        [row],
        identify=bearer(nobody),
        access=Access(Tenant("default")),
        hook=lambda _signal: None,
        logger=make_logger("provider", level="error"),
    )
    async with serving(app) as url:
        made.url = f"{url}/keys"
        yield made


@contextlib.asynccontextmanager
async def accepting(
    database: Database, theirs: Provider, clock: ManualClock, count: CacheCount | None = None
) -> AsyncIterator[Office]:
    async with httpx.AsyncClient(trust_env=False) as client:
        fetch = HttpKeys(client, theirs.url, timeout_s=2, max_bytes=8192)
        other = OutsideIssuer(TERMS, fetch, clock=clock, count=count)
        async with office(database, clock=clock, issuers={ISSUER: other}) as at:
            yield at


@pytest.mark.req("SEC-1")
async def test_another_issuers_tokens_say_who_their_bearer_is_here(database: Database) -> None:
    async with provider() as theirs, accepting(database, theirs, ManualClock()) as at:
        assert await at.tokens.verify(theirs.token("ec")) == ADA
        assert await at.tokens.verify(theirs.token("rsa", "RS256")) == ADA
        assert theirs.asked == 1
        assert await at.tokens.verify(await at.tokens.mint(USER, ttl_s=60)) == USER


@pytest.mark.req("SEC-1")
async def test_what_another_issuer_did_not_say_so_is_refused(database: Database) -> None:
    async with provider() as theirs, accepting(database, theirs, ManualClock()) as at:
        own = await at.tokens.mint(USER, ttl_s=60)
        kid = at.ring.jwks()["keys"][0]["kid"]
        theirs.add(kid, theirs.keys["ec"])  # a key that is called like one of ours
        head = unsigned({"alg": "HS256", "kid": "rsa"}, CLAIMS)
        shared = hmac.digest(theirs.keys["rsa"].as_pem(private=False), head.encode(), "sha256")
        cases = [
            (theirs.token("rsa", "PS256"), "algorithm"),
            (f"{head}.{b64(shared)}", "algorithm"),
            (theirs.token(kid, iss="fluxa", aud="fluxa"), "algorithm"),
            (theirs.token("ec", iss="https://other.example"), "issuer"),
            (theirs.token("ec", aud="fluxa"), "audience"),
            (theirs.token("ec", exp=BEGAN_S - 10), "expired"),
            (theirs.token("ec", nbf=CLAIMS["exp"]), "not_yet"),
            (theirs.token("ec", app_metadata={"tenant": "acme", "roles": ["admin"]}), "unmapped"),
            (theirs.token("ec", app_metadata={"tenant": "acme", "roles": ["staff", "reader"]}), "unmapped"),
            (theirs.token("ec", app_metadata={"tenant": "../x", "roles": ["staff"]}), "unmapped"),
            (theirs.token("ec", app_metadata="acme"), "unmapped"),
            (theirs.token("ec", sub=""), "unmapped"),
            (own.rpartition(".")[0] + "." + theirs.token("ec").rpartition(".")[2], "signature"),
        ]
        for token, _ in cases:
            assert await at.tokens.verify(token) is None
        assert at.reasons == [reason for _, reason in cases]


async def test_new_keys_are_found_and_forged_ones_cost_little(database: Database) -> None:
    clock, count = ManualClock(), CacheCount()
    async with provider() as theirs, accepting(database, theirs, clock, count) as at:
        assert await at.tokens.verify(theirs.token("ec")) == ADA
        theirs.add("new", ECKey.generate_key("P-256"))
        token = theirs.token("new")
        for _ in range(5):
            assert await at.tokens.verify(token) is None
        assert theirs.asked == 1
        clock.advance(10)
        assert await at.tokens.verify(token) == ADA
        assert theirs.asked == 2
        assert await at.tokens.verify(token) == ADA
        assert count == CacheCount(hits=1, misses=7)


@pytest.mark.parametrize(
    "answer",
    [
        Response(status=500),
        Response(status=302, headers=((b"location", b"http://127.0.0.1:1/"),)),
        Response(body=b"{"),
        Response(body=b'{"keys":{"a":1}}'),
        Response(body=b'{"error":"busy"}'),
        Response(body=b'{"keys":"' + b"x" * 9000 + b'"}'),
    ],
)
async def test_an_issuer_that_is_away_is_an_outage_and_its_known_keys_hold(
    database: Database, answer: Response
) -> None:
    clock = ManualClock()
    async with provider() as theirs, accepting(database, theirs, clock) as at:
        theirs.answers = [answer]
        with pytest.raises(FluxaError) as refused:
            await at.tokens.verify(theirs.token("ec"))
        assert refused.value.code == ErrorCode.PROVIDER_UNAVAILABLE
        clock.advance(10)
        assert await at.tokens.verify(theirs.token("ec")) == ADA
        theirs.answers = [answer]
        clock.advance(300)
        assert await at.tokens.verify(theirs.token("ec")) == ADA
