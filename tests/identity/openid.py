"""A small OpenID provider over loopback HTTP, after the letter of the protocol unless a test makes it lie."""

import base64
import contextlib
import hashlib
import secrets
import time
import urllib.parse
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from joserfc import jwt
from joserfc.jwk import RSAKey

from fluxa.kernel import json
from fluxa.testing.serving import serving
from fluxa.web.routes import Receive, Scope, Send

CLIENT_ID, CLIENT_SECRET = "fluxa-here", "a secret of the client"
Claims = dict[str, Any]


def _honest(claims: Claims) -> Claims:
    return claims


@dataclass
class OpenIdProvider:
    """The provider: whoever comes to it is the person it is told.

    Attributes:
        person: claims about the person.
        claims: changes what the ID token says.
        sign: makes the ID token of its claims; None for an honest signature.
        about: what discovery says in place of the truth.
        secret: that proves the client.
        before: another one that does; none while it is empty.
        client_auth: how it wants that shown: client_secret_basic, client_secret_post, or none for a public client.
        asked: requests to the token endpoint.
    """

    key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": "one", "use": "sig"}))
    person: Claims = field(default_factory=lambda: {"sub": "ada-1", "email": "ada@example.org", "email_verified": True})
    claims: Callable[[Claims], Claims] = _honest
    sign: Callable[[Claims], str] | None = None
    about: dict[str, Any] = field(default_factory=dict)
    url: str = ""
    secret: str = CLIENT_SECRET
    before: str = ""
    client_auth: str = "client_secret_basic"
    asked: int = 0
    _codes: dict[str, Mapping[str, str]] = field(default_factory=dict)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        path, query = scope["path"], dict(urllib.parse.parse_qsl(scope["query_string"].decode()))
        match path:
            case "/.well-known/openid-configuration":
                await _answer(send, 200, self._discovery())
            case "/keys":
                await _answer(send, 200, {"keys": [self.key.as_dict(private=False)]})
            case "/authorize":
                await self._authorize(query, send)
            case "/token":
                body = dict(urllib.parse.parse_qsl((await _body(receive)).decode()))
                headers = {name.decode(): value.decode() for name, value in scope["headers"]}
                await _answer(send, *self._token(body, headers.get("authorization", "")))
            case _:
                await _answer(send, 404, {})

    def honest(self, claims: Claims) -> str:
        """An ID token as it should be."""
        return jwt.encode({"alg": "RS256", "kid": "one"}, claims, self.key, algorithms=["RS256"])

    def _discovery(self) -> Claims:
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": [self.client_auth],
            **self.about,
        }

    async def _authorize(self, query: Mapping[str, str], send: Send) -> None:
        right = (
            query.get("client_id") == CLIENT_ID
            and query.get("response_type") == "code"
            and "openid" in query.get("scope", "").split()
            and query.get("code_challenge_method") == "S256"
            and {"state", "nonce", "code_challenge", "redirect_uri"} <= query.keys()
        )
        if not right:
            await _answer(send, 400, {"error": "invalid_request"})
            return
        code = secrets.token_urlsafe(16)
        self._codes[code] = query
        back = urllib.parse.urlencode({"code": code, "state": query["state"], "iss": self.url, "session_state": "x"})
        await _answer(send, 302, {}, location=f"{query['redirect_uri']}?{back}")

    def _is_known(self, body: Mapping[str, str], authorization: str) -> bool:
        """Whether the client has shown who it is, in the one way that is wanted, and in no other besides."""
        held = [secret for secret in (self.secret, self.before) if secret]
        if self.client_auth == "client_secret_basic":
            expected = [base64.b64encode(f"{CLIENT_ID}:{one}".encode()).decode() for one in held]
            return authorization.removeprefix("Basic ") in expected and "client_secret" not in body
        named = body.get("client_id") == CLIENT_ID and not authorization
        if self.client_auth == "client_secret_post":
            return named and body.get("client_secret") in held
        return named and "client_secret" not in body

    def _token(self, body: Mapping[str, str], authorization: str) -> tuple[int, Claims]:
        self.asked += 1
        if not self._is_known(body, authorization):
            return 401, {"error": "invalid_client"}
        began = self._codes.pop(body.get("code", ""), None)
        proof = base64.urlsafe_b64encode(hashlib.sha256(body.get("code_verifier", "").encode()).digest()).rstrip(b"=")
        if (
            began is None
            or body.get("grant_type") != "authorization_code"
            or body.get("redirect_uri") != began["redirect_uri"]
            or proof.decode() != began["code_challenge"]
        ):
            return 400, {"error": "invalid_grant"}
        now = int(time.time())
        access = secrets.token_urlsafe(16)
        half = base64.urlsafe_b64encode(hashlib.sha256(access.encode()).digest()[:16]).rstrip(b"=").decode()
        claims = {
            "iss": self.url,
            "aud": CLIENT_ID,
            "exp": now + 300,
            "iat": now,
            "nonce": began["nonce"],
            "at_hash": half,
            **self.person,
        }
        token = (self.sign or self.honest)(self.claims(claims))
        return 200, {"access_token": access, "token_type": "Bearer", "expires_in": 300, "id_token": token}


@contextlib.asynccontextmanager
async def provider() -> AsyncIterator[OpenIdProvider]:
    """A provider that answers, for the length of the block."""
    made = OpenIdProvider()
    async with serving(cast("Any", made)) as made.url:
        yield made


async def _body(receive: Receive) -> bytes:
    content = b""
    while True:
        message = await receive()
        content += bytes(message.get("body", b""))
        if not message.get("more_body"):
            return content


async def _answer(send: Send, status: int, value: object, *, location: str = "") -> None:
    headers = [(b"content-type", b"application/json"), *([(b"location", location.encode())] if location else [])]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.encode(value)})
