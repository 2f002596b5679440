"""Who is calling, once that is proved."""

import enum
from dataclasses import dataclass

from fluxa.auth.roles import Role
from fluxa.kernel.ids import Tenant


class Kind(enum.StrEnum):
    """What sort of caller it is."""

    API_KEY = "api_key"
    """A program with a key."""
    USER = "user"
    """A person with an access token."""
    MACHINE = "machine"
    """A call that was signed with a shared secret."""


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller.

    Attributes:
        tenant: whose data it may touch.
        name: for logs and the audit log; never a secret.
        role: what it is to its tenant.
        kind: what sort of caller it is.
        subject: its lasting id: of the key, of the user; never changes with a name.
        session_id: the session of a person's access token; None for all others.
    """

    tenant: Tenant
    name: str
    role: Role
    kind: Kind = Kind.API_KEY
    subject: str = ""
    session_id: str | None = None
