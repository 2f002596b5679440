"""Who a provider's people are here, as operators say it. Not: the links that first logins make (entry)."""

from fluxa.auth.audit import Act, Audit
from fluxa.auth.people.rules import normalised
from fluxa.auth.people.users import User, Users
from fluxa.auth.sessions import Sessions
from fluxa.kernel.clock import Clock
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.postgres import sql
from fluxa.postgres.pool import Database
from fluxa.postgres.transaction import Transaction

_SQL = sql.load("fluxa.auth.people.oidc", "identities.sql")


class Links:
    """The links of one database. Every verb may raise `DBConnectionError`."""

    def __init__(self, database: Database, *, users: Users, sessions: Sessions, audit: Audit, clock: Clock) -> None:
        self._database = database
        self._users = users
        self._sessions = sessions
        self._audit = audit
        self._clock = clock

    async def link(self, name: str, issuer: str, subject: str, *, by: str) -> User:
        """Say that a subject of a provider is this user.

        Raises:
            FluxaError: `NotFound`; `Refused`, if the user or the subject is linked already.
        """
        async with self._database.transaction() as tx:
            user = await self._user(tx, name)
            taken = await tx.fetch_value(_SQL["find_identity"], issuer, subject)
            if taken is not None or await tx.fetch_value(_SQL["is_linked"], issuer, user.user_id):
                raise FluxaError(ErrorCode.REFUSED, f"{user.name} or {subject} is linked already; unlink it first.")
            await tx.execute(_SQL["insert_identity"], issuer, subject, user.user_id, self._clock.now())
            await self._record(tx, user, by, "user.linked", {"issuer": issuer, "subject": subject})
        return user

    async def unlink(self, name: str, *, by: str) -> int:
        """Forget who a user is at providers, and end the user's sessions; how many links there were.

        Raises:
            FluxaError: `NotFound`.
        """
        async with self._database.transaction() as tx:
            user = await self._user(tx, name)
            links = await tx.fetch(_SQL["delete_identities"], user.user_id)
            for link in links:
                detail = {"issuer": link["issuer"], "subject": link["subject"]}
                await self._record(tx, user, by, "user.unlinked", detail)
            await self._sessions.delete_of_user(user.user_id, tx=tx)
        return len(links)

    async def _user(self, tx: Transaction, name: str) -> User:
        user = await self._users.lock(tx, normalised(name))
        if user is None:
            raise FluxaError(ErrorCode.NOT_FOUND, "There is no such user.")
        return user

    async def _record(self, tx: Transaction, user: User, by: str, action: str, detail: dict[str, object]) -> None:
        await self._audit.record(tx, Act(user.tenant, by, action, f"user:{user.user_id}", detail))
