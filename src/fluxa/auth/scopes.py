"""What an API key may be narrowed to: a few scopes, each an area and whether it is read or changed. Not: roles."""

import enum
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from fluxa.auth.roles import ADMINS, EVERY_ROLE, OPERATORS, READERS, SENDERS, WATCHERS, Role
from fluxa.kernel.errors import ErrorCode, FluxaError


class Scope(enum.StrEnum):
    """A part of what a role may do.

    A key with scopes may what its role may *and* one of its scopes names; a key without has all that its role has.
    """

    OWN = "own"
    """What concerns the credential itself: every key has it."""
    EVENTS_WRITE = "events:write"
    """Send events."""
    EVENTS_READ = "events:read"
    """Get, list and follow events and traces."""
    SCHEMAS_READ = "schemas:read"
    """Read the schemas of event types."""
    SCHEMAS_WRITE = "schemas:write"
    """Register and delete them."""
    QUEUES_READ = "queues:read"
    """See queues, dead letters, quarantine and redrives."""
    QUEUES_WRITE = "queues:write"
    """Pause, resume and redrive."""
    ALARMS_READ = "alarms:read"
    """See alarms, rules and silences."""
    ALARMS_WRITE = "alarms:write"
    """Acknowledge, silence and test them."""
    METRICS_READ = "metrics:read"
    """See the dashboard."""
    USERS_READ = "users:read"
    """List users and their sessions."""
    USERS_WRITE = "users:write"
    """Make and change users, end their sessions."""
    FLAGS_READ = "flags:read"
    """See feature flags."""
    FLAGS_WRITE = "flags:write"
    """Turn them on and off."""
    ROLES_WRITE = "roles:write"
    """See and change which roles a route takes."""
    AUDIT_READ = "audit:read"
    """Read the ledger."""


GRANTED = frozenset(Scope) - {Scope.OWN}
"""Those that a key can be given."""
_KNOWN = frozenset(Scope)
_HOLDERS: Final[Mapping[Scope, frozenset[Role]]] = MappingProxyType(
    {
        Scope.EVENTS_WRITE: SENDERS,
        Scope.EVENTS_READ: READERS,
        Scope.SCHEMAS_READ: READERS,
        Scope.SCHEMAS_WRITE: OPERATORS,
        Scope.QUEUES_READ: WATCHERS,
        Scope.QUEUES_WRITE: OPERATORS,
        Scope.ALARMS_READ: WATCHERS,
        Scope.ALARMS_WRITE: OPERATORS,
        Scope.USERS_READ: ADMINS,
        Scope.USERS_WRITE: ADMINS,
        Scope.METRICS_READ: WATCHERS,
        Scope.FLAGS_READ: WATCHERS,
        Scope.FLAGS_WRITE: OPERATORS,
        Scope.ROLES_WRITE: ADMINS,
        Scope.AUDIT_READ: ADMINS,
    }
)


def holders(scope: Scope) -> frozenset[Role]:
    """The roles for which a scope's routes are built; all, if nobody wrote it down here: then nothing is given away."""
    return _HOLDERS.get(scope, EVERY_ROLE)


def asked(names: Iterable[str]) -> frozenset[Scope] | None:
    """The scopes that somebody names for a new key; None for no narrowing.

    Raises:
        FluxaError: `InvalidRequest` for a name that is none.
    """
    wanted = set(names)
    unknown = sorted(wanted - GRANTED)
    if unknown:
        raise FluxaError(
            ErrorCode.INVALID_REQUEST,
            f"{unknown[0]!r} is no scope; there are {', '.join(sorted(GRANTED))}.",
            pointer="/scopes",
        )
    return frozenset(Scope(name) for name in wanted) or None


def stored(names: Iterable[str] | None) -> frozenset[Scope] | None:
    """The scopes of a key that exists; one that only another version knows opens nothing here."""
    return None if names is None else frozenset(Scope(name) for name in names if name in _KNOWN)
