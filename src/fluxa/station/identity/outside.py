"""Logging in through an OpenID provider over HTTP: to the provider, and back. Not: what is proved there (auth)."""

import re
import urllib.parse
from dataclasses import dataclass
from typing import Final, Protocol

from fluxa.auth.people.logins import From
from fluxa.auth.people.oidc.entry import OutsideLogins, Proved
from fluxa.auth.people.oidc.flows import LIFETIME_S, Begun, Flow, Flows
from fluxa.auth.principal import Reason, unauthenticated
from fluxa.auth.tokens import Tokens
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.station.identity.logins import pair_of
from fluxa.station.identity.schemas import TokenPair
from fluxa.web.limits import Addresses
from fluxa.web.queries import parameter
from fluxa.web.responses import Response, json_response, send_response
from fluxa.web.routes import Auth, Bucket, Call, Operation, Receive, Route, Scope, Send, Terms

_TERMS = Terms(Bucket.LOGIN)
_PATH: Final = "/api/auth/oidc"
_COOKIE: Final = "fluxa_oidc"
_HOST_COOKIE: Final = "__Host-fluxa_oidc"
"""The same over TLS: browsers take it from this host alone, so that no neighbour of its domain can plant one."""
_VALUE_MAX: Final = 4096
_WORD: Final = re.compile(r"[a-z_]{1,64}\Z")


class Provider(Protocol):
    """The provider; `fluxa.auth.people.oidc.provider.OidcProvider` is one."""

    async def login_url(self, begun: Begun) -> str:
        """Where the browser goes to log in."""
        ...

    async def prove(self, code: str, flow: Flow) -> Proved:
        """Whom it has logged in."""
        ...


@dataclass(frozen=True, slots=True)
class Outside:
    """What logs people in through a provider.

    Attributes:
        provider: proves them.
        flows: the logins under way.
        logins: lets them in.
        issuer: the provider, as it names itself.
        redirect_url: where browsers come back to.
    """

    provider: Provider
    flows: Flows
    logins: OutsideLogins
    issuer: str
    redirect_url: str

    @property
    def is_secure(self) -> bool:
        """Whether browsers come back over TLS; not only on this machine."""
        return self.redirect_url.startswith("https:")


@dataclass(frozen=True, slots=True)
class OutsideRows:
    """What these rows need.

    Attributes:
        outside: the provider; None where there is none.
        tokens: makes access tokens.
        ttl_s: seconds for which those are valid.
        addresses: tells where a login comes from.
    """

    outside: Outside | None
    tokens: Tokens
    ttl_s: float
    addresses: Addresses

    async def start(self, _call: Call, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Send the browser to the provider."""
        outside = self._on()
        begun = await outside.flows.begin()
        url = await outside.provider.login_url(begun)
        cookie = _cookie(begun.browser, LIFETIME_S, secure=outside.is_secure)
        await send_response(send, Response(status=302, headers=((b"location", url.encode()), cookie)))

    async def callback(self, call: Call, scope: Scope, _receive: Receive, send: Send) -> None:
        """Take the browser back: a session, as after a password."""
        outside = self._on()
        given = _parameters(scope)
        flow = await outside.flows.take(given.get("state", ""), _browser(scope, secure=outside.is_secure))
        if given.get("iss", outside.issuer) != outside.issuer:
            raise unauthenticated(Reason.OTHER, "Another provider answers than was asked (RFC 9207); begin again.")
        if "code" not in given:
            word = given.get("error", "")
            said = word if _WORD.match(word) else "no code"
            raise unauthenticated(Reason.OTHER, f"The provider did not log you in: {said}.")
        proved = await outside.provider.prove(given["code"], flow)
        agent = next((value for name, value in scope["headers"] if name == b"user-agent"), b"")
        came = From(self.addresses.of(scope), agent.decode("latin-1"), call.correlation_id)
        pair = await pair_of(self.tokens, self.ttl_s, await outside.logins.enter(proved, came))
        ended = _cookie("", 0, secure=outside.is_secure)
        await send_response(send, json_response(pair, headers=(ended,)))

    def routes(self) -> tuple[Route, ...]:
        """The rows."""
        get = ("GET",)
        return (
            Route("auth_oidc_start", f"{_PATH}/start", get, Auth.OPEN, self.start, _START, _TERMS),
            Route("auth_oidc_callback", f"{_PATH}/callback", get, Auth.OPEN, self.callback, _CALLBACK, _TERMS),
        )

    def _on(self) -> Outside:
        if self.outside is None:
            raise FluxaError(
                ErrorCode.NOT_FOUND,
                "Login through an OpenID provider is off. To switch it on, set oidc_issuer, oidc_client_id, "
                "oidc_client_secret and oidc_redirect_url.",
            )
        return self.outside


def _parameters(scope: Scope) -> dict[str, str]:
    """The parameters of the way back; providers add some of their own."""
    try:
        pairs = urllib.parse.parse_qsl(
            scope["query_string"].decode("ascii"), strict_parsing=False, errors="strict", max_num_fields=50
        )
    except ValueError:
        raise FluxaError(ErrorCode.INVALID_REQUEST, "The query of the way back cannot be read.") from None
    found = dict(pairs)
    if len(found) < len(pairs) or any(len(value) > _VALUE_MAX for value in found.values()):
        raise FluxaError(ErrorCode.INVALID_REQUEST, "The query of the way back repeats itself, or is too long.")
    return found


def _browser(scope: Scope, *, secure: bool) -> str:
    wanted = _HOST_COOKIE if secure else _COOKIE
    for name, value in scope["headers"]:
        if name == b"cookie":
            for part in value.decode("latin-1").split(";"):
                key, _, text = part.strip().partition("=")
                if key == wanted:
                    return str(text)
    return ""


def _cookie(value: str, max_age_s: int, *, secure: bool) -> tuple[bytes, bytes]:
    """The cookie that says which browser began; sent along when the provider leads back here (Lax)."""
    place = f"{_HOST_COOKIE}={value}; Path=/; Secure" if secure else f"{_COOKIE}={value}; Path={_PATH}"
    return b"set-cookie", f"{place}; Max-Age={max_age_s}; HttpOnly; SameSite=Lax".encode()


_OFF = {404: ("There is no provider in the settings.", None)}
_AWAY = {503: ("The provider cannot be reached, or does not know our secret.", None)}
_START = Operation(
    "Go to the OpenID provider to log in",
    responses={302: ("To the provider; a cookie says which browser began.", None), **_OFF, **_AWAY},
)
_CALLBACK = Operation(
    "Come back from the OpenID provider: an access token and a refresh token, as after a login with a password",
    (
        parameter("state", "What the login was begun with."),
        parameter("code", "What the provider gave the browser."),
        parameter("iss", "Which provider answers (RFC 9207)."),
        parameter("error", "Why it did not log anybody in."),
    ),
    responses={
        200: ("You are logged in.", TokenPair),
        401: ("It was not proved who you are.", None),
        403: ("The provider knows you, and nobody here does.", None),
        **_OFF,
        **_AWAY,
    },
)
