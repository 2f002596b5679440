"""Users: made, listed and changed here. Whatever takes rights away ends the user's sessions in the same transaction."""

import datetime as dt
from collections.abc import Callable

import msgspec

from fluxa.auth.audit import Act, Audit
from fluxa.auth.people.attempts import Attempts
from fluxa.auth.people.passwords import Passwords
from fluxa.auth.people.rules import check_new_password, normalised
from fluxa.auth.roles import Role
from fluxa.auth.sessions import Sessions
from fluxa.kernel.clock import Clock
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.kernel.ids import Tenant, can_be_given, uuid7
from fluxa.postgres import sql
from fluxa.postgres.pool import Database
from fluxa.postgres.transaction import Row, Transaction

_SQL = sql.load("fluxa.auth.people", "users.sql")


class User(msgspec.Struct, frozen=True, kw_only=True):
    """A person, as may be shown.

    Attributes:
        user_id: never changes.
        tenant: whose data the user opens.
        name: the e-mail address, normalised.
        role: what the user is to the tenant.
        disabled: whether logins are refused.
        created_at: when the user was made.
        changed_at: when role, password or the like changed last.
        login_at: when the user logged in last.
    """

    user_id: str
    tenant: Tenant
    name: str
    role: Role
    disabled: bool
    created_at: dt.datetime
    changed_at: dt.datetime
    login_at: dt.datetime | None = None


class Users:
    """The users of one database. Every verb may raise `DBConnectionError`."""

    def __init__(
        self,
        database: Database,
        *,
        passwords: Passwords,
        sessions: Sessions,
        attempts: Attempts,
        audit: Audit,
        clock: Clock,
    ) -> None:
        self._database = database
        self._passwords = passwords
        self._sessions = sessions
        self._attempts = attempts
        self._audit = audit
        self._clock = clock

    async def create(
        self, tenant: str, name: str, password: str, *, role: Role, by: str, correlation_id: str = ""
    ) -> User:
        """Make a user.

        Raises:
            FluxaError: `InvalidRequest` for a tenant, name or password that is none; `Refused` for a taken name.
        """
        if not can_be_given(tenant):
            raise FluxaError(ErrorCode.INVALID_REQUEST, f"{tenant!r} cannot name a tenant.", pointer="/tenant")
        form = normalised(name)
        check_new_password(password)
        stored = await self._passwords.hash(password)
        async with self._database.transaction() as tx:
            row = await tx.fetch_row(_SQL["insert_user"], uuid7(), tenant, form, role, stored, self._clock.now())
            if row is None:
                raise FluxaError(ErrorCode.REFUSED, "There is a user of this name.", pointer="/name")
            user = user_of(row)
            await self._record(tx, user, by, "user.created", {"role": role}, correlation_id)
        return user

    async def admit(self, tx: Transaction, tenant: str, name: str, *, role: Role, by: str) -> User | None:
        """Make a user without a password, who comes by another way; the one of that name, if there is one by now."""
        row = await tx.fetch_row(_SQL["insert_user"], uuid7(), tenant, name, role, None, self._clock.now())
        if row is None:
            return await self.lock(tx, name)
        user = user_of(row)
        await self._record(tx, user, by, "user.created", {"role": role})
        return user

    async def lock(self, tx: Transaction, name: str) -> User | None:
        """The user of a normalised name, kept from being changed until the transaction ends."""
        row = await tx.fetch_row(_SQL["lock_user_by_name"], name)
        return None if row is None else user_of(row)

    async def get(self, user_id: str) -> User:
        """A user.

        Raises:
            FluxaError: `NotFound`.
        """
        return _found(None if "\x00" in user_id else await self._database.fetch_row(_SQL["get_user"], user_id))

    async def find(self, name: str) -> User:
        """A user by name.

        Raises:
            FluxaError: `NotFound`; `InvalidRequest` for what is no name.
        """
        return _found(await self._database.fetch_row(_SQL["find_user"], normalised(name)))

    async def list(self, tenant: str | None, *, after: str = "", limit: int = 100) -> list[User]:
        """Users by name, of one tenant or all; those after a name."""
        return [user_of(row) for row in await self._database.fetch(_SQL["list_users"], tenant, after, limit)]

    async def change(
        self,
        user_id: str,
        *,
        by: str,
        role: Role | None = None,
        disabled: bool | None = None,
        password: str | None = None,
        permit: Callable[[User], None] | None = None,
        correlation_id: str = "",
    ) -> User:
        """Give another role or password, disable or enable: all or nothing; if anything changes, the sessions end.

        Args:
            user_id: who is changed.
            by: who changes.
            role: another one; None: it stays.
            disabled: whether logins are refused; None: as before.
            password: another one; None: it stays.
            permit: refuses, by raising, a user as it stands when nobody else can change it any more.
            correlation_id: the request it was asked in.

        Raises:
            FluxaError: `NotFound`; `InvalidRequest`, if the password is too short or too long; what `permit` raises.
        """
        stored = None if password is None else await self._hashed(password)
        async with self._database.transaction() as tx:
            was = _found(await tx.fetch_row(_SQL["lock_user"], user_id))
            if permit is not None:
                permit(was)
            to_role = was.role if role is None else role
            to_disabled = was.disabled if disabled is None else disabled
            user = was
            if (to_role, to_disabled) != (was.role, was.disabled):
                user = _found(await tx.fetch_row(_SQL["change_user"], user_id, to_role, to_disabled, self._clock.now()))
                detail = {"role": to_role, "disabled": to_disabled, "role_before": was.role}
                await self._record(tx, user, by, "user.changed", detail, correlation_id)
            if stored is not None:
                user = _found(await tx.fetch_row(_SQL["set_password"], user_id, stored, self._clock.now()))
                await self._record(tx, user, by, "user.password_changed", {}, correlation_id)
            if user is not was:
                await self._sessions.delete_of_user(user_id, tx=tx)
        return user

    async def set_password(self, user_id: str, password: str, *, by: str) -> User:
        """Give another password; the user's sessions end.

        Raises:
            FluxaError: `NotFound`; `InvalidRequest`, if it is too short or too long.
        """
        return await self.change(user_id, by=by, password=password)

    async def _hashed(self, password: str) -> str:
        check_new_password(password)
        return await self._passwords.hash(password)

    async def unlock(self, name: str, *, by: str) -> bool:
        """End the lock of a user's name; False, if there was nothing against it.

        Raises:
            FluxaError: `NotFound`.
        """
        user = await self.find(name)
        async with self._database.transaction() as tx:
            cleared = await self._attempts.clear(tx, user.name)
            if cleared:
                await self._record(tx, user, by, "user.unlocked", {})
        return cleared

    async def unlock_address(self, address: str, *, tenant: Tenant, by: str) -> bool:
        """End the lock of an address that many share; False, if there was nothing against it.

        Args:
            address: of IPv4 or IPv6; of the latter its /64 is meant.
            tenant: in whose audit log that belongs.
            by: who does it.
        """
        async with self._database.transaction() as tx:
            cleared = await self._attempts.clear_address(tx, address)
            if cleared:
                await self._audit.record(tx, Act(tenant, by, "address.unlocked", f"address:{address}"))
        return cleared

    async def end_sessions(self, user_id: str, *, by: str, correlation_id: str = "") -> int:
        """End all sessions of a user, effective with the next request; how many were live (deleteUserSessions).

        Raises:
            FluxaError: `NotFound`.
        """
        async with self._database.transaction() as tx:
            user = _found(await tx.fetch_row(_SQL["lock_user"], user_id))
            await self._record(tx, user, by, "session.revoked_all", {}, correlation_id)
            return await self._sessions.delete_of_user(user_id, tx=tx)

    async def end_session(self, session_id: str, *, by: str, correlation_id: str = "") -> bool:
        """End one session; False, if it was not live."""
        session = await self._sessions.get(session_id)
        if session is None:
            return False
        async with self._database.transaction() as tx:
            detail = {"user": session.user_id}
            act = Act(session.tenant, by, "session.revoked", f"session:{session_id}", detail, correlation_id)
            await self._audit.record(tx, act)
            return await self._sessions.delete(session_id, tx=tx)

    async def _record(
        self, tx: Transaction, user: User, by: str, action: str, detail: dict[str, object], correlation_id: str = ""
    ) -> None:
        await self._audit.record(tx, Act(user.tenant, by, action, f"user:{user.user_id}", detail, correlation_id))


def user_of(row: Row) -> User:
    """A user as its row says."""
    return User(
        user_id=row["user_id"],
        tenant=Tenant(row["tenant"]),
        name=row["name"],
        role=Role(row["role"]),
        disabled=row["disabled"],
        created_at=row["created_at"],
        changed_at=row["changed_at"],
        login_at=row["login_at"],
    )


def _found(row: Row | None) -> User:
    if row is None:
        raise FluxaError(ErrorCode.NOT_FOUND, "There is no such user.")
    return user_of(row)
