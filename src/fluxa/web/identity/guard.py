"""What a check of credentials gets and gives, for the kinds that need more of a request than one header."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from fluxa.auth.principal import Principal
from fluxa.kernel.ids import CorrelationId
from fluxa.web.routes import Message, Receive, Route, Scope


@dataclass(frozen=True, slots=True)
class Approach:
    """A request whose sender is not known yet.

    Attributes:
        authorization: the Authorization header's value; None if there is none.
        route: the row that it asks for.
        correlation_id: names the request in the log.
        scope: the request.
        receive: its body, not yet read.
    """

    authorization: bytes | None
    route: Route
    correlation_id: CorrelationId
    scope: Scope
    receive: Receive


@dataclass(frozen=True, slots=True)
class Admitted:
    """A request whose sender is proved.

    Attributes:
        principal: who it is.
        receive: the body for the endpoint, whether or not it was read for the proof.
    """

    principal: Principal
    receive: Receive


Guard = Callable[[Approach], Awaitable[Admitted]]
"""Proves who sends a request; raises `Unauthenticated` or `Forbidden`."""


def again(body: bytes, receive: Receive) -> Receive:
    """The body once more for the endpoint; after it, what the connection says."""
    first: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return first.pop() if first else await receive()

    return replay
