"""Who is calling, once that is proved; and why one is turned away, as one word for logs and metrics."""

import enum
from dataclasses import dataclass

from fluxa.auth.roles import Role
from fluxa.auth.scopes import Scope
from fluxa.kernel.errors import ErrorCode, FluxaError
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
        scopes: what the credential is narrowed to; None for all that its role may.
    """

    tenant: Tenant
    name: str
    role: Role
    kind: Kind = Kind.API_KEY
    subject: str = ""
    session_id: str | None = None
    scopes: frozenset[Scope] | None = None

    @property
    def actor(self) -> str:
        """What the audit log calls it: `user:ID`, `key:ID`, `machine:ID`."""
        return f"{'key' if self.kind is Kind.API_KEY else self.kind}:{self.subject or self.name}"


class Reason(enum.StrEnum):
    """Reasons; few, because they label metrics."""

    MISSING = "missing"
    """There was no credential."""
    MALFORMED = "malformed"
    """It cannot be read."""
    UNKNOWN = "unknown"
    """Nobody has it, or it was revoked."""
    EXPIRED = "expired"
    """Its time is over, or has not come."""
    SIGNATURE = "signature"
    """It was not made by whom it says, or for something else."""
    REPLAYED = "replayed"
    """It was used before."""
    DISABLED = "disabled"
    """It was right, and its owner was disabled."""
    SESSION = "session"
    """Its session has ended, or is another's."""
    ROLE = "role"
    """Its owner is known, and may not do this."""
    SCOPE = "scope"
    """Its owner is known, and it was narrowed to something else."""
    TENANT = "tenant"
    """Its owner is known, and of another tenant than those who may."""
    OTHER = "other"
    """Whatever says nothing closer."""


class DeniedError(FluxaError):
    """A caller is not known, or may not do what it wants.

    Attributes:
        reason: why, as one word.
    """

    def __init__(self, code: ErrorCode, reason: Reason, detail: str) -> None:
        self.reason = reason
        super().__init__(code, detail)


def unauthenticated(reason: Reason, detail: str) -> DeniedError:
    """The caller is not known."""
    return DeniedError(ErrorCode.UNAUTHENTICATED, reason, detail)


def forbidden(reason: Reason, detail: str) -> DeniedError:
    """The caller is known, and may not."""
    return DeniedError(ErrorCode.FORBIDDEN, reason, detail)


def reason_of(error: FluxaError) -> Reason:
    """Why a request was refused."""
    return error.reason if isinstance(error, DeniedError) else Reason.OTHER
