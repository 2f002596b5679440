"""What makes and checks access tokens, and what it asks of sessions. Not: how."""

from typing import Protocol

from fluxa.auth.principal import Principal


class LiveSessions(Protocol):
    """The one thing that a token asks: `fluxa.auth.sessions.Sessions` can answer it."""

    async def is_live(self, session_id: str) -> bool:
        """Whether the session is live now; raises `FluxaError` for an outage."""
        ...


class Tokens(Protocol):
    """Makes access tokens, and knows their bearers again."""

    async def mint(self, principal: Principal, *, ttl_s: float) -> str:
        """A token that says who its bearer is, for so many seconds from now; at most an hour.

        Args:
            principal: a user with a session (`Kind.USER`, `subject` and `session_id` set).
            ttl_s: how long the token is valid; the session may end it earlier, at once.

        Raises:
            FluxaError: `Configuration`, if there is no `secret_key`; an outage.
            ValueError: for a principal or a time that cannot have one.
        """
        ...

    async def verify(self, token: str) -> Principal | None:
        """The bearer, if the token and its session are valid now; None for every other token, whatever is wrong.

        Raises:
            FluxaError: an outage, when nobody can tell.
        """
        ...
