"""All rows of logins and users."""

from dataclasses import dataclass, field

from fluxa.auth.people.logins import Logins
from fluxa.auth.people.users import Users
from fluxa.auth.sessions import Sessions
from fluxa.auth.tokens import Tokens
from fluxa.station.identity.given import BODY_MAX_BYTES
from fluxa.station.identity.logins import LoginRows
from fluxa.station.identity.outside import Outside, OutsideRows
from fluxa.station.identity.people import RoutesNow, UserRows
from fluxa.web.bodies import Bodies
from fluxa.web.limits import Addresses
from fluxa.web.routes import Route


@dataclass(frozen=True, slots=True)
class IdentityDoor:
    """What the rows need.

    Attributes:
        logins: checks passwords and refresh tokens.
        users: the users.
        sessions: who is logged in.
        tokens: makes access tokens.
        ttl_s: seconds for which those are valid.
        addresses: tells where a login comes from.
        routes_now: what roles open.
        outside: logs in through an OpenID provider; None where there is none.
        bodies: reads bodies.
    """

    logins: Logins
    users: Users
    sessions: Sessions
    tokens: Tokens
    ttl_s: float
    addresses: Addresses
    routes_now: RoutesNow
    outside: Outside | None = None
    bodies: Bodies = field(default_factory=lambda: Bodies(max_bytes=BODY_MAX_BYTES))


def routes(door: IdentityDoor) -> tuple[Route, ...]:
    """The rows of this slice."""
    return (
        *LoginRows(
            door.logins, door.users, door.sessions, door.tokens, door.ttl_s, door.bodies, door.addresses
        ).routes(),
        *OutsideRows(door.outside, door.tokens, door.ttl_s, door.addresses).routes(),
        *UserRows(door.users, door.sessions, door.bodies, door.routes_now).routes(),
    )
