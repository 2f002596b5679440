"""The door over real HTTP, with PGMQ in a real Postgres behind it."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from cloudevents.core.bindings import http as binding
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from fluxa.events import carriage
from fluxa.events.event import Event
from fluxa.events.ingest.claim_check import object_key
from fluxa.events.ingest.collector import CollectorLimits
from fluxa.kernel.clock import SystemClock
from fluxa.kernel.ids import Tenant
from fluxa.postgres.pool import Database
from fluxa.telemetry.catalogue import FlushFinished, Stage, StageFinished, Status
from making.door import Stand, open_door

STRUCTURED = {"content-type": "application/cloudevents+json"}
BATCH = {"content-type": "application/cloudevents-batch+json"}
LINES = {"content-type": "application/x-ndjson"}


def event(number: int | str, **change: Any) -> dict[str, Any]:  # noqa: ANN401 - any attribute
    return {"specversion": "1.0", "id": f"e-{number}", "source": "/s", "type": "t", "data": {"n": number}, **change}


def lines(*events: dict[str, Any]) -> bytes:
    return b"\n".join(json.dumps(one).encode() for one in events)


@pytest.fixture
async def stand(database: Database, tmp_path: Path) -> AsyncIterator[Stand]:
    async with open_door(database, tmp_path / "objects") as found:
        yield found


async def arrived(stand: Stand) -> list[Event]:
    now = SystemClock().now()
    return [carriage.from_record(one, default_tenant=Tenant("none"), now=now) for one in await stand.queued()]


@pytest.mark.req("PIPE-1", "PIPE-5")
async def test_one_event_is_answered_when_it_is_in_the_queue(stand: Stand) -> None:
    answer = await stand.client.post("/v1/events", json=event(1), headers=STRUCTURED)
    assert answer.status_code == 202
    assert answer.json() == {
        "accepted": 1,
        "refused": 0,
        "results": [{"status": "accepted", "id": "e-1", "source": "/s"}],
    }
    (found,) = await arrived(stand)
    assert (found.id, found.tenant, found.data) == ("e-1", "acme", b'{"n":1}')
    assert found.correlation_id == answer.headers["x-correlation-id"]


@pytest.mark.req("PIPE-1", "PIPE-2")
@pytest.mark.parametrize("form", ["batch", "lines"])
async def test_in_a_batch_the_valid_are_stored_and_the_others_named(stand: Stand, form: str) -> None:
    events = [event(1), event(2, time="2999-01-01T00:00:00Z"), event(3), event(4, sha256="0" * 64)]
    body, headers = (json.dumps(events).encode(), BATCH) if form == "batch" else (lines(*events), LINES)
    answer = await stand.client.post("/v1/events", content=body, headers=headers)
    assert answer.status_code == 202
    told = answer.json()
    assert (told["accepted"], told["refused"]) == (2, 2)
    assert [(one["status"], one.get("id"), one.get("code"), one.get("pointer")) for one in told["results"]] == [
        ("accepted", "e-1", None, None),
        ("refused", None, "InvalidEvent", "/1/time"),
        ("accepted", "e-3", None, None),
        ("refused", None, "HashMismatch", "/3/sha256"),
    ]
    assert [one.id for one in await arrived(stand)] == ["e-1", "e-3"]


@pytest.mark.req("PIPE-1")
async def test_a_sender_that_prefers_it_is_told_only_what_was_refused(stand: Stand) -> None:
    headers = {**LINES, "prefer": "return=minimal"}
    answer = await stand.client.post("/v1/events", content=lines(event(1), event(2, id="")), headers=headers)
    assert answer.headers["preference-applied"] == "return=minimal"
    assert answer.json() == {
        "accepted": 1,
        "refused": 1,
        "results": [
            {
                "status": "refused",
                "index": 1,
                "code": "InvalidEvent",
                "detail": "id must not be empty",
                "pointer": "/1/id",
            }
        ],
    }


@pytest.mark.req("PIPE-1", "PIPE-2")
async def test_a_batch_without_a_valid_event_is_a_problem_with_results(stand: Stand) -> None:
    answer = await stand.client.post("/v1/events", content=lines(event(1, id=""), event(2, type=7)), headers=LINES)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    told = answer.json()
    assert told["code"] == "InvalidEvent"
    assert told["status"] == 422
    assert told["correlation_id"] == answer.headers["x-correlation-id"]
    assert [one["pointer"] for one in told["results"]] == ["/0/id", "/1/type"]
    assert await arrived(stand) == []


@pytest.mark.req("PIPE-2")
async def test_an_invalid_event_is_a_problem_with_code_and_pointer(stand: Stand) -> None:
    answer = await stand.client.post("/v1/events", json=event(1, time="now"), headers=STRUCTURED)
    assert answer.status_code == 422
    told = answer.json()
    assert (told["code"], told["pointer"]) == ("InvalidEvent", "/time")


@pytest.mark.req("PIPE-3")
async def test_a_body_that_does_not_match_its_digest_is_refused_whole(stand: Stand) -> None:
    headers = {**LINES, "content-digest": "sha-256=:AAAA:"}
    answer = await stand.client.post("/v1/events", content=lines(event(1)), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "HashMismatch")
    assert await arrived(stand) == []


@pytest.mark.req("PIPE-1")
async def test_the_official_sdk_sends_structured_binary_and_batched(stand: Stand) -> None:
    def made(number: int, data: Any, kind: str | None = "application/json") -> CloudEvent:  # noqa: ANN401 - any data
        attributes = {"id": f"sdk-{number}", "source": "/sdk/é", "type": "sdk.sent", "subject": "a b%ü"}
        if kind is not None:
            attributes["datacontenttype"] = kind
        return CloudEvent(attributes={**attributes, "specversion": "1.0", "myext": "x"}, data=data)

    sent = [
        binding.to_structured(made(1, {"a": 1}), JSONFormat()),
        binding.to_binary(made(2, {"a": [1.5, "ü"]}), JSONFormat()),
        binding.to_structured(made(3, b"\x00\xff", "application/octet-stream"), JSONFormat()),
        binding.to_binary(made(4, b"\x00\xff", "application/octet-stream"), JSONFormat()),
        binding.to_binary(made(5, "text", "text/plain"), JSONFormat()),
        binding.to_binary(made(6, {"a": 1}, None), JSONFormat()),
    ]
    for message in sent:
        answer = await stand.client.post("/v1/events", content=message.body, headers=message.headers)
        assert answer.status_code == 202, answer.text
    batch = [json.loads(binding.to_structured(made(number, {"n": number}), JSONFormat()).body) for number in (7, 8)]
    answer = await stand.client.post("/v1/events", content=json.dumps(batch), headers=BATCH)
    assert answer.json()["accepted"] == 2
    found = {one.id: one for one in await arrived(stand)}
    assert sorted(found) == [f"sdk-{number}" for number in range(1, 9)]
    assert {(one.source, one.subject, one.extensions["myext"]) for one in found.values()} == {("/sdk/é", "a b%ü", "x")}
    assert json.loads(found["sdk-2"].data or b"") == {"a": [1.5, "ü"]}
    assert found["sdk-3"].data == found["sdk-4"].data == b"\x00\xff"
    assert found["sdk-5"].data == b"text"


@pytest.mark.req("PIPE-4")
async def test_a_request_sent_again_with_its_key_gets_the_first_answer_and_sends_nothing(stand: Stand) -> None:
    headers = {**LINES, "idempotency-key": "k-1"}
    body = lines(event(1), event(2, id=""))
    first = await stand.client.post("/v1/events", content=body, headers=headers)
    again = await stand.client.post("/v1/events", content=body, headers=headers)
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.content == first.content
    assert again.headers["idempotency-replayed"] == "true"
    assert [one.id for one in await arrived(stand)] == ["e-1"]
    other = await stand.client.post("/v1/events", content=lines(event(3)), headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "IdempotencyMismatch")


@pytest.mark.req("PIPE-6", "PIPE-3")
async def test_large_data_goes_to_the_object_store_and_small_data_stays(stand: Stand) -> None:
    large = json.dumps("x" * 70_000).encode()
    body = lines(event(1), event(2, data="x" * 70_000, subject="s"), event(3, data="y" * 70_000), event(4))
    answer = await stand.client.post("/v1/events", content=body, headers=LINES)
    assert answer.json()["accepted"] == 4
    records = await stand.queued()
    assert [one.id for one in records] == ["e-1", "e-2", "e-3", "e-4"]
    assert [carriage.DATA_KEY in one.headers for one in records] == [False, True, True, False]
    assert all(len(one.body) < 500 for one in records)
    found = carriage.from_record(records[1], default_tenant=Tenant("x"), now=SystemClock().now())
    digest = hashlib.sha256(large).digest()
    assert (found.data, found.sha256, found.subject) == (None, digest, "s")
    key = records[1].headers[carriage.DATA_KEY]
    month = f"{records[1].created_at:%Y-%m}"
    assert key == object_key(Tenant("acme"), records[1].created_at, digest)
    assert key == f"acme/{month}/sha256/{digest.hex()[:2]}/{digest.hex()}"
    assert await stand.objects.get(key) == large


@pytest.mark.req("PIPE-6", "PIPE-5")
async def test_when_the_object_store_is_away_nothing_is_promised(stand: Stand) -> None:
    await asyncio.to_thread(_make_useless, stand.folder)
    answer = await stand.client.post("/v1/events", content=lines(event(1), event(2, data="x" * 70_000)), headers=LINES)
    assert (answer.status_code, answer.json()["code"]) == (503, "ObjectStoreUnavailable")
    assert int(answer.headers["retry-after"]) >= 1
    assert await arrived(stand) == []


def _make_useless(folder: Path) -> None:
    (folder / "incoming").rmdir()
    folder.rmdir()
    folder.write_bytes(b"")


@pytest.mark.req("PIPE-5")
async def test_many_senders_share_few_commits(stand: Stand) -> None:
    answers = await asyncio.gather(
        *(stand.client.post("/v1/events", json=event(number), headers=STRUCTURED) for number in range(100))
    )
    assert {one.status_code for one in answers} == {202}
    flushes = [signal for signal in stand.signals.heard if isinstance(signal, FlushFinished)]
    assert sum(flush.events for flush in flushes) == 100
    assert len(flushes) < 60
    assert len({one.id for one in await arrived(stand)}) == 100


@pytest.mark.req("PIPE-10", "HARDEN-4")
async def test_both_stages_are_told_with_correlation_and_event(stand: Stand) -> None:
    headers = {**STRUCTURED, "x-correlation-id": "order-7"}
    await stand.client.post("/v1/events", json=event(1), headers=headers)
    await stand.client.post("/v1/events", json=event(2, type=""), headers=headers)
    told = [signal for signal in stand.signals.heard if isinstance(signal, StageFinished)]
    assert [(one.stage, one.status, one.event_id, one.error_code) for one in told] == [
        (Stage.VALIDATE, Status.SUCCESS, "e-1", ""),
        (Stage.ENQUEUE, Status.SUCCESS, "e-1", ""),
        (Stage.VALIDATE, Status.FAILURE, "", "InvalidEvent"),
    ]
    assert {one.correlation_id for one in told} == {"order-7"}


@pytest.mark.req("PIPE-5")
async def test_a_full_door_says_429_and_when_to_come_back(database: Database, tmp_path: Path) -> None:
    limits = CollectorLimits(waiting_records=3, flushes=1)
    async with open_door(database, tmp_path / "o", limits=limits) as stand, database.transaction() as holder:
        await holder.execute("lock table pgmq.q_events in access exclusive mode")
        posts = [
            asyncio.ensure_future(stand.client.post("/v1/events", json=event(number), headers=STRUCTURED))
            for number in range(6)
        ]
        done, _ = await asyncio.wait(posts, return_when=asyncio.FIRST_COMPLETED)
        while len(done) < 3:
            done, _ = await asyncio.wait(posts, timeout=0.05)
        assert {(one.result().status_code, one.result().headers["retry-after"]) for one in done} == {(429, "1")}
        await holder.execute("select 1")
        holder_done = asyncio.gather(*posts)
        await _end(holder)
        statuses = sorted(one.status_code for one in await holder_done)
        assert statuses == [202] * 3 + [429] * 3


async def _end(holder: Any) -> None:  # noqa: ANN401 - a transaction
    await holder.execute("rollback")
    await holder.execute("begin")


@pytest.mark.req("PIPE-2")
async def test_a_schema_is_enforced_from_its_registration_to_its_removal(stand: Stand) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    put = await stand.client.put("/v1/schemas/t", json=schema)
    assert (put.status_code, put.json()["version"]) == (200, 1)
    bad = await stand.client.post("/v1/events", json=event(1, data={"n": "one"}), headers=STRUCTURED)
    assert (bad.status_code, bad.json()["code"], bad.json()["pointer"]) == (422, "SchemaValidation", "/data/n")
    body = lines(event(1), event(2, data=None), event(3, data={}), event("4", type="another", data={}))
    told = (await stand.client.post("/v1/events", content=body, headers=LINES)).json()
    assert [one.get("pointer") for one in told["results"]] == [None, "/1/data", "/2/data", None]
    other = await stand.client.post(
        "/v1/events",
        json=event(1, data={}),
        headers={**STRUCTURED, "authorization": "Bearer key-other"},
    )
    assert other.status_code == 202
    assert (await stand.client.delete("/v1/schemas/t")).status_code == 204
    good = await stand.client.post("/v1/events", json=event(1, data={}), headers=STRUCTURED)
    assert good.status_code == 202


@pytest.mark.req("PIPE-5")
async def test_a_client_that_leaves_harms_nobody(stand: Stand) -> None:
    port = httpx.URL(str(stand.client.base_url)).port
    body = json.dumps(event("gone")).encode()
    head = (
        b"POST /v1/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer key-acme\r\n"
        b"content-type: application/cloudevents+json\r\ncontent-length: %d\r\n\r\n" % len(body)
    )
    for cut in (len(head), len(head) + 10, len(head) + len(body)):
        _reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write((head + body)[:cut])
        await writer.drain()
        writer.close()
    answer = await stand.client.post("/v1/events", json=event(1), headers=STRUCTURED)
    assert answer.status_code == 202
    assert "Traceback" not in stand.log.getvalue()
