"""Users and their sessions over HTTP, for the admins of a tenant."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from fluxa.auth.people.users import User, Users
from fluxa.auth.principal import Principal
from fluxa.auth.roles import ADMINS
from fluxa.auth.scopes import Scope as KeyScope
from fluxa.auth.sessions import Sessions
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.station.identity.given import BODY_MAX_BYTES
from fluxa.station.identity.schemas import Ended, NewUser, SessionList, UserChange, UserList
from fluxa.web.bodies import Bodies, body_of
from fluxa.web.identity.bindings import RouteView, check_role, gives_all
from fluxa.web.queries import Query, parameter
from fluxa.web.responses import json_response, send_response
from fluxa.web.routes import Auth, Bucket, Call, Operation, Receive, Route, Scope, Send, Terms

_RUN = Terms(Bucket.OPERATION, ADMINS, body_max_bytes=BODY_MAX_BYTES, scope=KeyScope.USERS_WRITE)
_SEE = Terms(Bucket.OPERATION, ADMINS, scope=KeyScope.USERS_READ)
_LIMIT_DEFAULT, _LIMIT_MAX = 100, 1000
_PARAMETERS = (
    parameter("after", "Only users whose name comes after this one."),
    parameter(
        "limit",
        "Users at most.",
        {"type": "integer", "minimum": 1, "maximum": _LIMIT_MAX, "default": _LIMIT_DEFAULT},
    ),
)
_NAMES = frozenset(str(one["name"]) for one in _PARAMETERS)


RoutesNow = Callable[[], Awaitable[Sequence[RouteView]]]
"""The routes of all processes, with what is bound to them now."""


@dataclass(frozen=True, slots=True)
class UserRows:
    """What these rows need.

    Attributes:
        users: the users.
        sessions: lists sessions.
        bodies: reads bodies.
        routes_now: what roles open, so that nobody gives rights that he does not have.
    """

    users: Users
    sessions: Sessions
    bodies: Bodies
    routes_now: RoutesNow

    async def list(self, call: Call, scope: Scope, _receive: Receive, send: Send) -> None:
        """The users of the caller's tenant."""
        query = Query(scope, _NAMES)
        limit = query.integer("limit", default=_LIMIT_DEFAULT, minimum=1, maximum=_LIMIT_MAX)
        users = await self.users.list(call.caller.tenant, after=query.text("after") or "", limit=limit)
        following = users[-1].name if len(users) == limit else None
        await send_response(send, json_response(UserList(users, following)))

    async def create(self, call: Call, scope: Scope, receive: Receive, send: Send) -> None:
        """Make a user of the caller's tenant."""
        who = call.caller
        asked = await body_of(self.bodies, scope, receive, NewUser)
        check_role(who, asked.role, await self._table(who))
        user = await self.users.create(
            who.tenant, asked.name, asked.password, role=asked.role, by=who.actor, correlation_id=call.correlation_id
        )
        location = (b"location", f"/api/users/{user.user_id}".encode())
        await send_response(send, json_response(user, status=201, headers=(location,)))

    async def change(self, call: Call, scope: Scope, receive: Receive, send: Send) -> None:
        """Give another role or password, disable or enable."""
        who = call.caller
        asked = await body_of(self.bodies, scope, receive, UserChange)
        user = await self._of_tenant(call, who)
        if user.user_id == who.subject and (asked.role not in {None, user.role} or asked.disabled):
            # Else the last admin of a tenant could lock everybody out.
            raise FluxaError(ErrorCode.FORBIDDEN, "Nobody disables himself or gives himself another role.")
        table = await self._table(who)

        def permit(was: User) -> None:
            # To disable somebody gives nobody anything; whatever else is changed is in the changer's hands afterwards.
            if asked.role is not None or asked.password is not None or asked.disabled is False:
                for role in {was.role, asked.role or was.role}:
                    check_role(who, role, table)

        changed = await self.users.change(
            user.user_id,
            by=who.actor,
            role=asked.role,
            disabled=asked.disabled,
            password=asked.password,
            permit=permit,
            correlation_id=call.correlation_id,
        )
        await send_response(send, json_response(changed))

    async def sessions_of(self, call: Call, _scope: Scope, _receive: Receive, send: Send) -> None:
        """A user's sessions."""
        user = await self._of_tenant(call, call.caller)
        await send_response(send, json_response(SessionList(await self.sessions.list_of(user.user_id))))

    async def end_sessions(self, call: Call, _scope: Scope, _receive: Receive, send: Send) -> None:
        """End all sessions of a user."""
        who = call.caller
        user = await self._of_tenant(call, who)
        ended = await self.users.end_sessions(user.user_id, by=who.actor, correlation_id=call.correlation_id)
        await send_response(send, json_response(Ended(ended)))

    def routes(self) -> tuple[Route, ...]:
        """The rows."""
        all_, one = "/api/users", "/api/users/{id}"
        return (
            Route("users_list", all_, ("GET",), Auth.BEARER, self.list, _LIST, _SEE),
            Route("users_create", all_, ("POST",), Auth.BEARER, self.create, _CREATE, _RUN),
            Route("users_change", one, ("PATCH",), Auth.BEARER, self.change, _CHANGE, _RUN),
            Route("users_sessions", f"{one}/sessions", ("GET",), Auth.BEARER, self.sessions_of, _SESSIONS, _SEE),
            Route("users_sessions_end", f"{one}/sessions", ("DELETE",), Auth.BEARER, self.end_sessions, _END, _RUN),
        )

    async def _table(self, who: Principal) -> Sequence[RouteView]:
        return () if gives_all(who) else await self.routes_now()

    async def _of_tenant(self, call: Call, who: Principal) -> User:
        """The user that the path names; those of other tenants are not there."""
        user = await self.users.get(call.path_params["id"])
        if user.tenant != who.tenant:
            raise FluxaError(ErrorCode.NOT_FOUND, "There is no such user.")
        return user


_TOO_MUCH = {403: ("You would give rights that you do not have.", None)}
_MISSING = {404: ("There is no such user.", None)}
_LIST = Operation("The users of your tenant", _PARAMETERS, responses={200: ("Users by name.", UserList)})
_CREATE = Operation(
    "Make a user of your tenant",
    request={"application/json": NewUser},
    responses={201: ("The user.", User), **_TOO_MUCH, 409: ("There is a user of this name.", None)},
)
_CHANGE = Operation(
    "Give a user another role or password, disable or enable; the user's sessions end if anything changes",
    request={"application/json": UserChange},
    responses={200: ("The user.", User), **_TOO_MUCH, **_MISSING},
)
_SESSIONS = Operation("A user's sessions, newest first", responses={200: ("They.", SessionList), **_MISSING})
_END = Operation(
    "End all sessions of a user, effective with the next request", responses={200: ("It is done.", Ended), **_MISSING}
)
