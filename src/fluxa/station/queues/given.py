"""Reads what a request of this slice is given: its queue, its caller. Not: what is done with it."""

from fluxa.auth.audit import Act, Audit
from fluxa.postgres.transaction import Also
from fluxa.queue.registry import QueueSpec, Registry
from fluxa.web.routes import Call


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
    return call.caller.name


def noted(audit: Audit, call: Call, action: str, subject: str, **detail: object) -> Also:
    """What writes down, in the transaction of a verb, that the caller asked for it.

    Raises:
        FluxaError: `Unauthenticated`.
    """
    who = call.caller
    act = Act(who.tenant, who.actor, action, subject, detail, call.correlation_id)
    return lambda tx: audit.record(tx, act)
