"""Reads what a request of this slice is given: its queue, its body, its caller. Not: what is done with it."""

from typing import TypeVar

import msgspec

from fluxa.auth.audit import Act, Audit
from fluxa.auth.principal import Kind
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.postgres.transaction import Also
from fluxa.queue.registry import QueueSpec, Registry
from fluxa.web.bodies import Bodies
from fluxa.web.routes import Call, Receive, Scope

T = TypeVar("T")
_KINDS = {Kind.API_KEY: "key", Kind.USER: "user", Kind.MACHINE: "machine"}


def queue_of(call: Call, registry: Registry) -> QueueSpec:
    """The queue that the path names.

    Raises:
        FluxaError: `NotFound`, with the nearest name there is.
    """
    return registry.get(call.path_params["queue"])


def caller(call: Call) -> str:
    """Who asks, for what is written down about it.

    Raises:
        FluxaError: `Unauthenticated`.
    """
    if call.principal is None:
        raise FluxaError(ErrorCode.UNAUTHENTICATED)
    return call.principal.name


def noted(audit: Audit, call: Call, action: str, subject: str, **detail: object) -> Also:
    """What writes down, in the transaction of a verb, that the caller asked for it.

    Raises:
        FluxaError: `Unauthenticated`.
    """
    if (who := call.principal) is None:
        raise FluxaError(ErrorCode.UNAUTHENTICATED)
    actor = f"{_KINDS[who.kind]}:{who.subject or who.name}"
    act = Act(who.tenant, actor, action, subject, detail, call.correlation_id)
    return lambda tx: audit.record(tx, act)


async def body_of(bodies: Bodies, scope: Scope, receive: Receive, kind: type[T], *, empty: T | None = None) -> T:
    """The JSON body of a request.

    Args:
        bodies: reads it within limits.
        scope: the request.
        receive: gives the body.
        kind: what the body must be.
        empty: what no body means; None, if there must be one.

    Raises:
        FluxaError: `MalformedJson`, or `InvalidRequest` with a pointer; what reading may end with.
    """
    async with bodies.read(scope, receive) as content:
        if empty is not None and not content.strip():
            return empty
        try:
            return msgspec.json.decode(content, type=kind)
        except msgspec.ValidationError as error:
            text, _, path = str(error).partition(" - at `$")
            steps = path.rstrip("`").replace("[", ".").replace("]", "").split(".")
            pointer = "".join(f"/{step}" for step in steps if step)
            raise FluxaError(ErrorCode.INVALID_REQUEST, f"{text}.", pointer=pointer or None) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise FluxaError(ErrorCode.MALFORMED_JSON, str(error)) from None
