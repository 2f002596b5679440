"""What a binding is, what routes look like to who reads their table, and which bindings are refused. No I/O."""

import datetime as dt
import difflib
from collections.abc import Collection, Iterable, Mapping
from typing import Final

import msgspec

from fluxa.auth.roles import Role
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.web.routes import Auth

LIST: Final = "routes_list"
"""The row that shows the table."""
BIND: Final = "routes_bind"
"""The row that changes a route's roles."""
UNBIND: Final = "routes_unbind"
"""The row that gives a route its own roles back."""

_KEEPERS = frozenset({LIST, BIND, UNBIND})


class RoleBinding(msgspec.Struct, frozen=True, kw_only=True):
    """The roles that may call a route instead of those of its row.

    Attributes:
        route: its name.
        roles: who may; nobody, if there are none.
        changed_by: who said so.
        reason: why.
        changed_at: when.
    """

    route: str
    roles: list[Role]
    changed_by: str
    reason: str
    changed_at: dt.datetime


class NewlyBound(RoleBinding, frozen=True, kw_only=True):
    """A binding that was just made.

    Attributes:
        beyond_row: the roles among them that the route's own row does not let in.
    """

    beyond_row: list[Role]


class RouteView(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the route table, as the processes told it.

    Attributes:
        name: its name.
        path: its path, with `{name}` parts.
        methods: in upper case.
        auth: how its callers are known.
        bucket: what its requests are counted in.
        roles: who may call it by its row; empty where callers have no roles.
        binding: what counts instead of that; None: nothing does.
        scope: what an API key that is narrowed must be narrowed to; None: no such key may.
        platform: whether it takes the default tenant.
        body_max_bytes: the longest body.
        timeout_s: seconds that an answer may take.
        processes: which serve it.
        told_at: when the last of them began to.
    """

    name: str
    path: str
    methods: list[str]
    auth: str
    bucket: str
    roles: list[str]
    binding: RoleBinding | None
    scope: str | None
    platform: bool
    body_max_bytes: int
    timeout_s: float
    processes: list[str]
    told_at: dt.datetime


class RouteTable(msgspec.Struct, frozen=True, kw_only=True):
    """All routes of all processes.

    Attributes:
        routes: by path.
        lost: bindings of routes that no process has any more.
    """

    routes: list[RouteView]
    lost: list[RoleBinding]


def check(route: str, roles: Iterable[Role], auths: Mapping[str, Collection[str]]) -> None:
    """Refuse a binding that would be of no effect, or that nobody could take back over HTTP.

    Args:
        route: whose roles.
        roles: which.
        auths: how the callers of each route that there is are known, by its name.

    Raises:
        FluxaError: `NotFound` with the nearest name there is, `InvalidRequest`, or `Refused`.
    """
    if not auths:
        raise FluxaError(
            ErrorCode.NOT_FOUND, "No process has told yet which routes it has; each does when it starts: fluxa up"
        )
    if route not in auths:
        near = difflib.get_close_matches(route, auths, n=1)
        hint = f" Do you mean {near[0]}?" if near else ""
        raise FluxaError(ErrorCode.NOT_FOUND, f"No process has a route named {route[:80]!r}.{hint}")
    others = sorted(set(auths[route]) - {Auth.BEARER.value})
    if others:
        raise FluxaError(
            ErrorCode.INVALID_REQUEST,
            f"The route {route} knows its callers by {', '.join(others)}, not by an API key or access token: roles do "
            "not count there.",
        )
    if route in _KEEPERS and Role.ADMIN not in set(roles):
        raise FluxaError(
            ErrorCode.REFUSED,
            f"With this binding no admin could call {route} any more, and who may call what could not be changed back "
            "over HTTP. Let admin be one of the roles.",
        )
