"""From the door to the stored row, through the real queue, folder and schemas: nothing is altered unseen."""

import asyncio
import base64
import contextlib
import hashlib
import json
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fluxa.events.carriage import QUEUE
from fluxa.events.ingest.claim_check import object_key
from fluxa.events.process.processor import Processor, ProcessorConfig
from fluxa.kernel.clock import SystemClock
from fluxa.kernel.ids import Tenant
from fluxa.postgres.pool import Database
from fluxa.queue.backend import DeadLetterFilter
from making.door import Stand, open_door

STRUCTURED = {"content-type": "application/cloudevents+json"}
ACME = Tenant("acme")


@contextlib.asynccontextmanager
async def processing(stand: Stand, database: Database) -> AsyncIterator[None]:
    """A processor that works until the queue is empty."""
    processor = Processor(
        database=database,
        backend=stand.backend,
        objects=stand.objects,
        schemas=stand.registry,
        clock=SystemClock(),
        hook=stand.signals.hear,
        randomness=random.Random(7),  # noqa: S311 - spreads retries
        config=ProcessorConfig(wait_s=0.05),
    )
    await processor.start()
    try:
        yield
        async with asyncio.timeout(30):
            while (await stand.backend.metrics(QUEUE)).depth:  # noqa: ASYNC110 - the queue is a table
                await asyncio.sleep(0.02)
    finally:
        await processor.stop()


@pytest.fixture
async def stand(database: Database, tmp_path: Path) -> AsyncIterator[Stand]:
    async with open_door(database, tmp_path / "objects") as found:
        yield found


async def send_structured(stand: Stand, name: str, **members: object) -> None:
    event = {"specversion": "1.0", "id": name, "source": "/s", "type": "t", **members}
    answer = await stand.client.post("/v1/events", json=event, headers=STRUCTURED)
    assert answer.status_code == 202, answer.text


async def send_binary(stand: Stand, name: str, body: bytes, kind: str) -> None:
    headers = {"ce-specversion": "1.0", "ce-id": name, "ce-source": "/s", "ce-type": "t", "content-type": kind}
    answer = await stand.client.post("/v1/events", content=body, headers=headers)
    assert answer.status_code == 202, answer.text


@pytest.mark.req("PIPE-1", "PIPE-3", "PIPE-6", "PIPE-7")
async def test_data_of_every_form_and_size_is_stored_byte_for_byte(stand: Stand, database: Database) -> None:
    large_json, large_bytes = json.dumps("ü" * 80_000).encode(), bytes(range(256)) * 400
    expected: dict[str, bytes | None] = {
        "json": b'{"a":1.0}',
        "none": None,
        "base64": b"\x00\xff",
        "binary-json": b' {"spaces": "kept"}\n',
        "binary-text": "grün".encode(),
        "binary-bytes": b"\x00\x01\xfe\xff",
        "large-json": large_json,
        "large-base64": large_bytes,
        "large-binary": large_bytes + b"!",
        "large-binary-json": large_json + b" ",
    }
    async with processing(stand, database):
        await send_structured(stand, "json", data={"a": 1.0})
        await send_structured(stand, "none")
        octets = {"datacontenttype": "application/octet-stream"}
        await send_structured(stand, "base64", data_base64="AP8=", **octets)
        await send_binary(stand, "binary-json", b' {"spaces": "kept"}\n', "application/json")
        await send_binary(stand, "binary-text", "grün".encode(), "text/plain; charset=utf-8")
        await send_binary(stand, "binary-bytes", b"\x00\x01\xfe\xff", "application/octet-stream")
        body = b'{"specversion":"1.0","id":"large-json","source":"/s","type":"t","data":' + large_json + b"}"
        answer = await stand.client.post("/v1/events", content=body, headers=STRUCTURED)
        assert answer.status_code == 202
        await send_structured(
            stand,
            "large-base64",
            data_base64=base64.b64encode(large_bytes).decode(),
            sha256=hashlib.sha256(large_bytes).hexdigest(),
            subject="with all its attributes",
            myext=7,
            **octets,
        )
        await send_binary(stand, "large-binary", large_bytes + b"!", "application/octet-stream")
        await send_binary(stand, "large-binary-json", large_json + b" ", "application/json")
    rows = {row["id"]: row for row in await database.fetch("select * from fluxa.events")}
    found = {}
    for name, row in rows.items():
        assert row["sha256"] == hashlib.sha256(expected[name] or b"").digest(), name
        assert row["data_bytes"] == len(expected[name] or b""), name
        found[name] = row["data"] if row["data_key"] is None else await stand.objects.get(row["data_key"])
    assert found == expected
    assert {name for name, row in rows.items() if row["data_key"]} == {name for name in expected if "large" in name}
    whole = rows["large-base64"]
    assert (whole["subject"], json.loads(whole["extensions"])["myext"]) == ("with all its attributes", 7)
    assert await stand.backend.dead_letters(QUEUE, DeadLetterFilter(), limit=10) == []


def _object(stand: Stand, name: str) -> Path:
    digest = hashlib.sha256(json.dumps(name * 20_000).encode()).digest()
    return stand.folder / object_key(ACME, SystemClock().now(), digest)


@pytest.mark.req("PIPE-2", "PIPE-3", "PIPE-6")
async def test_what_is_altered_or_lost_after_the_door_and_what_a_new_schema_refuses_is_parked(
    stand: Stand, database: Database
) -> None:
    for name in ("altered", "lost", "fine"):
        await send_structured(stand, name, data=name * 20_000)
    await send_structured(stand, "misfit", type="other", data={"n": "x"})
    await asyncio.to_thread(_object(stand, "altered").write_bytes, b"")
    await asyncio.to_thread(_object(stand, "lost").unlink)
    put = await stand.client.put("/v1/schemas/other", json={"properties": {"n": {"type": "integer"}}})
    assert put.status_code == 200
    async with processing(stand, database):
        pass
    dead = await stand.backend.dead_letters(QUEUE, DeadLetterFilter(), limit=10)
    assert {(letter.record.id, letter.code, letter.retry.value) for letter in dead} == {
        ("altered", "HashMismatch", "security"),
        ("lost", "PayloadMissing", "permanent"),
        ("misfit", "SchemaValidation", "permanent"),
    }
    assert [row["id"] for row in await database.fetch("select id from fluxa.events")] == ["fine"]
