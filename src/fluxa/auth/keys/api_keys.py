"""API keys: made, rotated, listed and revoked here, and the only place where their hashes are stored or read."""

import datetime as dt
import hashlib
import re
import secrets
from collections.abc import Collection, Mapping
from typing import Final

import msgspec

from fluxa.auth import scopes
from fluxa.auth.audit import Act, Audit
from fluxa.auth.keys import accounts
from fluxa.auth.keys.rules import StoredKey
from fluxa.auth.roles import Role
from fluxa.auth.scopes import Scope
from fluxa.kernel.clock import Clock, SystemClock
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.kernel.ids import Tenant, can_be_given
from fluxa.postgres import sql
from fluxa.postgres.listen import notify
from fluxa.postgres.pool import Database
from fluxa.postgres.transaction import Transaction

_SQL = sql.load("fluxa.auth.keys", "api_keys.sql")
_TOKEN = re.compile(r"fx_([0-9a-f]{16})_([A-Za-z0-9_-]{43})\Z")
_NAME_MAX = 200
_SECRET_BYTES = 32

TOPIC: Final = "api_keys"
"""The wake-up topic that says: a key can do less than before, or has another secret."""
OVERLAP_S: Final = 86_400.0
"""How long the old secret of a rotated key is taken, where nobody says otherwise."""
OVERLAP_MAX_S: Final = 30 * 86_400.0
"""The longest overlap."""
EXPIRES_MAX_S: Final = 10 * 365 * 86_400.0
"""The longest time for which a key is made that ends by itself."""


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key as it may be shown: without its secret.

    Attributes:
        key_id: names it in lists and logs.
        tenant: whose data it opens.
        name: what its owner calls it.
        role: what its bearer is to the tenant.
        scopes: what it is narrowed to, by name; None for all of its role.
        account: the service account that owns it; None for none.
        created_at: when it was made.
        expires_at: when it ends by itself, if it does.
        last_used_at: when it was used last, up to two minutes old.
        rotated_at: when its secret was replaced last.
        old_until: until when the secret before that is taken.
        revoked_at: when it stopped being valid, if it did.
    """

    key_id: str
    tenant: Tenant
    name: str
    role: Role
    created_at: dt.datetime
    scopes: list[Scope] | None = None
    account: str | None = None
    expires_at: dt.datetime | None = None
    last_used_at: dt.datetime | None = None
    rotated_at: dt.datetime | None = None
    old_until: dt.datetime | None = None
    revoked_at: dt.datetime | None = None


class NewApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key just made; the only moment at which its token exists outside its owner's hands.

    Attributes:
        key: what is stored.
        token: what the caller sends as `Authorization: Bearer <token>`.
    """

    key: ApiKey
    token: str


class Rotated(msgspec.Struct, frozen=True, kw_only=True):
    """A key with another secret.

    Attributes:
        key_id: the same as before.
        tenant: whose it is.
        token: with the new secret; valid from now on.
        old_until: until when the token before it is taken as well.
        expires_at: when the key ends by itself, if it does.
    """

    key_id: str
    tenant: Tenant
    token: str
    old_until: dt.datetime
    expires_at: dt.datetime | None


def split(token: str) -> tuple[str, bytes] | None:
    """The key id and the secret's hash of a token, or None if it cannot be a token.

    The secret has 256 random bits, so one round of SHA-256 leaves nothing to guess.
    """
    match = _TOKEN.match(token)
    return None if match is None else (match[1], _hash(match[2]))


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


class ApiKeys:
    """The keys of one database; with an `audit`, who made and ended them is written down."""

    def __init__(self, database: Database, audit: Audit | None = None, clock: Clock | None = None) -> None:
        self._database = database
        self._audit = audit
        self._clock = clock or SystemClock()

    async def create(
        self,
        tenant: str,
        name: str,
        *,
        role: Role | None = None,
        narrowed: Collection[str] = (),
        expires_in_s: float | None = None,
        account: str | None = None,
        by: str = "system",
    ) -> NewApiKey:
        """Make a key for a tenant; its token cannot be shown again.

        Args:
            tenant: whose data it opens.
            name: what its owner calls it.
            role: what its bearer is to the tenant; None for the role of its service account.
            narrowed: the scopes it is narrowed to; none for all of its role.
            expires_in_s: seconds after which it ends by itself.
            account: the service account that owns it.
            by: who makes it.

        Raises:
            FluxaError: `InvalidRequest` for a name, tenant, scope or time that is not one; `NotFound` for a service
                account that is not there; `Refused` for one that is disabled, or has another role.
        """
        _check(tenant, name)
        chosen = scopes.asked(narrowed)
        expires_at = self._in(expires_in_s)
        key_id, secret = secrets.token_hex(8), secrets.token_urlsafe(_SECRET_BYTES)
        async with self._database.transaction() as tx:
            owner = None if account is None else await accounts.owner(tx, tenant, account)
            role = _role_of(role, owner)
            created_at = await tx.fetch_value(
                _SQL["insert_key"],
                key_id,
                tenant,
                name,
                _hash(secret),
                role,
                None if chosen is None else sorted(chosen),
                expires_at,
                None if owner is None else owner.account_id,
            )
            key = ApiKey(
                key_id=key_id,
                tenant=Tenant(tenant),
                name=name,
                role=role,
                scopes=None if chosen is None else sorted(chosen),
                account=account,
                created_at=created_at,
                expires_at=expires_at,
            )
            await self._record(tx, Act(key.tenant, by, "api_key.created", f"api_key:{key_id}", _terms(key)))
        return NewApiKey(key=key, token=f"fx_{key_id}_{secret}")

    async def find(self, key_id: str) -> StoredKey | None:
        """What a token is checked against; None if the key is unknown or revoked. It may have ended in another way."""
        row = await self._database.fetch_row(_SQL["find_key"], key_id)
        if row is None:
            return None
        return StoredKey(
            tenant=Tenant(row["tenant"]),
            name=row["name"],
            role=Role(row["role"]),
            hash=bytes(row["hash"]),
            scopes=scopes.stored(row["scopes"]),
            expires_at=row["expires_at"],
            old_hash=None if row["old_hash"] is None else bytes(row["old_hash"]),
            old_until=row["old_until"],
            account=row["account"] or "",
            is_disabled=row["is_disabled"],
        )

    async def list(self, tenant: str | None = None) -> list[ApiKey]:
        """All keys, or those of a tenant, oldest first; those that ended too."""
        now = self._clock.now()
        rows = await self._database.fetch(_SQL["list_keys"], tenant)
        return [
            ApiKey(
                key_id=row["key_id"],
                tenant=Tenant(row["tenant"]),
                name=row["name"],
                role=Role(row["role"]),
                scopes=None if row["scopes"] is None else sorted(scopes.stored(row["scopes"]) or ()),
                account=row["account"],
                created_at=row["created_at"],
                expires_at=row["expires_at"],
                last_used_at=row["last_used_at"],
                rotated_at=row["rotated_at"],
                old_until=row["old_until"] if row["old_until"] is not None and now < row["old_until"] else None,
                revoked_at=row["revoked_at"],
            )
            for row in rows
        ]

    async def rotate(
        self, key_id: str, *, overlap_s: float = OVERLAP_S, expires_in_s: float | None = None, by: str = "system"
    ) -> Rotated:
        """Give a key another secret; the one it had is taken for the overlap, and not after its old end.

        Args:
            key_id: which.
            overlap_s: seconds for which the old secret is taken; 0 ends it, and any before it, at once.
            expires_in_s: seconds after which the key is to end now; None leaves its end as it is.
            by: who does it.

        Raises:
            FluxaError: `NotFound`, if there is no valid key of this id; `Refused` while an overlap runs, which only
                an overlap of 0 cuts short; `InvalidRequest` for a time that is none.
        """
        if not 0 <= overlap_s <= OVERLAP_MAX_S:
            raise FluxaError(
                ErrorCode.INVALID_REQUEST, f"An overlap is 0 to {OVERLAP_MAX_S:.0f} seconds.", pointer="/overlap_s"
            )
        later, secret, now = self._in(expires_in_s), secrets.token_urlsafe(_SECRET_BYTES), self._clock.now()
        async with self._database.transaction() as tx:
            row = await tx.fetch_row(_SQL["lock_key"], key_id)
            if row is None or (row["expires_at"] is not None and row["expires_at"] <= now):
                raise FluxaError(ErrorCode.NOT_FOUND, f"There is no valid key {key_id}.")
            if overlap_s and row["old_until"] is not None and now < row["old_until"]:
                raise FluxaError(
                    ErrorCode.REFUSED,
                    f"The secret before this one is taken until {row['old_until']:%Y-%m-%d %H:%M:%SZ}: another "
                    "rotation would end it too early. Wait, or end all older secrets at once with an overlap of 0.",
                )
            old_until = now + dt.timedelta(seconds=overlap_s)
            if row["expires_at"] is not None:
                old_until = min(old_until, row["expires_at"])
            expires_at = later or row["expires_at"]
            await tx.execute(_SQL["rotate_key"], key_id, _hash(secret), old_until, now, expires_at)
            tenant, detail = Tenant(row["tenant"]), {"old_until": _text(old_until), "expires_at": _text(expires_at)}
            await self._record(tx, Act(tenant, by, "api_key.rotated", f"api_key:{key_id}", detail))
            await tx.execute(_SQL["count_change"])
        await self.tell()
        token = f"fx_{key_id}_{secret}"
        return Rotated(key_id=key_id, tenant=tenant, token=token, old_until=old_until, expires_at=expires_at)

    async def revoke(self, key_id: str, *, by: str = "system") -> bool:
        """End a key; False if there is none of this id to end. Servers are told at once (`KeyWatch`)."""
        async with self._database.transaction() as tx:
            tenant = await tx.fetch_value(_SQL["revoke_key"], key_id)
            if tenant is None:
                return False
            await self._record(tx, Act(Tenant(tenant), by, "api_key.revoked", f"api_key:{key_id}"))
            await tx.execute(_SQL["count_change"])
        await self.tell()
        return True

    async def end_of_account(self, tx: Transaction, account_id: str) -> int:
        """Revoke all keys of a service account in its transaction; how many. Then comes `tell`."""
        ended = len(await tx.fetch(_SQL["revoke_keys_of_account"], account_id))
        await tx.execute(_SQL["count_change"])
        return ended

    async def tell(self) -> None:
        """Say to all processes that keys changed; a word that is lost costs them two seconds."""
        await notify(self._database, TOPIC)

    async def changes(self) -> int:
        """How often something was taken away from keys; another number than before says: look again."""
        return int(await self._database.fetch_value(_SQL["read_changes"]))

    async def note_use(self, used_at: Mapping[str, dt.datetime]) -> None:
        """Write down when keys were used last; a later time that is known already stays."""
        if used_at:
            await self._database.execute(_SQL["note_use"], list(used_at), list(used_at.values()))

    def _in(self, seconds: float | None) -> dt.datetime | None:
        if seconds is None:
            return None
        if not 0 < seconds <= EXPIRES_MAX_S:
            raise FluxaError(
                ErrorCode.INVALID_REQUEST, "A key ends in at most ten years, and not in the past.", pointer="/expires"
            )
        return self._clock.now() + dt.timedelta(seconds=seconds)

    async def _record(self, tx: Transaction, act: Act) -> None:
        if self._audit is not None:
            await self._audit.record(tx, act)


def _check(tenant: str, name: str) -> None:
    if not can_be_given(tenant):
        raise FluxaError(
            ErrorCode.INVALID_REQUEST,
            f"{tenant!r} cannot name a tenant: 1 to 63 of a-z 0-9 _ -, beginning with a letter or digit.",
            pointer="/tenant",
        )
    if not 0 < len(name) <= _NAME_MAX or not name.isprintable():
        raise FluxaError(
            ErrorCode.INVALID_REQUEST, f"A key's name is 1 to {_NAME_MAX} printable characters.", pointer="/name"
        )


def _role_of(role: Role | None, owner: "accounts.ServiceAccount | None") -> Role:
    """A key of a service account has its role."""
    if owner is None:
        if role is None:
            raise FluxaError(ErrorCode.INVALID_REQUEST, "A key needs a role.", pointer="/role")
        return role
    if role not in {None, owner.role}:
        raise FluxaError(ErrorCode.REFUSED, f"{owner.name} is {owner.role}, and so are its keys.", pointer="/role")
    return owner.role


def _terms(key: ApiKey) -> dict[str, object]:
    terms: dict[str, object] = {"role": key.role}
    if key.scopes is not None:
        terms["scopes"] = list(key.scopes)
    if key.expires_at is not None:
        terms["expires_at"] = _text(key.expires_at)
    if key.account is not None:
        terms["service_account"] = key.account
    return terms


def _text(moment: dt.datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
