"""What a secret that is shown means for the key it names, at a time. Pure."""

import datetime as dt
import enum
import hmac

import msgspec

from fluxa.auth.principal import Kind, Principal
from fluxa.auth.roles import Role
from fluxa.auth.scopes import Scope
from fluxa.kernel.ids import Tenant


class StoredKey(msgspec.Struct, frozen=True, kw_only=True):
    """What a token is checked against; without a secret.

    Attributes:
        tenant: whose data it opens.
        name: what its owner calls it.
        role: what its bearer is to the tenant.
        hash: SHA-256 of its secret.
        scopes: what it is narrowed to; None for all of its role.
        expires_at: when it ends by itself.
        old_hash: of the secret before the last rotation.
        old_until: until when that one is taken.
        account: the service account that owns it; empty for none.
        is_disabled: whether that was disabled.
    """

    tenant: Tenant
    name: str
    role: Role
    hash: bytes
    scopes: frozenset[Scope] | None = None
    expires_at: dt.datetime | None = None
    old_hash: bytes | None = None
    old_until: dt.datetime | None = None
    account: str = ""
    is_disabled: bool = False

    def is_valid(self, now: dt.datetime) -> bool:
        """Whether its newest secret opens anything now."""
        return not self.is_disabled and (self.expires_at is None or now < self.expires_at)

    def principal(self, key_id: str) -> Principal:
        """Its bearer."""
        scopes = None if self.scopes is None else self.scopes | {Scope.OWN}
        return Principal(self.tenant, self.account or self.name, self.role, Kind.API_KEY, key_id, scopes=scopes)


class Verdict(enum.StrEnum):
    """What a secret is worth."""

    PASSES = "passes"
    UNKNOWN = "unknown"
    """It is not, and was not lately, the key's."""
    EXPIRED = "expired"
    """It is right, and the key's time is over."""
    REPLACED = "replaced"
    """It was right until the key was rotated, and the overlap is over."""
    DISABLED = "disabled"
    """It was right, and the service account was disabled."""


def judged(key: StoredKey, digest: bytes, now: dt.datetime) -> Verdict:
    """What the secret with this hash is worth now. Whoever has no right secret learns nothing about the key."""
    newest = hmac.compare_digest(key.hash, digest)
    if not newest and not (key.old_hash is not None and hmac.compare_digest(key.old_hash, digest)):
        return Verdict.UNKNOWN
    if key.is_disabled:
        return Verdict.DISABLED
    if not key.is_valid(now):
        return Verdict.EXPIRED
    return Verdict.PASSES if newest or (key.old_until is not None and now < key.old_until) else Verdict.REPLACED
