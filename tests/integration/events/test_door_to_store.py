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


ODD: dict[str, bytes] = {
    "an escaped NUL in the data": b'"data":"\\u0000"',
    "non-characters in the data": '"data":"\ufffe\uffff\U0010ffff"'.encode(),
    "a number no double can hold": b'"data":' + b"9" * 4000,
    "a huge exponent": b'"data":1e999999',
    "data nested 400 deep": b'"data":' + b"[" * 400 + b"]" * 400,
    "repeated names in the data": b'"data":{"a":1,"a":2}',
    "null data": b'"data":null',
    "data with every space": b'"data": \n\t [ 1 ,\r\n 2 ] ',
    "attributes as long as allowed": b'"subject":"' + b"s" * 1024 + b'","dataschema":"' + b"d" * 1024 + b'"',
    "as many extensions as allowed": ",".join(f'"e{n}":"{"v" * 200}"' for n in range(64)).encode(),
    "extensions of every type": b'"b1":true,"b2":false,"i1":-2147483648,"i2":2147483647,"s1":"","n1":null',
    "text from right to left": '"subject":"שלום \u202e עולם 👩‍👩‍👧‍👦"'.encode(),
    "a time before the calendar of most": b'"time":"0001-01-01T00:00:00Z"',
    "a time with nanoseconds": b'"time":"2020-02-29T23:59:59.123456789+14:00"',
    "an empty base64": b'"data_base64":"","datacontenttype":"application/octet-stream"',
    "JSON in base64": b'"data_base64":"eyJhIjoxfQ=="',
    "a source with every mark": b'"dataschema":"https://x/?a=b&c=%20#d"',
    "text that is not JSON": b'"data":"plain","datacontenttype":"text/plain"',
}


@pytest.mark.req("PIPE-1", "PIPE-2", "PIPE-7")
async def test_whatever_the_door_accepts_can_be_stored(stand: Stand, database: Database) -> None:
    head = b'{"specversion":"1.0","source":"/\xc3\xbc/' + b"x" * 1000 + b'","type":"odd","id":'
    bodies = [head + json.dumps(name).encode() + b"," + members + b"}" for name, members in ODD.items()]
    async with processing(stand, database):
        for body in bodies:
            answer = await stand.client.post("/v1/events", content=body, headers=STRUCTURED)
            assert answer.status_code == 202, (body[-200:], answer.text)
        one_line = [body.replace(b"\n", b" ").replace(b"\r", b" ").replace(b'"odd"', b'"again"') for body in bodies]
        lines = [line.replace(b'"id":"', b'"id":"again: ') for line in one_line]
        answer = await stand.client.post(
            "/v1/events", content=b"\n".join(lines), headers={"content-type": "application/x-ndjson"}
        )
        assert answer.json()["refused"] == 0, answer.text
    assert [letter.code for letter in await stand.backend.dead_letters(QUEUE, DeadLetterFilter(), limit=10)] == []
    stored = {row["id"] for row in await database.fetch("select id from fluxa.events")}
    assert stored == set(ODD) | {f"again: {name}" for name in ODD}
