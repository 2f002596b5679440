"""Remembers which signed calls were accepted, so that none is accepted twice on any machine (replay)."""

from typing import Final

from fluxa.postgres import sql
from fluxa.postgres.pool import Database
from fluxa.postgres.transaction import Transaction

_SQL = sql.load("fluxa.auth", "nonces.sql")
_PRUNED: Final = 50
"""Old nonces deleted with each new one."""


class Nonces:
    """The nonces of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def take(self, signer: str, nonce: str, *, keep_s: float, tx: Transaction | None = None) -> bool:
        """Use a nonce; False, if it was used before.

        Args:
            signer: whose nonce it is; each signer has its own.
            nonce: what the call named.
            keep_s: seconds to remember it: as long as the call could be accepted again.
            tx: the transaction that does what the call asks for: then it is used if that is done, and only then.

        Raises:
            FluxaError: an outage; the call must then be refused, since nobody knows.
        """
        async with self._database.joined(tx) as at:
            return await at.execute(_SQL["take_nonce"], signer, nonce, keep_s, _PRUNED) == 1
