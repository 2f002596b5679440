"""Speaks to an OpenID provider: discovery, the way to its login page, the exchange of a code, the proof of its token.

Authlib makes and reads the messages of the protocol; the addresses come from the provider that the settings name and
are https; signatures are checked where those of all tokens are, by the algorithm of the key. Not: whose user it is.
"""

import asyncio
import ipaddress
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx
from authlib.oauth2.auth import ClientAuth
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri, prepare_token_request
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core import CodeIDToken
from authlib.oidc.discovery import get_well_known_url
from joserfc.errors import JoseError

from fluxa.auth.people.oidc.entry import Proved
from fluxa.auth.people.oidc.flows import Begun, Flow
from fluxa.auth.principal import Reason, unauthenticated
from fluxa.auth.tokens import claims, jws
from fluxa.auth.tokens.issuers import HttpKeys, IssuerTerms, OutsideIssuer
from fluxa.auth.tokens.refusals import Refusal, RefusedTokenError
from fluxa.kernel import json
from fluxa.kernel.clock import Clock
from fluxa.kernel.errors import ErrorCode, FluxaError

_SCOPE: Final = "openid email"
_FRESH_S: Final = 3600.0
"""How long what the provider says about itself is kept."""
_ANSWER_MAX_BYTES: Final = 256 * 1024
_FORGED: Final = frozenset({Refusal.ALGORITHM, Refusal.SIGNATURE, Refusal.UNKNOWN_KEY})
_SERVER_ERROR: Final = 500


@dataclass(frozen=True, slots=True)
class OidcTerms:
    """How a provider is spoken to.

    Attributes:
        issuer: the provider, as its tokens name it.
        client_id: what it calls this installation.
        redirect_url: where it sends browsers back to, as registered there.
        timeout_s: seconds that one answer of it may take.
    """

    issuer: str
    client_id: str
    redirect_url: str
    timeout_s: float = 5.0


@dataclass(frozen=True, slots=True)
class _About:
    """What the provider says about itself."""

    authorization_url: str
    token_url: str
    client_auth: str
    keys: OutsideIssuer
    until_s: float


class OidcProvider:
    """One provider; `client` must not follow redirects, and is closed by whoever made it."""

    def __init__(self, terms: OidcTerms, client_secret: str | None, client: httpx.AsyncClient, *, clock: Clock) -> None:
        self._terms = terms
        self._secret = client_secret
        self._client = client
        self._clock = clock
        self._about: _About | None = None
        self._learning = asyncio.Lock()

    def use(self, client_secret: str | None) -> None:
        """From now on this is the secret."""
        self._secret = client_secret

    async def check(self) -> int:
        """How many keys the provider has published, if what it says of itself can be used.

        Raises:
            FluxaError: `ProviderUnavailable`.
        """
        about = await self._learn()
        keys = await about.keys.published()
        if not keys:
            raise _rejected("it publishes no key that signs tokens")
        return keys

    async def login_url(self, begun: Begun) -> str:
        """Where the browser goes to log in.

        Raises:
            FluxaError: `ProviderUnavailable`, also for a provider that says of itself what cannot be.
        """
        about = await self._learn()
        url: str = prepare_grant_uri(
            about.authorization_url,
            client_id=self._terms.client_id,
            response_type="code",
            redirect_uri=self._terms.redirect_url,
            scope=_SCOPE,
            state=begun.state,
            nonce=begun.nonce,
            code_challenge=create_s256_code_challenge(begun.verifier),
            code_challenge_method="S256",
        )
        return url

    async def prove(self, code: str, flow: Flow) -> Proved:
        """Whom the provider has logged in.

        Args:
            code: what the browser brought back.
            flow: of the login that it was begun with.

        Raises:
            FluxaError: `Unauthenticated` for a code or a token that is not right; `ProviderUnauthorized`, if it does
                not know our secret; `ProviderUnavailable`.
        """
        about = await self._learn()
        answer = await self._exchange(about, code, flow)
        token = answer.get("id_token")
        if not isinstance(token, str):
            raise _rejected("its answer has no ID token")
        try:
            signed = jws.taken_apart(token)
            await about.keys.check_signature(signed)
            claims.check(
                claims.times_of(signed.payload), audience=self._terms.client_id, now_s=self._clock.now().timestamp()
            )
            content = claims.all_claims(signed.payload)
        except RefusedTokenError as refused:
            reason = Reason.SIGNATURE if refused.reason in _FORGED else Reason.OTHER
            raise unauthenticated(reason, f"The provider's ID token is not valid: {refused.reason}.") from None
        self._check(content, signed.algorithm, answer.get("access_token"), flow.nonce)
        email = content.get("email") if content.get("email_verified") in {True, "true"} else None
        return Proved(self._terms.issuer, str(content["sub"]), email if isinstance(email, str) else None)

    def _check(self, content: Mapping[str, Any], algorithm: str, access_token: object, nonce: str) -> None:
        """What OpenID Connect Core 3.1.3.7 asks of the claims, besides their signature."""
        options = {
            "iss": {"essential": True, "value": self._terms.issuer},
            "sub": {"essential": True},
            "aud": {"essential": True, "value": self._terms.client_id},
            "nonce": {"essential": True, "value": nonce},
        }
        params = {"nonce": nonce, "client_id": self._terms.client_id, "access_token": access_token}
        token = CodeIDToken(content, {"alg": algorithm}, options, params)
        try:
            token.validate(now=int(self._clock.now().timestamp()), leeway=int(claims.LEEWAY_S))
        except (JoseError, ValueError, TypeError) as error:
            claim = getattr(error, "claim", None)
            detail = f"its {claim} is wrong or missing" if isinstance(claim, str) else "a claim is wrong or missing"
            raise unauthenticated(Reason.OTHER, f"The provider's ID token is not valid: {detail}.") from None

    async def _exchange(self, about: _About, code: str, flow: Flow) -> dict[str, Any]:
        """The provider's answer to a code."""
        body = prepare_token_request(
            "authorization_code", redirect_uri=self._terms.redirect_url, code=code, code_verifier=flow.verifier
        )
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        auth = ClientAuth(self._terms.client_id, self._secret, about.client_auth if self._secret else "none")
        url, headers, body = auth.prepare("POST", about.token_url, headers, body)
        content = bytearray()
        try:
            async with (
                asyncio.timeout(self._terms.timeout_s),
                self._client.stream("POST", url, headers=headers, content=body) as answer,
            ):
                async for part in answer.aiter_bytes():
                    content += part
                    if len(content) > _ANSWER_MAX_BYTES:
                        raise _rejected("its answer is too long")
        except TimeoutError:
            raise _unavailable(f"no answer within {self._terms.timeout_s:g} s") from None
        except httpx.HTTPError as error:
            raise _unavailable(str(error) or type(error).__name__) from None
        if answer.status_code >= _SERVER_ERROR or answer.status_code == httpx.codes.TOO_MANY_REQUESTS:
            raise _unavailable(f"it answered {answer.status_code}")
        found = _object(bytes(content))
        if answer.status_code != httpx.codes.OK:
            if found.get("error") == "invalid_grant":
                raise unauthenticated(Reason.REPLAYED, "The provider does not accept the code; begin again.")
            detail = f"The OpenID provider answered {answer.status_code} to the exchange of a code."
            raise FluxaError(ErrorCode.PROVIDER_UNAUTHORIZED, detail)
        return found

    async def _learn(self) -> _About:
        """What the provider says about itself, asked for once an hour."""
        about = self._about
        if about is None or self._clock.monotonic() >= about.until_s:
            async with self._learning:
                about = self._about
                if about is None or self._clock.monotonic() >= about.until_s:
                    about = self._about = await self._discover()
        return about

    async def _discover(self) -> _About:
        terms = self._terms
        fetch = HttpKeys(self._client, get_well_known_url(terms.issuer, external=True), timeout_s=terms.timeout_s)
        found = _object(await fetch())
        if found.get("issuer") != terms.issuer:
            raise _rejected("it says that it is another issuer than oidc_issuer names")
        methods = found.get("token_endpoint_auth_methods_supported")
        posts = isinstance(methods, list) and "client_secret_basic" not in methods and "client_secret_post" in methods
        keys = HttpKeys(self._client, _address(found, "jwks_uri", terms.issuer), timeout_s=terms.timeout_s)
        return _About(
            authorization_url=_address(found, "authorization_endpoint", terms.issuer),
            token_url=_address(found, "token_endpoint", terms.issuer),
            client_auth="client_secret_post" if posts else "client_secret_basic",
            keys=OutsideIssuer(IssuerTerms(terms.issuer, terms.client_id), keys, clock=self._clock),
            until_s=self._clock.monotonic() + _FRESH_S,
        )


def _object(content: bytes) -> dict[str, Any]:
    try:
        found = json.decode(content)
    except FluxaError:
        found = None
    if not isinstance(found, dict):
        raise _rejected("its answer is not a JSON object")
    return found


def _address(found: Mapping[str, Any], name: str, issuer: str) -> str:
    """An address of the provider; what is sent there must not be read or changed on its way.

    One on this machine is for a provider on this machine: another must not send us to what else listens here.
    """
    url = found.get(name)
    try:
        parts = urllib.parse.urlsplit(url) if isinstance(url, str) else None
    except ValueError:
        parts = None
    near = parts is not None and _is_here(parts) and _is_here(urllib.parse.urlsplit(issuer))
    if parts is None or not parts.hostname or (parts.scheme != "https" and not near):
        raise _rejected(f"its {name} is not an https address")
    return str(url)


def _is_here(url: urllib.parse.SplitResult) -> bool:
    try:
        return url.scheme == "http" and ipaddress.ip_address(url.hostname or "").is_loopback
    except ValueError:
        return False


def _unavailable(problem: str) -> FluxaError:
    return FluxaError(ErrorCode.PROVIDER_UNAVAILABLE, f"The OpenID provider cannot be reached: {problem}.")


def _rejected(problem: str) -> FluxaError:
    return FluxaError(ErrorCode.PROVIDER_UNAVAILABLE, f"The OpenID provider cannot be used: {problem}.")
