"""The rows of routes and role bindings: show the table, bind roles to a route, unbind them."""

from dataclasses import dataclass, field
from typing import Annotated

import msgspec
from msgspec import Meta

from fluxa.auth.roles import ADMINS, Role
from fluxa.auth.scopes import Scope as KeyScope
from fluxa.web.bodies import MIB, Bodies, body_of
from fluxa.web.identity.bindings import BIND, LIST, UNBIND, Bindings, NewlyBound, RouteTable
from fluxa.web.responses import Response, json_response, send_response
from fluxa.web.routes import Auth, Bucket, Call, Operation, Receive, Route, Scope, Send, Terms

_BODY_MAX_BYTES = MIB // 16
_TERMS = Terms(Bucket.OPERATION, ADMINS, platform=True, body_max_bytes=_BODY_MAX_BYTES, scope=KeyScope.ROLES_WRITE)


class NewBinding(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which roles may call a route from now on.

    Attributes:
        roles: they; an empty list: nobody.
        reason: why; it is shown beside the route.
    """

    roles: Annotated[list[Role], Meta(max_length=len(Role))]
    reason: Annotated[str, Meta(max_length=1000)] = ""


@dataclass(frozen=True, slots=True)
class BindingDoor:
    """What the rows need.

    Attributes:
        bindings: who may call what.
        bodies: reads bodies.
    """

    bindings: Bindings
    bodies: Bodies = field(default_factory=lambda: Bodies(max_bytes=_BODY_MAX_BYTES))

    async def list(self, _call: Call, _scope: Scope, _receive: Receive, send: Send) -> None:
        """The routes of all processes."""
        await send_response(send, json_response(await self.bindings.table()))

    async def bind(self, call: Call, scope: Scope, receive: Receive, send: Send) -> None:
        """Let other roles call a route."""
        who, asked = call.caller, await body_of(self.bodies, scope, receive, NewBinding)
        bound = await self.bindings.bind(
            call.path_params["route"],
            asked.roles,
            by=who.actor,
            who=who,
            reason=asked.reason,
            correlation_id=call.correlation_id,
        )
        await send_response(send, json_response(bound))

    async def unbind(self, call: Call, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Let the roles of its row call it again."""
        route, who = call.path_params["route"], call.caller
        await self.bindings.unbind(route, by=who.actor, who=who, correlation_id=call.correlation_id)
        await send_response(send, Response(status=204))

    def routes(self) -> tuple[Route, ...]:
        """The rows."""
        path = "/api/routes/{route}/roles"
        return (
            Route(LIST, "/api/routes", ("GET",), Auth.BEARER, self.list, _LIST, _TERMS),
            Route(BIND, path, ("PUT",), Auth.BEARER, self.bind, _BIND, _TERMS),
            Route(UNBIND, path, ("DELETE",), Auth.BEARER, self.unbind, _UNBIND, _TERMS),
        )


_LIST = Operation(
    "All routes of all processes: how each knows its callers, and which roles may call it",
    responses={200: ("The routes by path.", RouteTable)},
)
_BIND = Operation(
    "Let these roles call a route, and no others, on every process from now on",
    request={"application/json": NewBinding},
    responses={
        200: ("What is bound.", NewlyBound),
        403: ("You would give rights that you do not have.", None),
        404: ("There is no such route.", None),
        409: ("It would shut the admins out of changing bindings.", None),
    },
)
_UNBIND = Operation(
    "Let the roles of a route's own row call it again",
    responses={
        204: ("It is done.", None),
        403: ("You would give rights that you do not have.", None),
        404: ("Nothing is bound to it.", None),
    },
)
