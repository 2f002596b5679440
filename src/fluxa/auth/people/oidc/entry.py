"""Lets in whom an OpenID provider has proved: finds the user, links the two once, begins the session. No HTTP."""

from dataclasses import dataclass

from fluxa.auth.audit import Act, Audit
from fluxa.auth.people.logins import From, Login, Logins
from fluxa.auth.people.rules import normalised
from fluxa.auth.people.users import User, Users
from fluxa.auth.principal import Reason, forbidden
from fluxa.auth.roles import Role
from fluxa.kernel.clock import Clock
from fluxa.kernel.errors import FluxaError
from fluxa.kernel.ids import Tenant
from fluxa.postgres import sql
from fluxa.postgres.pool import Database
from fluxa.postgres.transaction import Transaction

_SQL = sql.load("fluxa.auth.people.oidc", "identities.sql")
_SUBJECT_MAX = 255


@dataclass(frozen=True, slots=True)
class Proved:
    """Whom a provider has proved.

    Attributes:
        issuer: the provider.
        subject: its lasting name for the person.
        email: the person's address, if the provider says that it is verified.
    """

    issuer: str
    subject: str
    email: str | None


class OutsideLogins:
    """Logins of people whom a provider knows.

    Args of the constructor: `tenant` and `role` are those of users who are made at their first login; without a role
    nobody is.
    """

    def __init__(
        self,
        database: Database,
        *,
        users: Users,
        logins: Logins,
        audit: Audit,
        clock: Clock,
        tenant: Tenant,
        role: Role | None,
    ) -> None:
        self._database = database
        self._users = users
        self._logins = logins
        self._audit = audit
        self._clock = clock
        self._tenant = tenant
        self._role = role

    async def enter(self, who: Proved, came: From) -> Login:
        """Begin the session of a person.

        A subject that came before is the user it was then. A new one is the user whose name is its verified e-mail
        address, and stays that one.

        Raises:
            FluxaError: `Forbidden`, if no user is meant; `Unauthenticated` for one that is disabled; an outage.
        """
        if not 0 < len(who.subject) <= _SUBJECT_MAX or not who.subject.isprintable():
            raise forbidden(Reason.MALFORMED, "The provider names the person in a way that cannot be kept.")
        async with self._database.transaction() as tx:
            user_id = await tx.fetch_value(_SQL["find_identity"], who.issuer, who.subject)
            if user_id is None:
                user_id = (await self._linked(tx, who, came)).user_id
            return await self._logins.begin(tx, user_id, came, through=who.issuer)

    async def _linked(self, tx: Transaction, who: Proved, came: From) -> User:
        """The user of this address, who is this subject from now on; made first, if the settings say so."""
        name = _name(who)
        user = await self._users.lock(tx, name)
        if user is None and self._role is not None:
            by = f"oidc:{who.issuer}"
            user = await self._users.admit(tx, self._tenant, name, role=self._role, by=by)
        if user is None:
            raise forbidden(Reason.UNKNOWN, f"There is no user {name} here; an admin makes one.")
        found = await tx.fetch_value(_SQL["find_identity"], who.issuer, who.subject)
        if found == user.user_id:
            return user  # two first logins at the same time: the other was faster
        if found is not None or await tx.fetch_value(_SQL["is_linked"], who.issuer, user.user_id):
            # The address was given to somebody else at the provider, who is not this user.
            raise forbidden(Reason.UNKNOWN, f"The user {name} is somebody else at this provider; ask an admin.")
        await tx.execute(_SQL["insert_identity"], who.issuer, who.subject, user.user_id, self._clock.now())
        detail = {"issuer": who.issuer, "subject": who.subject, "address": came.address}
        act = Act(user.tenant, f"user:{user.user_id}", "user.linked", f"user:{user.user_id}", detail)
        await self._audit.record(tx, act)
        return user


def _name(who: Proved) -> str:
    if who.email is None:
        raise forbidden(Reason.UNKNOWN, "The provider gives no verified e-mail address of yours.")
    try:
        name = normalised(who.email)
    except FluxaError:
        name = ""
    # Only letter case may differ. Full-width letters, ligatures and their like become plain ones in a name, and the
    # mailbox that the provider has verified need not be the one whose owner has that name here.
    if not name or name != who.email.lower():
        raise forbidden(Reason.MALFORMED, "The provider's e-mail address of yours cannot be a user's name.")
    return name
