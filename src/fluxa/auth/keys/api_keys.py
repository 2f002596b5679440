"""API keys: made, listed and revoked here, and the only place where their hashes are stored or read."""

import datetime as dt
import hashlib
import re
import secrets

import msgspec

from fluxa.auth.audit import Act, Audit
from fluxa.auth.roles import Role
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.kernel.ids import Tenant, is_tenant
from fluxa.postgres import sql
from fluxa.postgres.pool import Database
from fluxa.postgres.transaction import Transaction

_SQL = sql.load("fluxa.auth.keys", "api_keys.sql")
_TOKEN = re.compile(r"fx_([0-9a-f]{16})_([A-Za-z0-9_-]{43})\Z")
_NAME_MAX = 200
_SECRET_BYTES = 32


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key as it may be shown: without its secret.

    Attributes:
        key_id: names it in lists and logs.
        tenant: whose data it opens.
        name: what its owner calls it.
        role: what its bearer is to the tenant.
        created_at: when it was made.
        revoked_at: when it stopped being valid, if it did.
    """

    key_id: str
    tenant: Tenant
    name: str
    role: Role
    created_at: dt.datetime
    revoked_at: dt.datetime | None = None


class NewApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key just made; the only moment at which its token exists outside its owner's hands.

    Attributes:
        key: what is stored.
        token: what the caller sends as `Authorization: Bearer <token>`.
    """

    key: ApiKey
    token: str


class StoredHash(msgspec.Struct, frozen=True):
    """What a token is checked against: the owner, its role and the secret's SHA-256."""

    tenant: Tenant
    name: str
    hash: bytes
    role: Role


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

    def __init__(self, database: Database, audit: Audit | None = None) -> None:
        self._database = database
        self._audit = audit

    async def create(self, tenant: str, name: str, *, role: Role, by: str = "system") -> NewApiKey:
        """Make a key for a tenant; its token cannot be shown again.

        Raises:
            FluxaError: `InvalidRequest` for a name or tenant that is not one.
        """
        if not is_tenant(tenant):
            raise FluxaError(
                ErrorCode.INVALID_REQUEST,
                f"{tenant!r} cannot name a tenant: 1 to 63 of a-z 0-9 _ -, beginning with a letter or digit.",
                pointer="/tenant",
            )
        if not 0 < len(name) <= _NAME_MAX or not name.isprintable():
            raise FluxaError(
                ErrorCode.INVALID_REQUEST, f"A key's name is 1 to {_NAME_MAX} printable characters.", pointer="/name"
            )
        key_id, secret = secrets.token_hex(8), secrets.token_urlsafe(_SECRET_BYTES)
        async with self._database.transaction() as tx:
            created_at = await tx.fetch_value(_SQL["insert_key"], key_id, tenant, name, _hash(secret), role)
            await self._record(tx, Act(Tenant(tenant), by, "api_key.created", f"api_key:{key_id}", {"role": role}))
        key = ApiKey(key_id=key_id, tenant=Tenant(tenant), name=name, role=role, created_at=created_at)
        return NewApiKey(key=key, token=f"fx_{key_id}_{secret}")

    async def find(self, key_id: str) -> StoredHash | None:
        """What a valid key's token is checked against; None if the key is unknown or revoked."""
        row = await self._database.fetch_row(_SQL["find_key"], key_id)
        return (
            None
            if row is None
            else StoredHash(Tenant(row["tenant"]), row["name"], bytes(row["hash"]), Role(row["role"]))
        )

    async def list(self, tenant: str | None = None) -> list[ApiKey]:
        """All keys, or those of a tenant, oldest first; revoked ones too."""
        rows = await self._database.fetch(_SQL["list_keys"], tenant)
        return [
            ApiKey(
                key_id=row["key_id"],
                tenant=Tenant(row["tenant"]),
                name=row["name"],
                role=Role(row["role"]),
                created_at=row["created_at"],
                revoked_at=row["revoked_at"],
            )
            for row in rows
        ]

    async def revoke(self, key_id: str, *, by: str = "system") -> bool:
        """End a key; False if there is no valid one of this id. Servers notice within `KeyGuard.fresh_s`."""
        async with self._database.transaction() as tx:
            tenant = await tx.fetch_value(_SQL["revoke_key"], key_id)
            if tenant is None:
                return False
            await self._record(tx, Act(Tenant(tenant), by, "api_key.revoked", f"api_key:{key_id}"))
        return True

    async def _record(self, tx: Transaction, act: Act) -> None:
        if self._audit is not None:
            await self._audit.record(tx, act)
