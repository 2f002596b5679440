"""Anchors: heads of the audit log, kept where who can change the database cannot change them. Not: when (anchoring)."""

import asyncio
import datetime as dt
from collections.abc import Iterable

import msgspec

from fluxa.kernel import json
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.kernel.ids import Tenant
from fluxa.operations.ledger.chain import Head
from fluxa.providers.object_store import ListedStore

_FOLDER = "anchors"
_AT_ONCE = 16
"""Anchors that are read side by side: one an hour and tenant is many after a year."""


class _Anchor(msgspec.Struct, frozen=True, kw_only=True, tag_field="anchor", tag=1):
    tenant: Tenant
    number: int
    hash: str
    at: dt.datetime


_read = msgspec.json.Decoder(_Anchor).decode


class Anchors:
    """The anchors in an object store, one object each, which is made once and never written again."""

    def __init__(self, store: ListedStore) -> None:
        self._store = store

    async def write(self, heads: Iterable[Head]) -> int:
        """Keep these heads; how many were asked for. One that is kept already is left as it is.

        Raises:
            FluxaError: `HashMismatch` if another entry was anchored under the same number: the chain was rewritten
                since; `ObjectStoreUnavailable`.
        """
        written = 0
        for head in heads:
            if not head.number:
                continue
            key = f"{_FOLDER}/{head.tenant}/{head.number:016d}.json"
            anchor = _Anchor(tenant=head.tenant, number=head.number, hash=head.hash.hex(), at=head.at)
            await self._store.put(key, json.encode(anchor))
            kept = await self._read(key)
            if (kept.tenant, kept.number, kept.hash) != (head.tenant, head.number, head.hash):
                raise FluxaError(
                    ErrorCode.HASH_MISMATCH,
                    f"Entry {head.number} of tenant {head.tenant} was anchored before with another hash: the audit log "
                    "was rewritten since. Run fluxa audit verify.",
                )
            written += 1
        return written

    async def all(self, tenant: str | None = None) -> list[Head]:
        """All anchors that are kept, or those of one tenant.

        Raises:
            FluxaError: `MalformedMessage` for an object that is no anchor; `ObjectStoreUnavailable`.
        """
        prefix = _FOLDER if tenant is None else f"{_FOLDER}/{tenant}"
        keys = [key for key in await self._store.keys(prefix) if key.endswith(".json")]
        found: list[Head] = []
        for first in range(0, len(keys), _AT_ONCE):
            found += await asyncio.gather(*(self._read(key) for key in keys[first : first + _AT_ONCE]))
        return found

    async def _read(self, key: str) -> Head:
        content = await self._store.get(key)
        try:
            anchor = _read(content)
            return Head(anchor.tenant, anchor.number, bytes.fromhex(anchor.hash), anchor.at)
        except (msgspec.DecodeError, ValueError) as error:
            raise FluxaError(ErrorCode.MALFORMED_MESSAGE, f"The object {key} is no anchor: {error}") from None
