"""The schemas in force: the table, the routes, and how a change reaches every process."""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from fluxa.events.schemas.registry import SchemaRegistry
from fluxa.events.schemas.store import SchemaStore
from fluxa.kernel.errors import DatabaseUnavailableError, FluxaError
from fluxa.kernel.ids import Tenant
from fluxa.postgres.pool import Database
from fluxa.telemetry.log import make_logger
from making.door import Stand, open_door
from making.events import make_event

ACME, OTHER = Tenant("acme"), Tenant("other")
TYPE = "flight.departed"
INTEGER = b'{"properties":{"n":{"type":"integer"}}}'
STRING = b'{"properties":{"n":{"type":"string"}}}'


async def until(condition: Callable[[], bool], timeout_s: float = 10) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - another process's change shows itself by polling only
            await asyncio.sleep(0.01)


class Registries:
    """Two processes' registries over one table."""

    def __init__(self, database: Database) -> None:
        self.log = io.StringIO()
        self.store = SchemaStore(database)
        logger = make_logger("ingest", stream=self.log)
        self.here = SchemaRegistry(self.store, logger, refresh_s=0.02)
        self.there = SchemaRegistry(self.store, logger, refresh_s=0.02)


@pytest.fixture
async def both(database: Database) -> AsyncIterator[Registries]:
    found = Registries(database)
    await found.here.start()
    await found.there.start()
    yield found
    await found.here.stop()
    await found.there.stop()


async def fits(registry: SchemaRegistry, *, tenant: Tenant = ACME) -> bool:
    event = make_event(1, tenant=tenant)
    try:
        await registry.check(event, event.data)
    except FluxaError as error:
        if error.code != "SchemaValidation":
            raise
        return False
    return True


async def wait_for(registry: SchemaRegistry, *, fit: bool) -> None:
    async with asyncio.timeout(10):
        while await fits(registry) is not fit:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.01)


@pytest.mark.req("PIPE-2")
async def test_a_change_is_in_force_here_at_once_and_elsewhere_soon(both: Registries) -> None:
    assert await fits(both.here)
    first = await both.here.put(ACME, TYPE, STRING)
    assert not await fits(both.here)
    await wait_for(both.there, fit=False)
    second = await both.there.put(ACME, TYPE, INTEGER)
    assert (first.version, second.version) == (1, 2)
    await wait_for(both.here, fit=True)
    await both.here.put(ACME, TYPE, STRING)
    await wait_for(both.there, fit=False)
    assert await both.there.delete(ACME, TYPE)
    assert not await both.there.delete(ACME, TYPE)
    await wait_for(both.here, fit=True)


@pytest.mark.req("PIPE-2")
async def test_a_schema_is_its_tenants_alone(both: Registries) -> None:
    await both.here.put(ACME, TYPE, STRING)
    assert not await fits(both.here)
    assert await fits(both.here, tenant=OTHER)
    assert await both.store.find(OTHER, TYPE) is None
    assert not await both.here.delete(OTHER, TYPE)
    assert not await fits(both.here)


async def test_the_same_schema_again_makes_no_new_version(both: Registries) -> None:
    first = await both.here.put(ACME, TYPE, STRING)
    again = await both.here.put(ACME, TYPE, b" " + STRING)
    assert again == first


async def test_deleting_and_registering_again_is_seen_as_a_change(both: Registries) -> None:
    await both.here.put(ACME, TYPE, STRING)
    before = await both.store.mark()
    await both.here.delete(ACME, TYPE)
    await both.here.put(ACME, TYPE, STRING)
    assert await both.store.mark() != before


async def test_a_schema_that_was_put_by_hand_and_is_none_refuses_with_the_reason(
    both: Registries, database: Database
) -> None:
    await database.execute(
        "insert into fluxa.schemas (tenant, type, schema) values ('acme', $1, '{\"type\": 1}')", TYPE
    )
    await both.here.refresh()
    event = make_event(1, tenant="acme")
    with pytest.raises(FluxaError, match="register it again"):
        await both.here.check(event, event.data)


async def test_in_an_outage_the_known_schemas_stay_in_force(both: Registries, database: Database) -> None:
    await both.here.put(ACME, TYPE, STRING)
    assert not await fits(both.here)
    await database.stop()
    await until(lambda: "schemas not refreshed" in both.log.getvalue())
    assert not await fits(both.here)


async def test_without_the_table_the_registry_does_not_start(database: Database) -> None:
    await database.stop()
    registry = SchemaRegistry(SchemaStore(database), make_logger("ingest", stream=io.StringIO()))
    with pytest.raises(DatabaseUnavailableError):
        await registry.start()
    await registry.stop()


@pytest.fixture
async def stand(database: Database, tmp_path: Path) -> AsyncIterator[Stand]:
    async with open_door(database, tmp_path / "objects") as found:
        yield found


@pytest.mark.req("PIPE-2")
async def test_schemas_are_registered_shown_listed_and_removed_over_http(stand: Stand) -> None:
    name = "com.example/ü"
    path = "/v1/schemas/com.example%2F%C3%BC"
    put = await stand.client.put(path, content=INTEGER)
    assert put.status_code == 200
    assert put.json()["type"] == name
    shown = (await stand.client.get(path)).json()
    assert (shown["type"], shown["version"], shown["schema"]) == (name, 1, json.loads(INTEGER))
    assert [one["type"] for one in (await stand.client.get("/v1/schemas")).json()["schemas"]] == [name]
    other = {"authorization": "Bearer key-other"}
    assert (await stand.client.get(path, headers=other)).status_code == 404
    assert (await stand.client.get("/v1/schemas", headers=other)).json() == {"schemas": []}
    assert (await stand.client.delete(path, headers=other)).status_code == 404
    assert (await stand.client.delete(path)).status_code == 204
    assert (await stand.client.get(path)).status_code == 404
    assert (await stand.client.get(path, headers={"authorization": ""})).status_code == 401


@pytest.mark.req("PIPE-2")
async def test_a_schema_that_cannot_be_used_is_a_problem_with_a_pointer(stand: Stand) -> None:
    answer = await stand.client.put("/v1/schemas/t", json={"properties": {"a": {"type": "nonsense"}}})
    assert (answer.status_code, answer.json()["pointer"]) == (400, "/properties/a/type")
    assert (await stand.client.get("/v1/schemas/t")).status_code == 404
