"""Access tokens with keys from a real database: right ones open, every forged one is refused for its own reason."""

import hashlib
import hmac
from collections.abc import AsyncIterator

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fluxa.auth.principal import Kind, Principal
from fluxa.auth.roles import Role
from fluxa.auth.tokens import PURPOSE, AccessTokens, Names, Sealer
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.kernel.ids import Tenant
from fluxa.postgres.pool import Database
from fluxa.testing.clock import ManualClock
from identity.tokens import SECRET, USER, Office, b64, office, parts, unsigned


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def at(database: Database, clock: ManualClock) -> AsyncIterator[Office]:
    async with office(database, clock=clock) as made:
        yield made


@pytest.mark.req("SEC-1")
async def test_a_token_says_who_its_bearer_is(at: Office) -> None:
    token = await at.tokens.mint(USER, ttl_s=60)
    assert await at.tokens.verify(token) == USER
    header, claims, _ = parts(token)
    assert header == {"alg": "EdDSA", "kid": header["kid"], "typ": "at+jwt"}
    assert (claims["iss"], claims["aud"], claims["sub"], claims["sid"]) == ("fluxa", "fluxa", "u1", "u1.session")
    assert (claims["tenant"], claims["role"], claims["name"]) == ("acme", "manager", "ada")
    assert claims["exp"] - claims["iat"] == 60
    assert claims["nbf"] == claims["iat"]
    assert not at.reasons


@pytest.mark.req("SEC-1")
async def test_the_end_of_a_session_counts_with_the_next_request(at: Office) -> None:
    token = await at.tokens.mint(USER, ttl_s=60)
    assert await at.tokens.verify(token) is not None
    at.sessions.ended.add("u1.session")
    assert await at.tokens.verify(token) is None
    assert at.reasons == ["session"]
    assert at.sessions.asked == 2


async def test_times_hold_with_a_small_leeway_to_either_side(at: Office, clock: ManualClock) -> None:
    token = await at.tokens.mint(USER, ttl_s=60)
    clock.advance(69)
    assert await at.tokens.verify(token) == USER
    clock.advance(1)
    assert await at.tokens.verify(token) is None
    clock.advance(-79)
    assert await at.tokens.verify(token) == USER
    clock.advance(-3)
    assert await at.tokens.verify(token) is None
    assert at.reasons == ["expired", "not_yet"]


@pytest.mark.parametrize(
    "principal",
    [
        Principal(Tenant("acme"), "ci", Role.ADMIN, Kind.API_KEY, "k1"),
        Principal(Tenant("acme"), "ada", Role.ADMIN, Kind.USER, "u1"),
        Principal(Tenant("acme"), "ada", Role.ADMIN, Kind.USER, "", "s"),
    ],
)
async def test_only_users_with_a_session_get_one(at: Office, principal: Principal) -> None:
    with pytest.raises(ValueError, match="user with a session"):
        await at.tokens.mint(principal, ttl_s=60)


@pytest.mark.parametrize("ttl_s", [0, -1, 3601])
async def test_none_is_valid_for_long(at: Office, ttl_s: float) -> None:
    with pytest.raises(ValueError, match="3600"):
        await at.tokens.mint(USER, ttl_s=ttl_s)


@pytest.mark.req("SEC-1")
async def test_forged_tokens_are_refused_each_for_its_reason(at: Office) -> None:
    token = await at.tokens.mint(USER, ttl_s=60)
    header, claims, signature = parts(token)
    kid, private = await at.ring.signer()
    mallory = Ed25519PrivateKey.generate()
    public = at.ring.jwks()["keys"][0]["x"].encode()

    def by_us(head: dict[str, object], body: dict[str, object]) -> str:
        text = unsigned(head, body)
        return f"{text}.{b64(private.private_key.sign(text.encode()))}"  # type: ignore[union-attr]

    def hs256(secret: bytes) -> str:
        text = unsigned({**header, "alg": "HS256"}, claims)
        return f"{text}.{b64(hmac.new(secret, text.encode(), hashlib.sha256).digest())}"

    none = unsigned({**header, "alg": "none"}, claims)
    theirs = unsigned(header, claims)
    admin = unsigned(header, {**claims, "role": "admin"})
    forged = [
        (f"{none}.", "algorithm"),
        (f"{none}.{b64(signature)}", "algorithm"),
        (f"{unsigned({'alg': 'none'}, claims)}.", "algorithm"),
        (hs256(public), "algorithm"),
        (hs256(b""), "algorithm"),
        (f"{theirs}.{b64(mallory.sign(theirs.encode()))}", "signature"),
        (f"{admin}.{b64(signature)}", "signature"),
        (by_us({**header, "kid": "another"}, claims), "unknown_key"),
        (by_us({**header, "kid": ["x"]}, claims), "malformed"),
        (by_us({**header, "crit": ["exp"]}, claims), "malformed"),
        (by_us({**header, "alg": "ES256"}, claims), "algorithm"),
        (by_us({**header, "typ": "JWT"}, claims), "type"),
        (by_us({"alg": "EdDSA", "kid": kid}, claims), "type"),
        (by_us(header, {**claims, "iss": "https://evil.example"}), "issuer"),
        (by_us(header, {**claims, "aud": "another"}), "audience"),
        (by_us(header, {**claims, "aud": ["fluxa"]}), "malformed"),
        (by_us(header, {**claims, "exp": claims["iat"] - 11}), "expired"),
        (by_us(header, {**claims, "nbf": claims["iat"] + 11}), "not_yet"),
        (by_us(header, {**claims, "iat": claims["iat"] + 11}), "not_yet"),
        (by_us(header, {**claims, "role": "root"}), "malformed"),
        (by_us(header, {**claims, "tenant": "../acme"}), "malformed"),
        (by_us(header, {**claims, "sid": ""}), "malformed"),
        (by_us(header, {name: value for name, value in claims.items() if name != "exp"}), "malformed"),
        (token + "A" * 4096, "malformed"),
        (token + ".", "malformed"),
        (token + "=", "malformed"),
        ("", "malformed"),
        ("..", "malformed"),
        ("é.é.é", "malformed"),
    ]
    for text, _ in forged:
        assert await at.tokens.verify(text) is None, text
    assert at.reasons == [reason for _, reason in forged]
    assert await at.tokens.verify(token) == USER
    assert await at.tokens.verify(by_us(header, claims)) == USER  # the forger's tools work


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
async def test_no_changed_token_passes(at: Office, data: st.DataObject) -> None:
    token = await at.tokens.mint(USER, ttl_s=60)
    place = data.draw(st.integers(0, len(token) - 1))
    letter = data.draw(st.characters(codec="utf-8"))
    changed = token[:place] + letter + token[place + data.draw(st.integers(0, 3)) :]
    assert await at.tokens.verify(changed) == (USER if changed == token else None)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.one_of(st.text(max_size=300), st.from_regex(r"[A-Za-z0-9_.-]{0,300}", fullmatch=True)))
async def test_nothing_that_is_no_token_passes_or_breaks(at: Office, text: str) -> None:
    assert await at.tokens.verify(text) is None


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    header=st.recursive(
        st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    ),
    name=st.sampled_from(["alg", "kid", "typ", "jwk", "jku", "x5u", "crit", "b64", "zip", "enc"]),
    inside=st.sampled_from(["iss", "aud", "exp", "nbf", "iat", "sub", "sid", "tenant", "role"]),
)
async def test_no_odd_header_or_claim_passes_or_breaks(at: Office, header: object, name: str, inside: str) -> None:
    token = await at.tokens.mint(USER, ttl_s=60)
    head, claims, signature = parts(token)
    odd_head = f"{unsigned({**head, name: header}, claims)}.{b64(signature)}"
    assert (await at.tokens.verify(odd_head)) == (USER if head.get(name) == header and odd_head == token else None)
    odd_claim = f"{unsigned(head, {**claims, inside: header})}.{b64(signature)}"
    assert (await at.tokens.verify(odd_claim)) == (USER if odd_claim == token else None)


async def test_without_a_secret_tokens_are_checked_but_not_made(database: Database) -> None:
    async with office(database) as making, office(database, secret=None) as checking:
        token = await making.tokens.mint(USER, ttl_s=60)
        assert await checking.tokens.verify(token) == USER
        with pytest.raises(FluxaError, match="openssl rand -hex 32") as refused:
            await checking.tokens.mint(USER, ttl_s=60)
        assert refused.value.code == ErrorCode.CONFIGURATION


async def test_a_secret_is_replaced_by_naming_both(database: Database) -> None:
    async with office(database) as before:
        kid, _ = await before.ring.signer()
    async with office(database, secret=b"f" * 32) as other:
        with pytest.raises(FluxaError, match="new,old"):
            await other.tokens.mint(USER, ttl_s=60)
    row = await database.fetch_row("select * from fluxa.signing_keys")
    assert row is not None
    raw = Sealer([b"f" * 32, SECRET], PURPOSE).open(row["sealed"], f"signing key {kid}")
    assert len(raw) == 32
    assert raw not in bytes(row["sealed"])
    for purpose, context in (("another", f"signing key {kid}"), (PURPOSE, "signing key x")):
        with pytest.raises(FluxaError):
            Sealer([SECRET], purpose).open(row["sealed"], context)


async def test_an_issuer_of_our_own_name_cannot_be_another(at: Office, clock: ManualClock) -> None:
    with pytest.raises(ValueError, match="own issuer"):
        AccessTokens(
            at.ring,
            at.sessions,
            names=Names("x", "y"),
            clock=clock,
            hook=at.heard.append,
            issuers={"x": object()},  # type: ignore[dict-item]
        )
