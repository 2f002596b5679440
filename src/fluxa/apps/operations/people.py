"""The rows of logins and users, for the process that serves them. Not: what they do (station and auth)."""

from collections.abc import Sequence

from fluxa.apps.serving.ground import Ground
from fluxa.apps.serving.oidc import open_outside
from fluxa.apps.serving.people import know_people
from fluxa.station.identity.routes import IdentityDoor, routes
from fluxa.web.identity.bindings import RouteView
from fluxa.web.routes import Route


def identity_routes(on: Ground) -> tuple[Route, ...]:
    """The rows of logins and users."""

    async def routes_now() -> Sequence[RouteView]:
        return (await on.bindings.table()).routes

    people = know_people(on.database, on.sessions, on.ledger, on.clock, hook=on.told.hook)
    door = IdentityDoor(
        logins=people.logins,
        users=people.users,
        sessions=on.sessions,
        tokens=on.identity.tokens,
        ttl_s=on.settings.access_token_ttl_s,
        addresses=on.addresses,
        routes_now=routes_now,
        outside=open_outside(on, people),
    )
    return routes(door)
