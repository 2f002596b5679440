"""The keys that sign access tokens: made, succeeded and retired here, and the only place that reads their table."""

import datetime as dt
import enum
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc.jwk import OKPKey

from fluxa.auth.audit import Act, Audit
from fluxa.auth.tokens.jws import ALGORITHM
from fluxa.auth.tokens.sealing import Sealer
from fluxa.kernel import json
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.kernel.ids import Tenant
from fluxa.postgres import sql
from fluxa.postgres.listen import notify
from fluxa.postgres.pool import Database
from fluxa.postgres.transaction import Row, Transaction

_SQL = sql.load("fluxa.auth.tokens", "signing_keys.sql")

TOPIC: Final = "signing_keys"
"""The wake-up that follows each change."""
PURPOSE: Final = "signing-keys"
"""What the private keys are sealed for."""
TTL_MAX_S: Final = 3600.0
"""The longest time that a token may be valid."""
OVERLAP_S: Final = 120.0
"""How long a new key is published before it signs: longer than anybody keeps the list of keys (60 s), and processes
need to hear of it (5 s)."""
_AFTER_S: Final = TTL_MAX_S + 60.0
"""How long a key verifies after its last signature: the longest token, and clocks that differ."""


class KeyState(enum.StrEnum):
    """Where a key is in its life; its times say."""

    NEXT = "next"
    """Published, so that everybody knows it by the time it signs."""
    ACTIVE = "active"
    """Signs."""
    RETIRING = "retiring"
    """Signs no more, and verifies until the last token it signed has ended."""
    RETIRED = "retired"
    """Nothing."""


class SigningKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key as it may be shown.

    Attributes:
        kid: names it in tokens.
        algorithm: by which it signs.
        state: where it is in its life, as of now.
        created_at: when it was made.
        signs_from: when it begins to sign.
        signs_until: when its successor begins; None without one.
        verifies_until: when its last token has ended; None without a successor.
        retired_at: when it was ended by hand, if it was.
    """

    kid: str
    algorithm: str
    state: KeyState
    created_at: dt.datetime
    signs_from: dt.datetime
    signs_until: dt.datetime | None = None
    verifies_until: dt.datetime | None = None
    retired_at: dt.datetime | None = None


@dataclass(frozen=True, slots=True)
class UsableKey:
    """A key that verifies now; times in seconds from the moment it was read, past ones negative.

    Attributes:
        kid: names it in tokens.
        jwk: its public part.
        signs_in_s: when it begins to sign.
        signs_end_s: when it ends to; None without a successor.
        verifies_end_s: when it verifies no more.
    """

    kid: str
    jwk: dict[str, Any]
    signs_in_s: float
    signs_end_s: float | None
    verifies_end_s: float | None


class SigningKeys:
    """The signing keys of one database.

    Args:
        database: where they are.
        sealer: hides their private parts; one made for `PURPOSE`.
        tenant: in whose ledger changes are written down: they concern the whole installation.
        audit: where changes are written down.
    """

    def __init__(self, database: Database, sealer: Sealer, *, tenant: Tenant, audit: Audit | None = None) -> None:
        self._database = database
        self._sealer = sealer
        self._tenant = tenant
        self._audit = audit

    async def usable(self) -> list[UsableKey]:
        """All that verify now, those to come included."""
        return [
            UsableKey(
                row["kid"],
                json.decode(row["public_jwk"]),
                row["signs_in_s"],
                row["signs_end_s"],
                row["verifies_end_s"],
            )
            for row in await self._database.fetch(_SQL["usable_keys"])
        ]

    async def private(self, kid: str) -> OKPKey | None:
        """The private key; None, if it was retired meanwhile.

        Raises:
            FluxaError: `Configuration`, if `secret_key` does not open it.
        """
        sealed = await self._database.fetch_value(_SQL["sealed_key"], kid)
        if sealed is None:
            return None
        raw = self._sealer.open(bytes(sealed), _context(kid))
        return OKPKey.import_key(Ed25519PrivateKey.from_private_bytes(raw))

    async def all(self) -> list[SigningKey]:
        """All there ever were, oldest first."""
        rows = await self._database.fetch(_SQL["list_signing_keys"])
        return [msgspec.convert(dict(row), SigningKey) for row in rows]

    async def ensure(self, *, by: str = "system") -> None:
        """Make a first key that signs at once, if none signs now; of several who try at once, one does.

        Raises:
            FluxaError: `Configuration`, without `secret_key`.
        """
        async with self._database.transaction() as tx:
            await tx.execute(_SQL["lock_keys"])
            if not any(key.state is KeyState.ACTIVE for key in await self._listed(tx)):
                await self._begin(tx, by)
        await notify(self._database, TOPIC)

    async def rotate(self, *, overlap_s: float = OVERLAP_S, by: str) -> SigningKey:
        """Make the key that signs from `overlap_s` on; the one that signs now verifies until its tokens have ended.

        Raises:
            FluxaError: `Refused`, if a rotation is under way; `Configuration`, without `secret_key`.
        """
        async with self._database.transaction() as tx:
            await tx.execute(_SQL["lock_keys"])
            await tx.execute(_SQL["forget_privates"])
            before = await self._listed(tx)
            if any(key.state is KeyState.NEXT for key in before):
                waiting = next(key for key in before if key.state is KeyState.NEXT)
                raise FluxaError(
                    ErrorCode.REFUSED,
                    f"A rotation is under way: {waiting.kid} signs from {waiting.signs_from:%Y-%m-%d %H:%M:%S}Z on. "
                    "Wait for that, or take it back: fluxa jwt retire " + waiting.kid,
                )
            signs = any(key.state is KeyState.ACTIVE for key in before)
            kid = await self._begin(tx, by, in_s=overlap_s if signs else 0.0)
            made = next(key for key in await self._listed(tx) if key.kid == kid)
        await notify(self._database, TOPIC)
        return made

    async def retire(self, kid: str, *, by: str) -> SigningKey | None:
        """End a key at once, its tokens with it; if it signed, another one does at once. None, if there is none to end.

        Raises:
            FluxaError: `Configuration`, if a new key is needed and there is no `secret_key`.
        """
        async with self._database.transaction() as tx:
            await tx.execute(_SQL["lock_keys"])
            before = {key.kid: key for key in await self._listed(tx)}.get(kid)
            if before is None or not await tx.execute(_SQL["retire_signing_key"], kid):
                return None
            act = Act(self._tenant, by, "signing_key.retired", f"signing_key:{kid}", {"was": before.state})
            await self._record(tx, act)
            match before.state:
                case KeyState.NEXT:
                    await tx.execute(_SQL["prolong_keys"])
                case KeyState.ACTIVE:
                    if await tx.fetch_value(_SQL["advance_next"]) is None:
                        await self._begin(tx, by)
                case KeyState.RETIRING | KeyState.RETIRED:
                    pass
            ended = next(key for key in await self._listed(tx) if key.kid == kid)
        await notify(self._database, TOPIC)
        return ended

    async def reseal(self, *, by: str) -> int:
        """Seal anew what an older `secret_key` sealed, so that it can be taken out of the setting; how many there were.

        Raises:
            FluxaError: `Configuration`, if no secret that is set opens a key.
        """
        async with self._database.transaction() as tx:
            await tx.execute(_SQL["lock_keys"])
            older = [row for row in await tx.fetch(_SQL["sealed_keys"]) if not self._is_newest(row)]
            for row in older:
                context = _context(row["kid"])
                sealed = self._sealer.seal(self._sealer.open(bytes(row["sealed"]), context), context)
                await tx.execute(_SQL["reseal_key"], row["kid"], sealed)
            if older:
                kids = [row["kid"] for row in older]
                await self._record(tx, Act(self._tenant, by, "signing_keys.resealed", "signing_keys", {"keys": kids}))
        return len(older)

    async def sealed_before(self) -> int:
        """How many keys an older secret of `secret_key` is still needed for. Raises as `reseal` does."""
        async with self._database.transaction() as tx:
            return sum(not self._is_newest(row) for row in await tx.fetch(_SQL["sealed_keys"]))

    def _is_newest(self, row: Row) -> bool:
        return self._sealer.is_newest(bytes(row["sealed"]), _context(row["kid"]))

    async def _begin(self, tx: Transaction, by: str, *, in_s: float = 0.0) -> str:
        """A key that signs from then on, in the place of all others."""
        private = Ed25519PrivateKey.generate()
        key = OKPKey.import_key(private)
        kid = key.thumbprint()
        raw = private.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
        jwk = {**key.as_dict(private=False), "kid": kid, "use": "sig", "alg": ALGORITHM}
        sealed = self._sealer.seal(raw, _context(kid))
        await tx.execute(_SQL["insert_signing_key"], kid, ALGORITHM, json.text(jwk), sealed, in_s)
        await tx.execute(_SQL["succeed_keys"], kid, in_s, _AFTER_S)
        await self._record(tx, Act(self._tenant, by, "signing_key.created", f"signing_key:{kid}", {"signs_in_s": in_s}))
        return kid

    async def _listed(self, tx: Transaction) -> list[SigningKey]:
        return [msgspec.convert(dict(row), SigningKey) for row in await tx.fetch(_SQL["list_signing_keys"])]

    async def _record(self, tx: Transaction, act: Act) -> None:
        if self._audit is not None:
            await self._audit.record(tx, act)


def _context(kid: str) -> str:
    return f"signing key {kid}"
