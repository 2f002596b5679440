"""Logins through a provider that are under way: begun, and taken once by the browser that began them."""

import datetime as dt
import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import Final

from fluxa.auth.principal import Reason, unauthenticated
from fluxa.kernel.clock import Clock
from fluxa.postgres import sql
from fluxa.postgres.pool import Database

_SQL = sql.load("fluxa.auth.people.oidc", "flows.sql")
LIFETIME_S: Final = 600
"""Seconds in which somebody logs in at the provider."""
_RANDOM_BYTES: Final = 32
_PRUNED: Final = 20
"""Old ones deleted with each new one."""


@dataclass(frozen=True, slots=True)
class Begun:
    """What a login begins with; each part is random.

    Attributes:
        state: comes back from the provider.
        browser: stays in a cookie of the browser, so that nobody logs others in as himself.
        nonce: stands in the provider's token.
        verifier: proves to the provider that the code came to who asked for it (PKCE).
    """

    state: str
    browser: str
    nonce: str
    verifier: str


@dataclass(frozen=True, slots=True)
class Flow:
    """What is known of a login that comes back.

    Attributes:
        nonce: must stand in the provider's token.
        verifier: is sent with the code.
    """

    nonce: str
    verifier: str


class Flows:
    """The logins under way in one database."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def begin(self) -> Begun:
        """Begin a login.

        Raises:
            FluxaError: an outage.
        """
        begun = Begun(*(secrets.token_urlsafe(_RANDOM_BYTES) for _ in range(4)))
        now = self._clock.now()
        await self._database.execute(
            _SQL["insert_flow"],
            _hash(begun.state),
            _hash(begun.browser),
            begun.nonce,
            begun.verifier,
            now + dt.timedelta(seconds=LIFETIME_S),
            now,
            _PRUNED,
        )
        return begun

    async def take(self, state: str, browser: str) -> Flow:
        """Use a login that was begun; nobody can use it again.

        Raises:
            FluxaError: `Unauthenticated` for one that was not begun, was used, is over, or is another browser's.
        """
        row = await self._database.fetch_row(_SQL["take_flow"], _hash(state))
        if row is None:
            raise unauthenticated(Reason.REPLAYED, "This login was not begun here, or was used already; begin again.")
        if not hmac.compare_digest(bytes(row["browser_hash"]), _hash(browser)):
            raise unauthenticated(Reason.SESSION, "This login was begun in another browser; begin again.")
        if row["expires_at"] <= self._clock.now():
            raise unauthenticated(Reason.EXPIRED, "This login took too long; begin again.")
        return Flow(row["nonce"], row["verifier"])


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode(errors="replace")).digest()
