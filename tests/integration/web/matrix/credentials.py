"""Every kind of credential that the matrix sends, right ones and wrong ones, and who each of them proves to be."""

import base64
import datetime as dt
import hashlib
import hmac
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc.jwk import OKPKey

from fluxa.apps.serving.people import know_people
from fluxa.auth.keys.accounts import ServiceAccounts
from fluxa.auth.keys.api_keys import ApiKeys
from fluxa.auth.roles import Role
from fluxa.auth.scopes import GRANTED
from fluxa.auth.sessions import NewSession
from fluxa.auth.sessions.postgres_store import PostgresSessions
from fluxa.auth.tokens import claims, jws
from fluxa.kernel import json
from fluxa.kernel.clock import SystemClock
from fluxa.kernel.ids import Tenant
from fluxa.operations.ledger import Ledger
from fluxa.postgres.pool import Database
from fluxa.testing.clock import ManualClock
from identity.tokens import Office, b64
from integration.web.matrix.expected import Row
from making.callers.calls import LEGACY, OLDER, OVERRIDE, SECRET, signed

Headers = dict[str, str]

OURS, STRANGERS = "default", "acme"
PHRASE = "correct horse battery"
NEVER = "a secret that was never in force"


@dataclass(frozen=True)
class Caller:
    """Whom a credential proves.

    Attributes:
        tenant: whose.
        role: its role there.
        person: whether somebody logged in for it.
        scope: what it is narrowed to; None: all that its role may.
    """

    tenant: str
    role: str
    person: bool
    scope: str | None = None


CRON_JOB = "cron job"
"""What signs calls."""

Who = Caller | str | None
"""A caller, a cron job, or None for nobody."""


@dataclass(frozen=True)
class Kind:
    """A kind of credential.

    Attributes:
        name: for whoever reads the failure.
        who: whom it proves.
        headers: makes it, for a request to this row.
        query: what the request has behind its path.
    """

    name: str
    who: Who
    headers: Callable[[Row], Awaitable[Headers]]
    query: str = ""


@dataclass
class Wallet:
    """What credentials are made of, for one process.

    Attributes:
        database: of the process.
        at: makes tokens with the process's own keys.
        keys: API keys, by tenant and role.
        ended: API keys that were valid once, by how they ended.
        narrowed: API keys of an admin, by the one scope that they are narrowed to.
        used: makes a signed call that the process has accepted already.
        users: the ids of those who have logged in so far, by tenant and role.
    """

    database: Database
    at: Office
    keys: dict[tuple[str, str], str]
    ended: dict[str, str]
    narrowed: dict[str, str]
    used: Callable[[Row], Awaitable[Headers]]
    users: dict[tuple[str, str], str] = field(default_factory=dict)

    async def token(self, caller: Caller, *, kind: str = claims.TYPE, ended: bool = False, **changed: object) -> str:
        """A person's access token of a new session, right but for what is changed."""
        header, content, private = await self.parts(caller, ended=ended)
        return jws.signed(json.encode({**content, **changed}), kid=header["kid"], kind=kind, private=private)

    async def parts(self, caller: Caller, *, ended: bool = False) -> tuple[dict[str, Any], dict[str, Any], OKPKey]:
        """Header and claims of such a token, and the key that signs."""
        kid, private = await self.at.ring.signer()
        sessions = PostgresSessions(self.database, SystemClock())
        user_id = await self._user(caller)
        session = await sessions.create(NewSession(user_id, Tenant(caller.tenant)))
        if ended:
            await sessions.delete(session.session_id)
        now = int(time.time())
        content: dict[str, Any] = {
            "iss": "fluxa",
            "aud": "fluxa",
            "sub": user_id,
            "sid": session.session_id,
            "tenant": caller.tenant,
        }
        content |= {"role": caller.role, "name": "a", "iat": now, "nbf": now, "exp": now + 600}
        content |= {"jti": secrets.token_urlsafe(8)}
        return {"alg": "EdDSA", "kid": kid, "typ": claims.TYPE}, content, private

    async def _user(self, caller: Caller) -> str:
        of = (caller.tenant, caller.role)
        if of not in self.users:
            clock = SystemClock()
            people = know_people(self.database, PostgresSessions(self.database, clock), Ledger(self.database), clock)
            name = f"{caller.role}@{caller.tenant}.example"
            made = await people.users.create(caller.tenant, name, PHRASE, role=Role(caller.role), by="cli")
            self.users[of] = made.user_id
        return self.users[of]


async def filled(database: Database, at: Office, used: Callable[[Row], Awaitable[Headers]]) -> Wallet:
    """A wallet with a key for each role, and a stranger's."""
    keys = ApiKeys(database)
    made = {(OURS, str(role)): (await keys.create(OURS, str(role), role=role)).token for role in Role}
    made[STRANGERS, "admin"] = (await keys.create(STRANGERS, "admin", role=Role.ADMIN)).token
    narrowed = {str(one): (await keys.create(OURS, one, role=Role.ADMIN, narrowed=(one,))).token for one in GRANTED}
    await at.ring.signer()  # the first key of the installation is there before the process reads them
    return Wallet(database, at, made, await _ended(database), narrowed, used)


async def _ended(database: Database) -> dict[str, str]:
    keys, long_ago = ApiKeys(database), ManualClock(SystemClock().now() - dt.timedelta(hours=1))
    revoked = await keys.create(OURS, "revoked", role=Role.ADMIN)
    await keys.revoke(revoked.key.key_id)
    expired = await ApiKeys(database, clock=long_ago).create(OURS, "expired", role=Role.ADMIN, expires_in_s=60)
    rotated = await keys.create(OURS, "rotated", role=Role.ADMIN)
    await keys.rotate(rotated.key.key_id, overlap_s=0)
    accounts = ServiceAccounts(database, keys, Ledger(database))
    await accounts.create(OURS, "gone", role=Role.ADMIN, by="cli")
    owned = await keys.create(OURS, "owned", account="gone")
    await accounts.disable(OURS, "gone", by="cli")
    return {
        "revoked": revoked.token,
        "expired": expired.token,
        "old secret of a": rotated.token,
        "disabled service account's": owned.token,
    }


def _fixed(headers: Headers) -> Callable[[Row], Awaitable[Headers]]:
    async def same(_row: Row) -> Headers:
        return headers

    return same


def _bearer(token: str) -> Callable[[Row], Awaitable[Headers]]:
    return _fixed({"Authorization": f"Bearer {token}"})


def not_keys(wallet: Wallet) -> list[Kind]:
    """What is no API key, or was one, or stands where none is looked for."""
    right = wallet.keys[OURS, "admin"]
    basic = base64.b64encode(f"x:{right}".encode()).decode()
    wrong = {
        "none": {},
        "empty": {"Authorization": ""},
        "key without scheme": {"Authorization": right},
        "key by another scheme": {"Authorization": f"Basic {basic}"},
        "two keys": {"Authorization": f"Bearer {right}, Bearer {right}"},
        "key in a cookie": {"Cookie": f"Authorization={right}; access_token={right}"},
        "key in another header": {"X-API-Key": right, "Proxy-Authorization": f"Bearer {right}"},
        "named by a proxy": {"X-Forwarded-User": "admin", "X-Remote-User": "admin", "X-Fluxa-Role": "admin"},
    }
    tokens = {
        "unknown key": f"fx_{'0' * 16}_{'x' * 43}",
        "cut key": right[:-1],
        "longer key": f"{right}x",
        "altered key": right[:-1] + ("A" if right[-1] != "A" else "B"),
        "public part of a key": "_".join(right.split("_", 2)[:2]),
        **{f"{how} key": key for how, key in wallet.ended.items()},
        "cron secret as key": SECRET,
        "refresh token as key": "fr_" + "x" * 43,
    }
    found = [Kind(name, None, _fixed(headers)) for name, headers in wrong.items()]
    found += [Kind(name, None, _bearer(token)) for name, token in tokens.items()]
    return [*found, Kind("key in the query", None, _fixed({}), query=f"?access_token={right}&api_key={right}")]


async def not_tokens(wallet: Wallet) -> list[Kind]:
    """Access tokens that are expired, forged, made for others or whose session has ended."""
    admin, now = Caller(OURS, "admin", person=True), int(time.time())
    header, content, private = await wallet.parts(admin)
    plain = private.as_dict(private=False)
    public = base64.urlsafe_b64decode(str(plain["x"]) + "=")
    pem: bytes = private.as_pem(private=False)
    foreign = Ed25519PrivateKey.generate()
    raw = foreign.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    mine = {"kty": "OKP", "crv": "Ed25519", "x": b64(raw)}
    as_foreign = OKPKey.import_key(foreign)
    good = await wallet.token(admin)
    analyst = await wallet.token(Caller(OURS, "analyst", person=True))
    good_parts, analyst_parts = good.split("."), analyst.split(".")
    body = json.encode(content)

    def mac(algorithm: str, secret: bytes, digest: Callable[..., Any] = hashlib.sha256) -> str:
        text = f"{b64(json.encode({**header, 'alg': algorithm}))}.{b64(body)}"
        return f"{text}.{b64(hmac.new(secret, text.encode(), digest).digest())}"

    def bare(algorithm: str, signature: str = "") -> str:
        return f"{b64(json.encode({**header, 'alg': algorithm}))}.{b64(body)}.{signature}"

    tokens = {
        "expired": await wallet.token(admin, iat=now - 700, nbf=now - 700, exp=now - 60),
        "not yet valid": await wallet.token(admin, nbf=now + 600, exp=now + 900),
        "of another issuer": await wallet.token(admin, iss="https://issuer.example"),
        "for another audience": await wallet.token(admin, aud="others"),
        "of another type": await wallet.token(admin, kind="JWT"),
        "of an ended session": await wallet.token(admin, ended=True),
        "of no session": await wallet.token(admin, sid=f"{content['sub']}.gone"),
        "of a role that there is not": await wallet.token(admin, role="root"),
        "alg none": bare("none"),
        "alg None": bare("None"),
        "alg none with a signature": bare("none", good_parts[2]),
        "alg HS256 with the public key": mac("HS256", public),
        "alg HS256 with the public key as PEM": mac("HS256", pem),
        "alg HS256 with the public key as JWK": mac("HS256", json.encode(plain)),
        "alg HS512 with nothing": mac("HS512", b"", hashlib.sha512),
        "alg RS256": bare("RS256", good_parts[2]),
        "alg ES256": bare("ES256", good_parts[2]),
        "signed by another key": jws.signed(body, kid=header["kid"], kind=claims.TYPE, private=as_foreign),
        "of a key that there is not": jws.signed(body, kid="unknown", kind=claims.TYPE, private=as_foreign),
        "with its key in the header": _with_key({**header, "jwk": mine}, body, foreign),
        "with a role of another": f"{analyst_parts[0]}.{good_parts[1]}.{analyst_parts[2]}",
        "cut": good[:-2],
        "of two parts": good.rpartition(".")[0],
    }
    return [Kind(f"token {name}", None, _bearer(token)) for name, token in tokens.items()]


def _with_key(header: dict[str, Any], body: bytes, private: Ed25519PrivateKey) -> str:
    text = f"{b64(json.encode(header))}.{b64(body)}"
    return f"{text}.{b64(private.sign(text.encode()))}"


def callers(wallet: Wallet) -> list[Kind]:
    """Right credentials: of each role by key and by token, and of another tenant's admin."""
    found = []
    for (tenant, role), key in wallet.keys.items():
        person = Caller(tenant, role, person=True)
        found.append(Kind(f"key of {tenant} {role}", Caller(tenant, role, person=False), _bearer(key)))
        found.append(Kind(f"token of {tenant} {role}", person, _new_token(wallet, person)))
    return found


def narrowed(wallet: Wallet) -> list[Kind]:
    """Keys of an admin that are narrowed to one scope each."""
    return [
        Kind(f"key narrowed to {scope}", Caller(OURS, "admin", person=False, scope=scope), _bearer(key))
        for scope, key in wallet.narrowed.items()
    ]


def _new_token(wallet: Wallet, caller: Caller) -> Callable[[Row], Awaitable[Headers]]:
    async def make(_row: Row) -> Headers:
        # Some routes end the session of whoever calls them.
        return {"Authorization": f"Bearer {await wallet.token(caller)}"}

    return make


def machines(wallet: Wallet) -> list[Kind]:
    """Calls of cron jobs, right, wrong and repeated."""

    def sign(**how: Any) -> Callable[[Row], Awaitable[Headers]]:  # noqa: ANN401 - what `signed` takes
        async def make(row: Row) -> Headers:
            given = dict(how)
            target = given.pop("target", None) or row.path
            return signed(target, **{"method": row.method, **given})

        return make

    admin = f"Bearer {wallet.keys[OURS, 'admin']}"

    async def spoilt(row: Row) -> Headers:
        return {**signed(row.path, method=row.method, secret=NEVER), "X-Fluxa-Override": OVERRIDE}

    async def bare(row: Row) -> Headers:
        made = signed(row.path, method=row.method)
        del made["X-Fluxa-Nonce"]
        return made

    async def beside(row: Row) -> Headers:
        return {**signed(row.path, method=row.method, secret=NEVER), "Authorization": admin}

    return [
        Kind("signed", CRON_JOB, sign()),
        Kind("signed with the older secret", CRON_JOB, sign(secret=OLDER)),
        Kind("override token", CRON_JOB, _fixed({"X-Fluxa-Override": OVERRIDE})),
        Kind("static secret of before", CRON_JOB, _fixed({"X-Internal-Secret": LEGACY})),
        Kind("signed and replayed", None, wallet.used),
        Kind("signed with another secret", None, sign(secret=NEVER)),
        Kind("signed long ago", None, sign(late_s=400)),
        Kind("signed in the future", None, sign(late_s=-400)),
        Kind("signed for another path", None, sign(target="/elsewhere")),
        Kind("signed for another method", None, sign(method="PURGE")),
        Kind("signed for another body", None, sign(body=b"other")),
        Kind("signed without a nonce", None, bare),
        Kind("wrong signature beside an override token", None, spoilt),
        Kind("wrong signature beside a key", Caller(OURS, "admin", person=False), beside),
        Kind("wrong override token", None, _fixed({"X-Fluxa-Override": OVERRIDE[:-1]})),
        Kind("wrong static secret", None, _fixed({"X-Internal-Secret": OVERRIDE})),
    ]
