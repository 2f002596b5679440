"""Logging in, and exchanging refresh tokens. Not: how many may be tried (attempts), or access tokens (tokens)."""

from dataclasses import dataclass, replace

from fluxa.auth.audit import Act, Audit
from fluxa.auth.people import refresh
from fluxa.auth.people.attempts import Attempts
from fluxa.auth.people.passwords import Passwords
from fluxa.auth.people.rules import Showing, judged, normalised
from fluxa.auth.people.users import User, user_of
from fluxa.auth.sessions import NewSession, Session, Sessions
from fluxa.kernel.clock import Clock
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.kernel.ids import CorrelationId
from fluxa.postgres import sql
from fluxa.postgres.pool import Database
from fluxa.postgres.transaction import Transaction
from fluxa.telemetry.catalogue import Hook, RefreshReused, silent

_SQL = sql.load("fluxa.auth.people", "users.sql")


@dataclass(frozen=True, slots=True)
class Login:
    """Somebody is logged in.

    Attributes:
        user: who.
        session: until when, and from where.
        refresh_token: to be shown once for the next.
    """

    user: User
    session: Session
    refresh_token: str


@dataclass(frozen=True, slots=True)
class From:
    """Where a login comes from.

    Attributes:
        address: the client's.
        agent: what it calls itself.
        correlation_id: the request.
    """

    address: str
    agent: str
    correlation_id: CorrelationId


class Logins:
    """The logins of one database. Every verb may raise `DBConnectionError`, or an outage of the sessions."""

    def __init__(
        self,
        database: Database,
        *,
        passwords: Passwords,
        sessions: Sessions,
        attempts: Attempts,
        audit: Audit,
        clock: Clock,
        hook: Hook = silent,
    ) -> None:
        self._database = database
        self._passwords = passwords
        self._sessions = sessions
        self._attempts = attempts
        self._audit = audit
        self._clock = clock
        self._hook = hook

    async def login(self, name: str, password: str, came: From) -> Login:
        """Begin a session for a name and a password.

        Whatever is wrong, the answer and the work are the same: nobody learns here which names there are.

        Raises:
            FluxaError: `Unauthenticated`; `Overloaded`, while the name or the address is locked.
        """
        try:
            form = normalised(name)
        except FluxaError:
            form = ""
        await self._attempts.begin(form, came.address)
        stored = await self._database.fetch_value(_SQL["find_hash"], form)
        try:
            is_right = await self._passwords.is_right(stored, password)
        except FluxaError:  # too many at once: who floods the door must not lock those out who come meanwhile
            await self._attempts.untried(form, came.address)
            raise
        if not is_right:
            raise _refused()
        renewed = await self._passwords.hash(password) if self._passwords.is_outdated(stored) else None
        async with self._database.transaction() as tx:
            row = await tx.fetch_row(_SQL["lock_user_by_name"], form)
            # It may have been changed or disabled while the password was looked at.
            if row is None or row["disabled"] or row["password_hash"] != stored:
                raise _refused()
            user, now = user_of(row), self._clock.now()
            await self._attempts.succeeded(tx, form, came.address)
            await tx.execute(_SQL["note_login"], user.user_id, now, renewed)
            return await self._open(tx, user, came)

    async def begin(self, tx: Transaction, user_id: str, came: From, *, through: str) -> Login:
        """Begin a session for a user whom somebody else has proved.

        Args:
            tx: the transaction in which that was looked up.
            user_id: who.
            came: where from.
            through: who has proved it; stands in the audit log.

        Raises:
            FluxaError: `Unauthenticated` for a user who is disabled.
        """
        row = await tx.fetch_row(_SQL["lock_user"], user_id)
        if row is None or row["disabled"]:
            raise FluxaError(ErrorCode.UNAUTHENTICATED, "The user is disabled.")
        user = user_of(row)
        await tx.execute(_SQL["note_login"], user.user_id, self._clock.now(), None)
        return await self._open(tx, user, came, through)

    async def _open(self, tx: Transaction, user: User, came: From, through: str = "") -> Login:
        new = NewSession(user.user_id, user.tenant, came.address, came.agent)
        session = await self._sessions.create(new, tx=tx)
        token = await refresh.issue(tx, session, self._clock.now())
        act = self._act(user, session.session_id, "session.created", came)
        if through:
            act = replace(act, detail={**act.detail, "through": through})
        await self._audit.record(tx, act)
        return Login(user, session, token)

    async def refresh(self, token: str, came: From) -> Login:
        """Exchange a refresh token for the next one; its session lasts longer by that.

        Raises:
            FluxaError: `Unauthenticated`, also when the token was used before: then its session has ended.
        """
        digest = refresh.hash_of(token)
        login = None if digest is None else await self._exchange(digest, came)
        if login is None:
            raise FluxaError(ErrorCode.UNAUTHENTICATED, "The refresh token is not valid; log in again.")
        return login

    async def _exchange(self, digest: bytes, came: From) -> Login | None:
        """The exchange in one transaction; None ends it with a commit, for a session that ends must stay ended."""
        now = self._clock.now()
        async with self._database.transaction() as tx:
            owner = await refresh.owner(tx, digest, now)
            row = None if owner is None else await tx.fetch_row(_SQL["lock_user"], owner[0])
            shown = None if row is None else await refresh.look(tx, digest)
            if owner is None or row is None or shown is None or row["disabled"]:
                return None
            user, session_id = user_of(row), owner[1]
            if judged(shown, now) is Showing.REUSED:
                if await self._sessions.delete(session_id, tx=tx):
                    await self._audit.record(tx, self._act(user, session_id, "session.reuse_detected", came))
                    tx.after_commit(lambda: self._hook(RefreshReused(user.user_id, came.address, came.correlation_id)))
                return None
            session = await self._sessions.touch(session_id, tx=tx)
            if session is None:
                return None
            await refresh.use(tx, digest, now)
            return Login(user, session, await refresh.issue(tx, session, now))

    def _act(self, user: User, session_id: str, action: str, came: From) -> Act:
        detail = {"user": user.user_id, "address": came.address}
        actor = f"user:{user.user_id}"
        return Act(user.tenant, actor, action, f"session:{session_id}", detail, came.correlation_id)


def _refused() -> FluxaError:
    return FluxaError(ErrorCode.UNAUTHENTICATED, "The name or the password is wrong, or the user is disabled.")
