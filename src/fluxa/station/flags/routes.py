"""The rows of feature flags: show them, set one, let what the code says hold again. Not: flags themselves."""

from dataclasses import dataclass, field
from typing import Annotated

import msgspec
from msgspec import Meta

from fluxa.auth.roles import OPERATORS, WATCHERS
from fluxa.auth.scopes import Scope as KeyScope
from fluxa.operations.flags import Flags, FlagView
from fluxa.web.bodies import MIB, Bodies, body_of
from fluxa.web.responses import Response, json_response, send_response
from fluxa.web.routes import Auth, Bucket, Call, Operation, Receive, Route, Scope, Send, Terms

_BODY_MAX_BYTES = MIB // 16
_SEE = Terms(Bucket.OPERATION, WATCHERS, platform=True, scope=KeyScope.FLAGS_READ)
_TURN = Terms(Bucket.OPERATION, OPERATORS, platform=True, body_max_bytes=_BODY_MAX_BYTES, scope=KeyScope.FLAGS_WRITE)


class FlagList(msgspec.Struct, frozen=True):
    """How flags stand.

    Attributes:
        flags: Fluxa's own, and those that somebody has set, by name.
    """

    flags: list[FlagView]


class NewState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a flag stands from now on.

    Attributes:
        is_on: whether it is on.
        reason: why; it is shown beside the flag.
    """

    is_on: bool
    reason: Annotated[str, Meta(max_length=1000)] = ""


@dataclass(frozen=True, slots=True)
class FlagDoor:
    """What the rows need.

    Attributes:
        flags: what they are set to.
        bodies: reads bodies.
    """

    flags: Flags
    bodies: Bodies = field(default_factory=lambda: Bodies(max_bytes=_BODY_MAX_BYTES))

    async def list(self, _call: Call, _scope: Scope, _receive: Receive, send: Send) -> None:
        """All flags."""
        await send_response(send, json_response(FlagList(await self.flags.all())))

    async def set(self, call: Call, scope: Scope, receive: Receive, send: Send) -> None:
        """Turn a flag on or off."""
        by, asked = call.caller.actor, await body_of(self.bodies, scope, receive, NewState)
        found = await self.flags.put(
            call.path_params["flag"],
            is_on=asked.is_on,
            by=by,
            reason=asked.reason,
            correlation_id=call.correlation_id,
        )
        await send_response(send, json_response(found))

    async def reset(self, call: Call, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Let what the code says hold again."""
        flag, by = call.path_params["flag"], call.caller.actor
        await self.flags.reset(flag, by=by, correlation_id=call.correlation_id)
        await send_response(send, Response(status=204))

    def routes(self) -> tuple[Route, ...]:
        """The rows."""
        path = "/api/flags/{flag}"
        return (
            Route("flags_list", "/api/flags", ("GET",), Auth.BEARER, self.list, _LIST, _SEE),
            Route("flags_set", path, ("PUT",), Auth.BEARER, self.set, _SET, _TURN),
            Route("flags_reset", path, ("DELETE",), Auth.BEARER, self.reset, _RESET, _TURN),
        )


_LIST = Operation(
    "Fluxa's own feature flags, and those that somebody has set",
    responses={200: ("The flags by name.", FlagList)},
)
_SET = Operation(
    "Turn a flag on or off; every process follows at once",
    request={"application/json": NewState},
    responses={200: ("How it stands.", FlagView), 400: ("No flag can be called so.", None)},
)
_RESET = Operation(
    "Let what the code says hold again",
    responses={204: ("It is done.", None), 404: ("Nobody has set it.", None)},
)
