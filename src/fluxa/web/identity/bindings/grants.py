"""Nobody gives rights that he does not have: what a caller may, against what others would. Pure; not: who asks."""

from collections.abc import Collection, Iterable
from typing import Final

from fluxa.auth.principal import DeniedError, Principal, Reason, forbidden
from fluxa.auth.roles import Role
from fluxa.auth.scopes import GRANTED, holders
from fluxa.web.identity.bindings.rules import RouteView
from fluxa.web.routes import Auth

_NAMED_MAX: Final = 3


def gives_all(who: Principal) -> bool:
    """Whether a caller may give any rights: an admin does, unless the credential is narrowed."""
    return who.role is Role.ADMIN and who.scopes is None


def opens(who: Principal, route: RouteView) -> bool:
    """Whether a caller's role and scopes open a route now."""
    return who.role in roles_of(route) and (who.scopes is None or route.scope in who.scopes)


def roles_of(route: RouteView) -> Collection[str]:
    """The roles that count for a route now."""
    return route.roles if route.binding is None else route.binding.roles


def check_role(who: Principal, role: Role, routes: Iterable[RouteView]) -> None:
    """Refuse to give a role that opens what the caller itself may not do.

    Whoever gets the role is a person, who is narrowed to nothing: a narrowed key that could make an admin would be one.
    What roles are built for counts besides the table: a process that never ran here may tomorrow.

    Args:
        who: the caller.
        role: that it wants to give, or that somebody has whose password it wants to set.
        routes: of all processes.

    Raises:
        FluxaError: `Forbidden`, naming some of what is missing.
    """
    if gives_all(who):
        return
    beyond = sorted(
        {one.name for one in routes if one.auth == Auth.BEARER and role in roles_of(one) and not opens(who, one)}
        | {
            f"all of {one}"
            for one in GRANTED
            if role in holders(one) and not (who.role in holders(one) and (who.scopes is None or one in who.scopes))
        }
    )
    if beyond or role is Role.ADMIN:
        what = f"may call {_some(beyond)}" if beyond else "says what others may"
        raise _refused(
            who, f"Nobody gives rights that he does not have: who is {role} {what}, and this credential may not."
        )


def check_opening(who: Principal, name: str, added: Collection[str], routes: Iterable[RouteView]) -> None:
    """Refuse to open a route to further roles for one who may not call it; to close it to some takes nothing.

    Args:
        who: the caller.
        name: the route.
        added: the roles that could not call it before.
        routes: of all processes.

    Raises:
        FluxaError: `Forbidden`.
    """
    if gives_all(who) or not added:
        return
    if not all(opens(who, one) for one in routes if one.name == name):
        raise _refused(
            who,
            f"Nobody gives rights that he does not have: {name} would be opened to {', '.join(sorted(added))}, and "
            "this credential may not call it itself.",
        )


def _some(names: list[str]) -> str:
    more = len(names) - _NAMED_MAX
    return ", ".join(names[:_NAMED_MAX]) + (f" and {more} more routes" if more > 0 else "")


def _refused(who: Principal, detail: str) -> DeniedError:
    return forbidden(Reason.ROLE if who.scopes is None else Reason.SCOPE, detail)
