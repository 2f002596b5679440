"""Reads what a request of this slice is given: its caller. Not: what is done with it."""

from typing import Final

from fluxa.auth.principal import Kind, Principal
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.web.bodies import MIB
from fluxa.web.routes import Call

BODY_MAX_BYTES: Final = MIB // 16
"""The longest body of this slice: a name and a password, however they are written."""


def person(call: Call) -> Principal:
    """The person who asks.

    Raises:
        FluxaError: `Forbidden` for a program, which has no sessions.
    """
    who = call.caller
    if who.kind is not Kind.USER or who.session_id is None:
        raise FluxaError(ErrorCode.FORBIDDEN, "This takes the access token of a person who logged in.")
    return who
