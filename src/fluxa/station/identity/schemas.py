"""What the routes of logins and users take and answer."""

from typing import Annotated

import msgspec
from msgspec import Meta

from fluxa.auth.people.users import User
from fluxa.auth.principal import Kind
from fluxa.auth.roles import Role
from fluxa.auth.sessions import Session

Text = Annotated[str, Meta(min_length=1, max_length=1024)]


class LoginRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who wants to log in.

    Attributes:
        name: the e-mail address.
        password: the password.
    """

    name: Text
    password: Text


class RefreshRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is exchanged.

    Attributes:
        refresh_token: the newest of the session.
    """

    refresh_token: Text


class TokenPair(msgspec.Struct, frozen=True, kw_only=True):
    """What a login gives, in the words of OAuth 2.

    Attributes:
        access_token: sent as `Authorization: Bearer <token>` with each request.
        token_type: always Bearer.
        expires_in: seconds for which the access token is valid.
        refresh_token: exchanged once for the next pair.
        session_id: names the session.
    """

    access_token: str
    token_type: str
    expires_in: int
    refresh_token: str
    session_id: str


class Me(msgspec.Struct, frozen=True, kw_only=True):
    """Who calls.

    Attributes:
        tenant: whose data the credential opens.
        name: what it is called.
        role: what it is to the tenant.
        kind: what sort of credential it is.
        subject: its lasting id.
        session_id: of a person, the session.
    """

    tenant: str
    name: str
    role: Role
    kind: Kind
    subject: str
    session_id: str | None


class SessionList(msgspec.Struct, frozen=True):
    """Live sessions.

    Attributes:
        sessions: newest first.
    """

    sessions: list[Session]


class Ended(msgspec.Struct, frozen=True):
    """What was ended.

    Attributes:
        ended: how many live sessions.
    """

    ended: int


class NewUser(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A user to be made, of the caller's tenant.

    Attributes:
        name: the e-mail address.
        password: the first password.
        role: what the user may do.
    """

    name: Text
    password: Text
    role: Role


class UserChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is to change; what is not given stays.

    Attributes:
        role: what the user may do.
        disabled: whether logins are refused.
        password: another password.
    """

    role: Role | None = None
    disabled: bool | None = None
    password: Text | None = None


class UserList(msgspec.Struct, frozen=True):
    """Users.

    Attributes:
        users: by name.
        next_after: what `after` is for the next page; null at the end.
    """

    users: list[User]
    next_after: str | None
