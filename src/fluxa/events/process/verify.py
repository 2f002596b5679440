"""Proves that a record is the event that came through the door, and makes the row of it (PIPE-3, PIPE-7)."""

import asyncio
import datetime as dt
import hashlib

import msgspec

from fluxa.events.carriage import DATA_KEY, SHA256, from_record
from fluxa.events.event import Event
from fluxa.events.process import rules
from fluxa.events.process.batch import Batch, Item
from fluxa.events.schema_check import SchemaCheck
from fluxa.events.store import StoredEvent
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.kernel.ids import Tenant
from fluxa.providers.object_store import ObjectStore
from fluxa.telemetry.catalogue import Stage

_BREATHE_AFTER = 200
"""Records verified before other tasks of the process get a turn."""


class Verifier:
    """Reads, checks and completes the records of a batch; what fails is noted on the item alone."""

    def __init__(
        self,
        *,
        objects: ObjectStore,
        schemas: SchemaCheck,
        default_tenant: Tenant,
        fetches_max: int = 8,
        fetch_timeout_s: float = 30.0,
    ) -> None:
        """Check records.

        Args:
            objects: where large data is.
            schemas: what data of a type must look like.
            default_tenant: whose the messages of other programs are.
            fetches_max: objects in memory at once.
            fetch_timeout_s: seconds to wait for one object.
        """
        self._objects = objects
        self._schemas = schemas
        self._default_tenant = default_tenant
        self._fetches_max = fetches_max
        self._fetch_timeout_s = fetch_timeout_s

    async def verify(self, batch: Batch) -> None:
        """Give every item its row or its failure; never raises for a record."""
        waiting: list[Item] = []
        for number, item in enumerate(batch.items):
            if item.judged or item.failed is not None:
                continue
            if DATA_KEY in item.record.headers:
                waiting.append(item)
                continue
            await self._verify(item, batch.claimed_at)
            if number % _BREATHE_AFTER == _BREATHE_AFTER - 1:
                await asyncio.sleep(0)

        async def fetch() -> None:
            while waiting:
                await self._verify(waiting.pop(), batch.claimed_at)

        if waiting:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self._fetches_max, len(waiting))):
                    group.create_task(fetch())

    async def _verify(self, item: Item, claimed_at: dt.datetime) -> None:
        try:
            item.row = await self._row(item, claimed_at)
        except FluxaError as error:
            item.fail(error, Stage.PROCESS)
        except Exception as error:  # noqa: BLE001 - a defect met by one record must not stop its neighbours
            detail = f"{type(error).__name__}: {error}"
            item.fail(FluxaError(ErrorCode.HANDLER_ERROR, detail), Stage.PROCESS)

    async def _row(self, item: Item, claimed_at: dt.datetime) -> StoredEvent:
        record = item.record
        if not rules.is_plausible_arrival(record.created_at, claimed_at):
            raise FluxaError(
                ErrorCode.MALFORMED_MESSAGE, f"the record says it was made at {record.created_at}, which cannot be"
            )
        # The door checked the event's time by its own clock, which may be ahead of ours.
        now = max(claimed_at, record.created_at)
        event = from_record(record, default_tenant=self._default_tenant, now=now)
        item.event = event
        data, key = event.data, record.headers.get(DATA_KEY)
        if key is not None:
            data = await self._fetch(key)
            event = _with_digest(event, data, record.headers.get(SHA256, ""))
        await self._schemas.check(event, data)
        return StoredEvent(
            event=event,
            received_at=record.created_at,
            data_key=key,
            data_bytes=len(data or b""),
            attempt=item.attempt,
            enqueued_at=item.delivery.enqueued_at,
            claimed_at=claimed_at,
        )

    async def _fetch(self, key: str) -> bytes:
        try:
            async with asyncio.timeout(self._fetch_timeout_s):
                return await self._objects.get(key)
        except TimeoutError:
            raise FluxaError(
                ErrorCode.OBJECT_STORE_UNAVAILABLE, f"no answer within {self._fetch_timeout_s:g} s for {key}"
            ) from None


def _with_digest(event: Event, data: bytes, claimed: str) -> Event:
    """The event with the digest of its data, which is in the object store.

    Raises:
        FluxaError: `HashMismatch`.
    """
    digest = hashlib.sha256(data).digest()
    if digest.hex() != claimed:
        raise FluxaError(ErrorCode.HASH_MISMATCH, "the data in the object store is not the data that was received")
    return msgspec.structs.replace(event, sha256=digest)
