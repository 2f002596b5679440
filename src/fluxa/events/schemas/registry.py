"""The schemas in force, as this process knows them: at most two seconds behind the table."""

import asyncio
from dataclasses import dataclass

from fluxa.events.event import Event, check_attribute, is_json
from fluxa.events.schemas.compiled import SCHEMA_MAX_BYTES, Compiled, Schema, check_data, compile_schema
from fluxa.events.schemas.store import SchemaHead, SchemaStore, Version
from fluxa.kernel import json
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.kernel.ids import Tenant
from fluxa.kernel.lifecycle import cancel_and_wait
from fluxa.telemetry.caches import CacheCount
from fluxa.telemetry.log import Logger

REFRESH_S = 2.0
"""Seconds between two looks at the table."""

_Key = tuple[Tenant, str]


@dataclass(slots=True)
class _Entry:
    """A type's schema; compiled when its first event comes."""

    version: Version
    compiled: Compiled | None = None


class SchemaRegistry:
    """A `SchemaCheck` over the table, and the way to change it. A `fluxa.kernel.lifecycle.Service`.

    Args:
        store: the table's owner.
        logger: told when the table cannot be read; the schemas known by then stay in force.
        refresh_s: seconds between two looks at the table.

    Attributes:
        count: how often a schema was ready when data was checked, and how often it was fetched and compiled first.
    """

    def __init__(self, store: SchemaStore, logger: Logger, *, refresh_s: float = REFRESH_S) -> None:
        self._store = store
        self._logger = logger
        self._refresh_s = refresh_s
        self.count = CacheCount()
        self._entries: dict[_Key, _Entry] = {}
        self._mark: str | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Read the table once, then keep looking.

        Raises:
            DatabaseUnavailableError: the schemas are not known, so no event could be let in.
        """
        if self._task is None:
            await self.refresh()
            self._task = asyncio.create_task(self._keep_fresh(), name="schema-registry")

    async def stop(self) -> None:
        """End the looking."""
        task, self._task = self._task, None
        await cancel_and_wait(task)

    async def check(self, event: Event, data: bytes | None) -> None:
        """As `SchemaCheck.check`.

        Raises:
            FluxaError: `SchemaValidation`; an outage, when a schema is used for the first time.
        """
        if not self._entries:
            return
        entry = self._entries.get((event.tenant, event.type))
        if entry is None:
            return
        compiled = entry.compiled
        if compiled is None:
            self.count.misses += 1
            compiled = await self._compile(entry)
        else:
            self.count.hits += 1
        if compiled is not None:
            check_data(compiled, data, is_json=is_json(event.datacontenttype))

    async def put(self, tenant: Tenant, type_: str, text: bytes) -> SchemaHead:
        """Register the schema of a type, in this process at once, in others within `REFRESH_S`.

        Raises:
            FluxaError: `InvalidEvent` for a type that no event can have; `RequestTooLarge`, `MalformedJson`
                or `InvalidRequest` for a text that is no schema.
        """
        check_attribute("type", type_)
        schema = read_schema(text)
        compile_schema(schema)
        head = await self._store.put(tenant, type_, schema)
        await self.refresh()
        return head

    async def delete(self, tenant: Tenant, type_: str) -> bool:
        """Remove a type's schema, in this process at once; whether there was one."""
        found = await self._store.delete(tenant, type_)
        await self.refresh()
        return found

    async def refresh(self) -> None:
        """Look at the table now."""
        mark = await self._store.mark()
        if mark == self._mark:
            return
        entries: dict[_Key, _Entry] = {}
        for version in await self._store.versions():
            key = (version.tenant, version.type)
            known = self._entries.get(key)
            entries[key] = known if known is not None and known.version == version else _Entry(version)
        self._entries = entries
        self._mark = mark

    async def _compile(self, entry: _Entry) -> Compiled | None:
        """The entry's schema, ready; None if it was deleted in the meantime."""
        stored = await self._store.find(entry.version.tenant, entry.version.type)
        if stored is None:
            return None
        try:
            compiled = compile_schema(stored.schema)
        except FluxaError as error:  # put by hand, or by a version that took it
            raise FluxaError(
                ErrorCode.SCHEMA_VALIDATION,
                f"The schema registered for {entry.version.type} cannot be used; register it again. {error.detail}",
                pointer="/type",
            ) from error
        entry.compiled = compiled
        return compiled

    async def _keep_fresh(self) -> None:
        while True:
            await asyncio.sleep(self._refresh_s)
            try:
                await self.refresh()
            except FluxaError as error:
                self._logger.warning("schemas not refreshed", error_code=error.code, detail=error.detail)


def read_schema(text: bytes) -> Schema:
    """A schema's JSON.

    Raises:
        FluxaError: `RequestTooLarge`, `MalformedJson`, or `InvalidRequest` if it is no object or boolean.
    """
    if len(text) > SCHEMA_MAX_BYTES:
        raise FluxaError(ErrorCode.REQUEST_TOO_LARGE, f"A schema has at most {SCHEMA_MAX_BYTES} bytes.")
    schema = json.decode(text)
    if not isinstance(schema, dict | bool):
        raise FluxaError(ErrorCode.INVALID_REQUEST, "A JSON Schema is an object, true or false.", pointer="")
    if "\\u0000" in json.text(schema).replace("\\\\", ""):  # without escaped backslashes, only the escaped NUL is left
        raise FluxaError(ErrorCode.INVALID_REQUEST, "A schema cannot hold the character U+0000.", pointer="")
    return schema
