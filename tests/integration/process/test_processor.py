"""The processor stores each good event once and parks each bad one alone, on a real queue and database."""

import asyncio
import hashlib
import json

import msgspec
import pytest

from fluxa.events.carriage import DATA_KEY, QUEUE, SHA256, TENANT
from fluxa.events.process.processor import ProcessorConfig
from fluxa.kernel.clock import SystemClock
from fluxa.kernel.errors import ErrorCode, FluxaError, RetryClass
from fluxa.postgres.pool import Database
from fluxa.queue.policy import RetryPolicy
from fluxa.queue.record import Record
from fluxa.telemetry.catalogue import (
    DuplicatesAcknowledged,
    LeasesLost,
    RecordParked,
    RecordRetried,
    Signal,
    Stage,
    StageFinished,
    Status,
)
from making.events import event_text, make_record
from making.pipeline import Pipeline

QUICK = ProcessorConfig(wait_s=0.05, policy=RetryPolicy(attempts_max=3, base_s=0.01, cap_s=0.02))


@pytest.fixture
def pipeline(database: Database) -> Pipeline:
    return Pipeline(database)


def large_record(number: int, content: bytes, *, key: str | None = None) -> Record:
    """A record whose data is in the object store."""
    attributes = {"specversion": "1.0", "id": f"e-{number}", "source": "/flights", "type": "large"}
    digest = hashlib.sha256(content).hexdigest()
    return Record(
        id=f"e-{number}",
        body=json.dumps(attributes).encode(),
        created_at=SystemClock().now(),
        correlation_id=f"c-{number}",
        content_type="application/cloudevents+json",
        headers={TENANT: "default", SHA256: digest, DATA_KEY: key or f"sha256/{digest}"},
    )


@pytest.mark.req("PIPE-7")
async def test_events_are_stored_with_every_time_of_their_way(pipeline: Pipeline) -> None:
    await pipeline.send([make_record(n) for n in range(50)], [make_record("single")])
    async with pipeline.running():
        await pipeline.empty()
    stored = await pipeline.stored()
    assert stored.total() == len(stored) == 51
    row = await pipeline.database.fetch_row("select * from fluxa.events where id = 'e-7'")
    assert row is not None
    assert row["received_at"] <= row["enqueued_at"] <= row["claimed_at"] <= row["stored_at"]
    assert (row["attempt"], row["correlation_id"], row["data"]) == (1, "c-7", b'{"n": 7}')
    assert row["sha256"] == hashlib.sha256(b'{"n": 7}').digest()
    finished = [signal for signal in pipeline.signals.heard if isinstance(signal, StageFinished)]
    assert {signal.stage for signal in finished} == {Stage.PROCESS, Stage.PERSIST}
    assert sum(signal.events for signal in finished if signal.stage is Stage.PERSIST) == 51


@pytest.mark.req("PIPE-4", "PIPE-7")
async def test_an_event_that_comes_again_is_acknowledged_and_not_stored(pipeline: Pipeline) -> None:
    await pipeline.send([make_record(n) for n in range(20)])
    async with pipeline.running():
        await pipeline.empty()
        await pipeline.send([make_record(n) for n in range(10, 30)], [make_record(5)])
        await pipeline.empty()
        await pipeline.until(
            lambda: sum(s.events for s in pipeline.signals.heard if isinstance(s, DuplicatesAcknowledged)) == 11
        )
    stored = await pipeline.stored()
    assert stored.total() == len(stored) == 30


@pytest.mark.req("PIPE-3", "PIPE-6", "PIPE-7", "PIPE-9")
async def test_bad_records_are_parked_alone_with_code_reason_and_trace(pipeline: Pipeline) -> None:
    content = b'{"large": true}'
    altered, missing, fine = large_record(1, content), large_record(2, b"2"), large_record(3, b"33")
    pipeline.objects.content[altered.headers[DATA_KEY]] = b'{"large": false}'
    pipeline.objects.content[fine.headers[DATA_KEY]] = b"33"
    forged = msgspec.structs.replace(make_record("forged"), body=event_text("forged", data={"n": "other"}))
    unreadable = msgspec.structs.replace(make_record("unreadable"), body=b"{")
    odd_time = msgspec.structs.replace(make_record("odd"), created_at=SystemClock().now().replace(year=1990))
    good = [make_record(f"good{n}") for n in range(20)]
    await pipeline.send(
        [*good, altered, missing, fine, forged, unreadable, odd_time, make_record("strict", type_="strict")]
    )
    async with pipeline.running():
        await pipeline.empty()
    assert set(await pipeline.stored()) == {record.id for record in good} | {"e-3"}
    dead = {letter.record.id: letter for letter in await pipeline.dead()}
    assert {name: letter.code for name, letter in dead.items()} == {
        "e-1": ErrorCode.HASH_MISMATCH,
        "e-2": ErrorCode.PAYLOAD_MISSING,
        "e-forged": ErrorCode.HASH_MISMATCH,
        "e-unreadable": ErrorCode.MALFORMED_JSON,
        "e-odd": ErrorCode.MALFORMED_MESSAGE,
        "e-strict": ErrorCode.SCHEMA_VALIDATION,
    }
    assert dead["e-1"].retry is RetryClass.SECURITY
    assert {letter.attempts for letter in dead.values()} == {1}
    rows = await pipeline.database.fetch("select * from fluxa.failures")
    failures = {row["id"]: row for row in rows}
    assert {name: row["error_code"] for name, row in failures.items()} == {n: d.code for n, d in dead.items()}
    assert all(row["parked"] for row in rows)
    assert (failures["e-strict"]["correlation_id"], failures["e-strict"]["source"]) == ("c-strict", "/flights")
    parked = [signal for signal in pipeline.signals.heard if isinstance(signal, RecordParked)]
    assert {signal.event_id for signal in parked} == set(dead)
    large = await pipeline.database.fetch_row("select * from fluxa.events where id = 'e-3'")
    assert large is not None
    assert (large["data"], large["data_bytes"], large["data_key"]) == (None, 2, fine.headers[DATA_KEY])
    assert large["sha256"] == hashlib.sha256(b"33").digest()


@pytest.mark.req("PIPE-3", "PIPE-9")
@pytest.mark.parametrize("count", [1, 5])
async def test_a_message_altered_in_the_queue_table_is_parked_as_a_hash_mismatch(
    pipeline: Pipeline, count: int
) -> None:
    (message_id,) = await pipeline.send([make_record(n) for n in range(count)])
    await pipeline.send([make_record("good")])
    altered = (
        """jsonb_set(message, '{body}', to_jsonb(replace(message->>'body', '"n": 0', '"n": 9')))"""
        if count == 1
        else """jsonb_set(message, '{packed}', to_jsonb(translate(message->>'packed', 'ab', 'ba')))"""
    )
    await pipeline.database.execute(
        f"update pgmq.q_events set message = {altered} where msg_id = $1",  # noqa: S608 - our own text
        int(message_id),
    )
    async with pipeline.running():
        await pipeline.empty()
    assert set(await pipeline.stored()) == {"e-good"}
    (letter,) = await pipeline.dead()
    assert (letter.code, letter.retry) == (ErrorCode.HASH_MISMATCH, RetryClass.SECURITY)
    failure = await pipeline.database.fetch_row("select * from fluxa.failures")
    assert failure is not None
    assert (failure["error_code"], failure["parked"], failure["attempt"]) == ("HashMismatch", True, 1)


@pytest.mark.req("PIPE-7")
async def test_messages_of_other_programs_are_stored_for_the_default_tenant_or_parked(pipeline: Pipeline) -> None:
    await pipeline.send([make_record("ours")])
    for message in (event_text("theirs").decode(), '{"hello": "world"}', '"text"'):
        await pipeline.database.execute("select pgmq.send('events', $1::jsonb)", message)
    async with pipeline.running():
        await pipeline.empty()
    assert set(await pipeline.stored()) == {"e-ours", "e-theirs"}
    assert await pipeline.database.fetch_value("select tenant from fluxa.events where id = 'e-theirs'") == "default"
    assert {letter.code for letter in await pipeline.dead()} == {ErrorCode.INVALID_EVENT}


@pytest.mark.req("PIPE-6", "PIPE-9")
async def test_an_outage_of_the_object_store_is_retried_record_by_record(pipeline: Pipeline) -> None:
    large = large_record(1, b"1")
    pipeline.objects.content[large.headers[DATA_KEY]] = b"1"
    pipeline.objects.fails = [FluxaError(ErrorCode.OBJECT_STORE_UNAVAILABLE), OSError("no route")]
    await pipeline.send([make_record("good"), large])
    async with pipeline.running(QUICK):
        await pipeline.empty()
        await pipeline.signals.wait_for(RecordRetried, lambda signal: signal.attempt == 2)
    assert set(await pipeline.stored()) == {"e-good", "e-1"}
    assert await pipeline.database.fetch_value("select attempt from fluxa.events where id = 'e-1'") == 3
    codes = [row[0] for row in await pipeline.database.fetch("select error_code from fluxa.failures order by attempt")]
    assert codes == [ErrorCode.OBJECT_STORE_UNAVAILABLE, ErrorCode.HANDLER_ERROR]
    assert not await pipeline.dead()


@pytest.mark.req("PIPE-9")
async def test_a_transient_failure_is_parked_after_its_attempts(pipeline: Pipeline) -> None:
    large = large_record(1, b"1")
    pipeline.objects.fails = [FluxaError(ErrorCode.OBJECT_STORE_UNAVAILABLE) for _ in range(5)]
    await pipeline.send([large])
    async with pipeline.running(QUICK):
        await pipeline.empty()
    (letter,) = await pipeline.dead()
    assert (letter.code, letter.attempts) == (ErrorCode.OBJECT_STORE_UNAVAILABLE, 3)
    parked = await pipeline.database.fetch("select attempt, parked from fluxa.failures order by attempt")
    assert [tuple(row) for row in parked] == [(1, False), (2, False), (3, True)]


@pytest.mark.req("PIPE-7", "QUEUE-3")
async def test_a_slow_processor_whose_lease_was_taken_stores_nothing_of_it(pipeline: Pipeline) -> None:
    large = large_record(1, b"1")
    pipeline.objects.content[large.headers[DATA_KEY]] = b"1"
    await pipeline.send([large, make_record("beside")], [make_record("other")])
    pipeline.objects.gate = asyncio.Event()
    slow = pipeline.processor(ProcessorConfig(wait_s=0.05, lanes=1))
    await slow.start()
    await pipeline.objects.asked.wait()
    await pipeline.database.execute("update pgmq.q_events set vt = now() where message->>'id' is null")
    (taken,) = await pipeline.backend.claim(QUEUE, limit=10, lease_s=30)
    pipeline.objects.gate.set()
    lost = await pipeline.signals.wait_for(LeasesLost)
    assert lost.messages == 1
    await slow.stop()
    assert set(await pipeline.stored()) == {"e-other"}
    await pipeline.backend.extend([taken], lease_s=0)
    async with pipeline.running():
        await pipeline.empty()
    stored = await pipeline.stored()
    assert stored.total() == len(stored) == 3
    assert await pipeline.database.fetch_value("select attempt from fluxa.events where id = 'e-1'") == 3


@pytest.mark.req("PIPE-7", "PIPE-9")
async def test_a_row_that_postgres_refuses_is_found_and_parked_alone(pipeline: Pipeline) -> None:
    await pipeline.database.execute("alter table fluxa.events add constraint odd check (subject is distinct from 'x')")
    await pipeline.database.execute(
        "create function refuse() returns trigger language plpgsql as $$"
        " begin if new.id in ('e-3', 'e-77') then raise exception 'too odd' using errcode = '22023'; end if;"
        " return new; end $$"
    )
    await pipeline.database.execute(
        "create trigger refuse before insert on fluxa.idempotency_keys for each row execute function refuse()"
    )
    await pipeline.send([make_record(n) for n in range(100)])
    async with pipeline.running():
        await pipeline.empty()
    stored = await pipeline.stored()
    assert stored.total() == len(stored) == 98
    dead = await pipeline.dead()
    assert {(letter.record.id, letter.code) for letter in dead} == {
        ("e-3", ErrorCode.DB_REJECTED),
        ("e-77", ErrorCode.DB_REJECTED),
    }
    assert "too odd" in dead[0].reason


@pytest.mark.req("PIPE-7")
async def test_a_refusal_that_is_no_record_s_fault_parks_nothing_and_ends(pipeline: Pipeline) -> None:
    await pipeline.send([make_record(n) for n in range(10)])
    await pipeline.database.execute("alter table fluxa.idempotency_keys rename to away")
    async with pipeline.running():
        await pipeline.signals.wait_for(
            StageFinished, lambda s: (s.stage, s.status, s.error_code) == (Stage.PERSIST, Status.FAILURE, "DBRejected")
        )
        await pipeline.database.execute("alter table fluxa.away rename to idempotency_keys")
        await pipeline.empty()
    assert len(await pipeline.stored()) == 10
    assert not await pipeline.dead()


@pytest.mark.req("QUEUE-3")
async def test_an_envelope_that_killed_its_workers_is_taken_apart(pipeline: Pipeline) -> None:
    await pipeline.send([make_record(n) for n in range(5)])
    for _ in range(2):
        await pipeline.backend.extend(await pipeline.backend.claim(QUEUE, limit=1, lease_s=30), lease_s=0)
    async with pipeline.running():
        await pipeline.empty()
    rows = await pipeline.database.fetch("select attempt, tx from fluxa.events")
    assert [row["attempt"] for row in rows] == [3] * 5


@pytest.mark.req("QUEUE-3")
async def test_a_record_that_killed_all_its_workers_is_parked(pipeline: Pipeline) -> None:
    await pipeline.send([make_record(1)])
    for _ in range(3):
        await pipeline.backend.extend(await pipeline.backend.claim(QUEUE, limit=1, lease_s=30), lease_s=0)
    async with pipeline.running(QUICK):
        await pipeline.empty()
    (letter,) = await pipeline.dead()
    assert letter.code == ErrorCode.HANDLER_CRASH
    assert not await pipeline.stored()


@pytest.mark.req("PIPE-7", "QUEUE-3")
async def test_stopping_gives_back_at_once_what_cannot_be_finished_in_time(pipeline: Pipeline) -> None:
    large = large_record(1, b"1")
    pipeline.objects.content[large.headers[DATA_KEY]] = b"1"
    await pipeline.send([large])
    pipeline.objects.gate = asyncio.Event()
    processor = pipeline.processor(ProcessorConfig(wait_s=0.05, lanes=1, stop_within_s=0.1))
    await processor.start()
    await pipeline.objects.asked.wait()
    await processor.stop()
    await processor.stop()
    assert (await pipeline.backend.metrics(QUEUE)).ready == 1
    pipeline.objects.gate.set()
    async with pipeline.running():
        await pipeline.empty()
    assert await pipeline.stored() == {"e-1": 1}


@pytest.mark.req("PIPE-7")
async def test_stopping_finishes_what_was_begun(pipeline: Pipeline) -> None:
    large = large_record(1, b"1")
    pipeline.objects.content[large.headers[DATA_KEY]] = b"1"
    await pipeline.send([large])
    pipeline.objects.gate = asyncio.Event()
    processor = pipeline.processor()
    await processor.start()
    await pipeline.objects.asked.wait()
    stopping = asyncio.create_task(processor.stop())
    pipeline.objects.gate.set()
    await stopping
    assert await pipeline.stored() == {"e-1": 1}
    assert (await pipeline.backend.metrics(QUEUE)).depth == 0


@pytest.mark.req("PIPE-4", "PIPE-7")
async def test_two_processors_store_five_thousand_events_once_with_a_fifth_sent_twice(pipeline: Pipeline) -> None:
    records = [make_record(n % 4000) for n in range(5000)]
    await pipeline.send(*(records[start : start + 50] for start in range(0, 5000, 50)))
    async with pipeline.running(), pipeline.running():
        await pipeline.empty(timeout_s=60)
    stored = await pipeline.stored()
    assert stored.total() == len(stored) == 4000
    assert not await pipeline.dead()
    assert await pipeline.database.fetch_value("select sum(seen) from fluxa.idempotency_keys") == 5000


@pytest.mark.req("PIPE-7")
async def test_a_month_that_was_dropped_meanwhile_is_made_again(pipeline: Pipeline) -> None:
    month = SystemClock().now().date().replace(day=1)
    async with pipeline.running(QUICK):
        await pipeline.send([make_record(1)])
        await pipeline.empty()
        assert await pipeline.database.fetch_value("select fluxa.drop_month($1)", month)
        await pipeline.send([make_record(2)])
        await pipeline.empty()
    assert set(await pipeline.stored()) == {"e-2"}
    assert not await pipeline.dead()


@pytest.mark.req("PIPE-7")
async def test_an_event_that_waited_over_the_turn_of_the_month_is_kept_where_it_arrived(pipeline: Pipeline) -> None:
    now = SystemClock().now()
    old = now.replace(year=now.year - 1, day=28)
    await pipeline.send([make_record("old", received_at=old), make_record("new")])
    async with pipeline.running(QUICK):
        await pipeline.empty()
    rows = await pipeline.database.fetch("select id, tableoid::regclass::text as month from fluxa.events")
    assert {row["id"]: row["month"] for row in rows} == {
        "e-old": f"fluxa.events_{old:%Y_%m}",
        "e-new": f"fluxa.events_{now:%Y_%m}",
    }


@pytest.mark.req("PIPE-6", "PIPE-9")
async def test_an_object_store_that_is_out_is_not_asked_for_every_event_of_a_batch(pipeline: Pipeline) -> None:
    large = [large_record(number, b"%d" % number) for number in range(100)]
    for record in large:
        pipeline.objects.content[record.headers[DATA_KEY]] = record.headers[DATA_KEY].encode()
    pipeline.objects.fails = [FluxaError(ErrorCode.OBJECT_STORE_UNAVAILABLE) for _ in range(200)]
    await pipeline.send([make_record("good"), *large])
    async with pipeline.running():
        await pipeline.until(lambda: sum(isinstance(s, RecordRetried) for s in pipeline.signals.heard) >= 100)
    assert len(pipeline.objects.fails) > 180
    assert set(await pipeline.stored()) == {"e-good"}
    assert await pipeline.database.fetch_value("select count(*) from fluxa.failures") >= 100


@pytest.mark.req("PIPE-7")
async def test_a_lane_outlives_a_hook_that_raises_and_a_lane_that_ended_is_told(database: Database) -> None:
    pipeline = Pipeline(database)
    await pipeline.send([make_record(1)])
    hear, raised = pipeline.signals.hear, asyncio.Event()

    def raise_once(signal: Signal) -> None:
        if not raised.is_set():
            raised.set()
            raise RuntimeError("a defect of the one who listens")
        hear(signal)

    pipeline.signals.hear = raise_once  # type: ignore[method-assign]  # a listener with a defect
    async with pipeline.running(ProcessorConfig(wait_s=0.05, lanes=1)) as processor:
        await raised.wait()
        await processor.check()
        await pipeline.send([make_record(2)])
        await pipeline.empty()
        processor._lanes[0].cancel()
        await asyncio.wait(processor._lanes)
        with pytest.raises(FluxaError, match="Lane 1 of the processor has ended"):
            await processor.check()
    assert set(await pipeline.stored()) == {"e-1", "e-2"}
