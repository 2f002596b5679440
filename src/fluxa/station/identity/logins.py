"""Login, refresh, logout and a person's own sessions over HTTP."""

from dataclasses import dataclass

from fluxa.auth.people.logins import From, Login, Logins
from fluxa.auth.people.users import Users
from fluxa.auth.principal import Kind, Principal
from fluxa.auth.roles import EVERY_ROLE
from fluxa.auth.scopes import Scope as KeyScope
from fluxa.auth.sessions import Sessions
from fluxa.auth.tokens import Tokens
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.station.identity.given import BODY_MAX_BYTES, person
from fluxa.station.identity.schemas import Ended, LoginRequest, Me, RefreshRequest, SessionList, TokenPair
from fluxa.web.bodies import Bodies, body_of
from fluxa.web.limits import Addresses
from fluxa.web.responses import Response, json_response, send_response
from fluxa.web.routes import Auth, Bucket, Call, Operation, Receive, Route, Scope, Send, Terms

_LOGIN = Terms(Bucket.LOGIN, body_max_bytes=BODY_MAX_BYTES)
_OWN = Terms(Bucket.OPERATION, EVERY_ROLE, body_max_bytes=BODY_MAX_BYTES, scope=KeyScope.OWN)


@dataclass(frozen=True, slots=True)
class LoginRows:
    """What these rows need.

    Attributes:
        logins: checks passwords and refresh tokens.
        users: ends sessions.
        sessions: lists them.
        tokens: makes access tokens.
        ttl_s: seconds for which those are valid.
        bodies: reads bodies.
        addresses: tells where a login comes from.
    """

    logins: Logins
    users: Users
    sessions: Sessions
    tokens: Tokens
    ttl_s: float
    bodies: Bodies
    addresses: Addresses

    async def login(self, call: Call, scope: Scope, receive: Receive, send: Send) -> None:
        """A session for a name and a password."""
        asked = await body_of(self.bodies, scope, receive, LoginRequest)
        await self._answer(send, await self.logins.login(asked.name, asked.password, self._from(call, scope)))

    async def refresh(self, call: Call, scope: Scope, receive: Receive, send: Send) -> None:
        """The next pair of tokens."""
        asked = await body_of(self.bodies, scope, receive, RefreshRequest)
        await self._answer(send, await self.logins.refresh(asked.refresh_token, self._from(call, scope)))

    async def logout(self, call: Call, _scope: Scope, _receive: Receive, send: Send) -> None:
        """End the session of the token that is shown."""
        who = person(call)
        await self.users.end_session(who.session_id or "", by=who.actor, correlation_id=call.correlation_id)
        await send_response(send, Response(status=204))

    async def me(self, call: Call, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Who calls."""
        who = call.caller
        view = Me(
            tenant=who.tenant,
            name=who.name,
            role=who.role,
            kind=who.kind,
            subject=who.subject,
            session_id=who.session_id,
        )
        await send_response(send, json_response(view))

    async def list(self, call: Call, _scope: Scope, _receive: Receive, send: Send) -> None:
        """The caller's sessions."""
        await send_response(send, json_response(SessionList(await self.sessions.list_of(person(call).subject))))

    async def end_all(self, call: Call, _scope: Scope, _receive: Receive, send: Send) -> None:
        """End all of the caller's sessions, this one too."""
        who = person(call)
        ended = await self.users.end_sessions(who.subject, by=who.actor, correlation_id=call.correlation_id)
        await send_response(send, json_response(Ended(ended)))

    async def end_one(self, call: Call, _scope: Scope, _receive: Receive, send: Send) -> None:
        """End one of the caller's sessions."""
        who, session_id = person(call), call.path_params["id"]
        found = await self.sessions.get(session_id)
        if found is None or found.user_id != who.subject:
            raise FluxaError(ErrorCode.NOT_FOUND, "You have no such session.")
        await self.users.end_session(session_id, by=who.actor, correlation_id=call.correlation_id)
        await send_response(send, Response(status=204))

    def routes(self) -> tuple[Route, ...]:
        """The rows."""
        own = "/api/auth/sessions"
        return (
            Route("auth_login", "/api/auth/login", ("POST",), Auth.OPEN, self.login, _DO_LOGIN, _LOGIN),
            Route("auth_refresh", "/api/auth/refresh", ("POST",), Auth.OPEN, self.refresh, _DO_REFRESH, _LOGIN),
            Route("auth_logout", "/api/auth/logout", ("POST",), Auth.BEARER, self.logout, _DO_LOGOUT, _OWN),
            Route("auth_me", "/api/auth/me", ("GET",), Auth.BEARER, self.me, _DO_ME, _OWN),
            Route("auth_sessions", own, ("GET",), Auth.BEARER, self.list, _DO_LIST, _OWN),
            Route("auth_sessions_end", own, ("DELETE",), Auth.BEARER, self.end_all, _DO_END_ALL, _OWN),
            Route("auth_session_end", f"{own}/{{id}}", ("DELETE",), Auth.BEARER, self.end_one, _DO_END_ONE, _OWN),
        )

    async def _answer(self, send: Send, login: Login) -> None:
        await send_response(send, json_response(await pair_of(self.tokens, self.ttl_s, login)))

    def _from(self, call: Call, scope: Scope) -> From:
        agent = next((value for name, value in scope["headers"] if name == b"user-agent"), b"")
        return From(self.addresses.of(scope), agent.decode("latin-1"), call.correlation_id)


async def pair_of(tokens: Tokens, ttl_s: float, login: Login) -> TokenPair:
    """What somebody who is logged in is given.

    Raises:
        FluxaError: `Configuration`, without a key to sign with; an outage.
    """
    user, session = login.user, login.session
    principal = Principal(
        user.tenant, user.name, user.role, Kind.USER, subject=user.user_id, session_id=session.session_id
    )
    return TokenPair(
        access_token=await tokens.mint(principal, ttl_s=ttl_s),
        token_type="Bearer",  # noqa: S106 - OAuth's word for it
        expires_in=int(ttl_s),
        refresh_token=login.refresh_token,
        session_id=session.session_id,
    )


_JSON = "application/json"
_NOT_A_PERSON = {403: ("The credential is not a person's.", None)}
_DO_LOGIN = Operation(
    "Log in: an access token and a refresh token for a name and a password",
    request={_JSON: LoginRequest},
    responses={
        200: ("You are logged in.", TokenPair),
        401: ("The name or the password is wrong, or the user is disabled.", None),
        429: ("Too many attempts failed; wait as long as Retry-After says.", None),
    },
)
_DO_REFRESH = Operation(
    "Exchange a refresh token for the next pair; one that is shown twice ends the session",
    request={_JSON: RefreshRequest},
    responses={200: ("The next pair.", TokenPair), 401: ("It is not valid; log in again.", None)},
)
_DO_LOGOUT = Operation("End this session", responses={204: ("It has ended.", None), **_NOT_A_PERSON})
_DO_ME = Operation("Who you are", responses={200: ("You.", Me)})
_DO_LIST = Operation("Your sessions, newest first", responses={200: ("They.", SessionList), **_NOT_A_PERSON})
_DO_END_ALL = Operation(
    "End all your sessions, this one too", responses={200: ("They have ended.", Ended), **_NOT_A_PERSON}
)
_DO_END_ONE = Operation(
    "End one of your sessions",
    responses={204: ("It has ended.", None), 404: ("You have no such session.", None), **_NOT_A_PERSON},
)
