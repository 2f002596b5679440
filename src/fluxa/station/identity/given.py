"""Reads what a request of this slice is given: its body, its caller. Not: what is done with it."""

from typing import Final, TypeVar

import msgspec

from fluxa.auth.principal import Kind, Principal
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.web.bodies import MIB, Bodies
from fluxa.web.routes import Call, Receive, Scope

T = TypeVar("T")
BODY_MAX_BYTES: Final = MIB // 16
"""The longest body of this slice: a name and a password, however they are written."""


def caller(call: Call) -> Principal:
    """Who asks.

    Raises:
        FluxaError: `Unauthenticated`.
    """
    if call.principal is None:
        raise FluxaError(ErrorCode.UNAUTHENTICATED)
    return call.principal


def person(call: Call) -> Principal:
    """The person who asks.

    Raises:
        FluxaError: `Forbidden` for a program, which has no sessions.
    """
    who = caller(call)
    if who.kind is not Kind.USER or who.session_id is None:
        raise FluxaError(ErrorCode.FORBIDDEN, "This takes the access token of a person who logged in.")
    return who


async def body_of(bodies: Bodies, scope: Scope, receive: Receive, kind: type[T]) -> T:
    """The JSON body of a request.

    Raises:
        FluxaError: `MalformedJson`, or `InvalidRequest` with a pointer; what reading may end with.
    """
    async with bodies.read(scope, receive) as content:
        try:
            return msgspec.json.decode(content, type=kind)
        except msgspec.ValidationError as error:
            text, _, path = str(error).partition(" - at `$.")
            pointer = f"/{path.rstrip('`')}" if path else None
            raise FluxaError(ErrorCode.INVALID_REQUEST, f"{text}.", pointer=pointer) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise FluxaError(ErrorCode.MALFORMED_JSON, str(error)) from None
