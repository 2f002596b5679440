"""Proves that a record is the event that came through the door, and makes the row of it (PIPE-3, PIPE-7)."""

import asyncio
import datetime as dt
import hashlib

from fluxa.events.carriage import DATA_KEY, from_record
from fluxa.events.process import rules
from fluxa.events.process.batch import Batch, Failed, Item
from fluxa.events.schema_check import SchemaCheck
from fluxa.events.store import StoredEvent
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.kernel.ids import Tenant
from fluxa.providers.object_store import ObjectStore
from fluxa.telemetry.catalogue import Stage

_BREATHE_AFTER = 200
"""Records verified before other tasks of the process get a turn."""

_GIVE_UP_AFTER = 3
"""Objects of a batch that could not be had before the others are not asked for."""


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

        if waiting:
            await self._verify_large(waiting, batch.claimed_at)

    async def _verify_large(self, items: list[Item], claimed_at: dt.datetime) -> None:
        """Items whose data is in the object store, several at once.

        When it does not answer, the rest are not asked for: they fail as those did that were, so that
        their neighbours need not wait for every single timeout.
        """
        unavailable: list[Failed] = []

        async def fetch() -> None:
            while items:
                item = items.pop()
                if len(unavailable) >= _GIVE_UP_AFTER:
                    item.failed = unavailable[-1]
                    continue
                await self._verify(item, claimed_at)
                if item.failed is not None and item.failed.code == ErrorCode.OBJECT_STORE_UNAVAILABLE:
                    unavailable.append(item.failed)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(self._fetches_max, len(items))):
                group.create_task(fetch())

    async def _verify(self, item: Item, claimed_at: dt.datetime) -> None:
        """Give one item its row or its failure."""
        record = item.record
        try:
            arrived = record.created_at
            if not rules.is_plausible_arrival(arrived, claimed_at):
                raise FluxaError(  # noqa: TRY301 - noted on the item like any other refusal
                    ErrorCode.MALFORMED_MESSAGE, f"the record says it was made at {arrived}, which cannot be"
                )
            # The door checked the event's time by its own clock, which may be ahead of ours.
            event = item.event = from_record(record, default_tenant=self._default_tenant, now=max(claimed_at, arrived))
            key, data = record.headers.get(DATA_KEY), event.data
            if key is not None:
                data = await self._fetch(key, event.sha256)
            await self._schemas.check(event, data)
            size = 0 if data is None else len(data)
            delivery = item.delivery
            item.row = StoredEvent(event, arrived, key, size, item.attempt, delivery.enqueued_at, claimed_at)
        except FluxaError as error:
            item.fail(error, Stage.PROCESS)
        except Exception as error:  # noqa: BLE001 - a defect met by one record must not stop its neighbours
            detail = f"{type(error).__name__}: {error}"
            item.fail(FluxaError(ErrorCode.HANDLER_ERROR, detail), Stage.PROCESS)

    async def _fetch(self, key: str, digest: bytes) -> bytes:
        """Data from the object store, proven to be what was received."""
        try:
            async with asyncio.timeout(self._fetch_timeout_s):
                data = await self._objects.get(key)
        except TimeoutError:
            raise FluxaError(
                ErrorCode.OBJECT_STORE_UNAVAILABLE, f"no answer within {self._fetch_timeout_s:g} s for {key}"
            ) from None
        if hashlib.sha256(data).digest() != digest:
            raise FluxaError(ErrorCode.HASH_MISMATCH, "the data in the object store is not the data that was received")
        return data
