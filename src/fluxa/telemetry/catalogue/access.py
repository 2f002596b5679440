"""Signals of who was let in and who was not, and of who may be from now on. Not: why (auth)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AuthenticationFailed:
    """A request ended because its caller was not known, or may not do what it wanted.

    Attributes:
        route: the row that it was for.
        status: 401 or 403.
        reason: one of `fluxa.auth.principal.Reason`.
        client: the address it came from.
        correlation_id: its story.
        principal: who it was, where that is known: as the audit log names actors.
    """

    route: str
    status: int
    reason: str
    client: str
    correlation_id: str = ""
    principal: str = ""


@dataclass(frozen=True, slots=True)
class RoleBindingChanged:
    """This process checks the callers of a route by other roles from now on.

    Attributes:
        route: its name.
        roles: who may call it; None: those of its row again.
        by: who bound them; empty where that is not known any more.
    """

    route: str
    roles: tuple[str, ...] | None
    by: str = ""
