"""Sessions in Postgres: a row each, found by its id or its user's."""

from typing import Final

from fluxa.auth.sessions.port import NewSession, Session, SessionLimits, begun
from fluxa.kernel.clock import Clock
from fluxa.kernel.ids import Tenant
from fluxa.postgres import sql
from fluxa.postgres.pool import Database
from fluxa.postgres.transaction import Row, Transaction

_SQL = sql.load("fluxa.auth.sessions", "sessions.sql")
_UNSAYABLE: Final = "\x00"
"""Postgres refuses texts with it, so none of its sessions has it."""
_PRUNED: Final = 20
"""Sessions long over that are deleted with each new one."""


class PostgresSessions:
    """The sessions of one database. A `fluxa.auth.sessions.Sessions`."""

    def __init__(self, database: Database, clock: Clock, limits: SessionLimits | None = None) -> None:
        self._database = database
        self._clock = clock
        self._limits = limits or SessionLimits()

    async def create(self, new: NewSession, *, tx: Transaction | None = None) -> Session:
        """Begin a session."""
        session = begun(new, self._limits, self._clock.now())
        async with self._database.joined(tx) as connection:
            await connection.execute(
                _SQL["insert_session"],
                session.session_id,
                session.user_id,
                session.tenant,
                session.address,
                session.agent,
                session.created_at,
                session.seen_at,
                session.expires_at,
                session.ends_at,
                _PRUNED,
            )
        return session

    async def is_live(self, session_id: str) -> bool:
        """Whether it is live now."""
        return _UNSAYABLE not in session_id and bool(
            await self._database.fetch_value(_SQL["is_live"], session_id, self._clock.now())
        )

    async def touch(self, session_id: str, *, tx: Transaction | None = None) -> Session | None:
        """It is used."""
        if _UNSAYABLE in session_id:
            return None
        async with self._database.joined(tx) as connection:
            return _session(
                await connection.fetch_row(_SQL["touch_session"], session_id, self._clock.now(), self._limits.idle_s)
            )

    async def get(self, session_id: str) -> Session | None:
        """A live session."""
        if _UNSAYABLE in session_id:
            return None
        return _session(await self._database.fetch_row(_SQL["get_session"], session_id, self._clock.now()))

    async def list_of(self, user_id: str) -> list[Session]:
        """The live sessions of a user, newest first."""
        rows = await self._database.fetch(_SQL["list_sessions"], user_id, self._clock.now())
        return [session for row in rows if (session := _session(row)) is not None]

    async def delete(self, session_id: str, *, tx: Transaction | None = None) -> bool:
        """End a session."""
        if _UNSAYABLE in session_id:
            return False
        async with self._database.joined(tx) as connection:
            return bool(await connection.fetch_value(_SQL["delete_session"], session_id, self._clock.now()))

    async def delete_of_user(self, user_id: str, *, tx: Transaction | None = None) -> int:
        """End all sessions of a user."""
        async with self._database.joined(tx) as connection:
            return int(await connection.fetch_value(_SQL["delete_sessions_of_user"], user_id, self._clock.now()))


def _session(row: Row | None) -> Session | None:
    if row is None:
        return None
    return Session(
        session_id=row["session_id"],
        user_id=row["user_id"],
        tenant=Tenant(row["tenant"]),
        address=row["address"],
        agent=row["agent"],
        created_at=row["created_at"],
        seen_at=row["seen_at"],
        expires_at=row["expires_at"],
        ends_at=row["ends_at"],
    )
