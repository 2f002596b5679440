"""The claim check (PIPE-6): data over the limit goes to the object store before its event is queued."""

import asyncio
import datetime as dt
from collections.abc import Sequence

from fluxa.events import carriage
from fluxa.events.event import Event
from fluxa.events.ingest.decode import Accepted
from fluxa.kernel.ids import Tenant
from fluxa.providers.object_store import ObjectStore

INLINE_MAX_BYTES = 64 * 1024
"""The largest data that travels with its event, by default."""


def object_key(tenant: Tenant, received_at: dt.datetime, digest: bytes) -> str:
    """Where data is kept: under its tenant and month, by its content; the same data is kept once a month.

    Events of a month refer to objects of that month alone, so that both can be deleted when they are too old:
    kept once for ever, an old object could still be needed by an event of yesterday.
    """
    text = digest.hex()
    return f"{tenant}/{received_at.astimezone(dt.UTC):%Y-%m}/sha256/{text[:2]}/{text}"


class ClaimCheck:
    """Puts large data away.

    Args:
        store: where to.
        inline_max_bytes: data up to this size travels with its event.
        concurrency: objects written at once by this process.
    """

    def __init__(self, store: ObjectStore, *, inline_max_bytes: int = INLINE_MAX_BYTES, concurrency: int = 8) -> None:
        self._store = store
        self.inline_max_bytes = inline_max_bytes
        self._slots = asyncio.Semaphore(concurrency)

    def is_large(self, event: Event) -> bool:
        """Whether the data must not travel with the event."""
        return event.data is not None and len(event.data) > self.inline_max_bytes

    async def put_away(self, events: Sequence[Accepted], received_at: dt.datetime) -> list[tuple[Accepted, str]]:
        """Store the data of large events durably; each without its data, and the key where that is.

        Args:
            events: those whose data must not travel with them.
            received_at: when they came through the door.

        Raises:
            FluxaError: `ObjectStoreUnavailable`; what was stored by then stays, harmless, under its digest.
        """
        # All are waited for, also when one fails, so that no put outlives its request.
        found = await asyncio.gather(
            *(self._put(accepted.event, received_at) for accepted in events), return_exceptions=True
        )
        keys: list[str] = []
        for key in found:
            if isinstance(key, BaseException):
                raise key
            keys.append(key)
        return [
            (Accepted(accepted.event, carriage.to_text(accepted.event, with_data=False)), key)
            for accepted, key in zip(events, keys, strict=True)
        ]

    async def _put(self, event: Event, received_at: dt.datetime) -> str:
        key = object_key(event.tenant, received_at, event.sha256)
        async with self._slots:
            await self._store.put(key, event.data or b"")
        return key
