"""What only SQS has: large messages elsewhere, its own dead letters, partial failures, other programs' texts."""

import asyncio
import dataclasses
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from typing_extensions import override

from aws.queues import make_backend
from aws.servers import Ministack
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.postgres.pool import Database
from fluxa.queue.backend import DeadLetterFilter, Envelope, KeyRule, Settlement
from fluxa.queue.backends.sqs import Sqs
from fluxa.queue.outcome import DONE, Dead
from fluxa.queue.record import Record
from fluxa.telemetry.catalogue import NativeDeadLettersSwept, RecordParked
from fluxa.testing.clock import ManualClock
from fluxa.testing.signals import Signals
from making.pipeline import Objects

QUEUE = "jobs"
_ALL = DeadLetterFilter()


class Unsteady(Sqs):
    """Says of some entries of the next batches that they failed, as Amazon does when it is busy."""

    failing = 0

    @override
    async def call(self, verb: str, *, patience_s: float = 0.0, **arguments: Any) -> dict[str, Any]:
        entries: list[dict[str, Any]] = arguments.get("Entries", [])
        if not self.failing or verb != "send_message_batch":
            return await super().call(verb, patience_s=patience_s, **arguments)
        self.failing -= 1
        answer = await super().call(verb, patience_s=patience_s, **{**arguments, "Entries": entries[:1]})
        failed = [{"Id": one["Id"], "Code": "InternalError", "SenderFault": False} for one in entries[1:]]
        return {"Successful": answer["Successful"], "Failed": failed}


@pytest.fixture
async def sqs(ministack: Ministack) -> AsyncIterator[Unsteady]:
    client = Unsteady(dataclasses.replace(ministack.sqs, prefix=f"t{uuid.uuid4().hex[:8]}-"))
    await client.start()
    try:
        yield client
    finally:
        await client.stop()


def _one(name: str, body: bytes = b"{}", key: str | None = None) -> Envelope:
    return Envelope((Record(id=name, body=body, created_at=ManualClock().now(), key=key),))


@pytest.mark.req("PIPE-6", "QUEUE-1")
async def test_a_message_that_sqs_does_not_take_goes_to_the_object_store_and_comes_back_whole(
    sqs: Unsteady, database: Database
) -> None:
    objects = Objects()
    backend = make_backend(sqs, database, ManualClock(), spill=objects)
    await backend.create(QUEUE)
    large = b"x" * 2_000_000
    await backend.send(QUEUE, [_one("large", large), _one("small")])
    assert len(objects.content) == 1
    claimed = {one.records[0].id: one for one in await backend.claim(QUEUE, limit=10, lease_s=30, wait_s=2)}
    assert claimed["large"].records[0].body == large
    assert await backend.settle([Settlement(claimed["large"], (Dead("HandlerError", "x"),))]) == []
    (letter,) = await backend.dead_letters(QUEUE, _ALL, limit=9)
    assert letter.record.body == large


@pytest.mark.req("PIPE-6", "QUEUE-1")
@pytest.mark.parametrize(
    ("damage", "code"), [("remove", ErrorCode.PAYLOAD_MISSING), ("alter", ErrorCode.HASH_MISMATCH)]
)
async def test_a_large_message_that_is_missing_or_altered_is_a_defect(
    sqs: Unsteady, database: Database, damage: str, code: ErrorCode
) -> None:
    objects = Objects()
    backend = make_backend(sqs, database, ManualClock(), spill=objects)
    await backend.create(QUEUE)
    await backend.send(QUEUE, [_one("large", b"x" * 2_000_000)])
    (key,) = objects.content
    objects.content = {} if damage == "remove" else {key: objects.content[key].replace(b"xxx", b"yyy", 1)}
    (delivery,) = await backend.claim(QUEUE, limit=1, lease_s=30, wait_s=2)
    assert delivery.defect is not None
    assert delivery.defect.code == code


@pytest.mark.req("PIPE-6")
async def test_while_the_object_store_is_out_a_large_message_rests_and_no_attempt_is_counted(
    sqs: Unsteady, database: Database, ministack: Ministack
) -> None:
    objects = Objects()
    backend = make_backend(sqs, database, ManualClock(), spill=objects)
    await backend.create(QUEUE)
    await backend.send(QUEUE, [_one("large", b"x" * 2_000_000)])
    objects.fails = [FluxaError(ErrorCode.OBJECT_STORE_UNAVAILABLE)]
    with pytest.raises(FluxaError, match="ObjectStoreUnavailable"):
        await backend.claim(QUEUE, limit=1, lease_s=30, wait_s=2)
    await asyncio.to_thread(ministack.tell, do="advance", seconds=61)
    (delivery,) = await backend.claim(QUEUE, limit=1, lease_s=30, wait_s=2)
    assert (delivery.records[0].id, delivery.received_count) == ("large", 1)


async def test_without_an_object_store_a_message_that_is_too_large_is_refused_before_any_is_sent(
    sqs: Unsteady, database: Database
) -> None:
    backend = make_backend(sqs, database, ManualClock())
    await backend.create(QUEUE)
    with pytest.raises(FluxaError, match="EventTooLarge"):
        await backend.send(QUEUE, [_one("small"), _one("large", b"x" * 2_000_000)])
    assert (await backend.metrics(QUEUE)).depth == 0


@pytest.mark.req("QUEUE-1")
async def test_a_batch_that_was_stored_in_part_is_sent_to_its_end(sqs: Unsteady, database: Database) -> None:
    backend = make_backend(sqs, database, ManualClock())
    await backend.create(QUEUE)
    sqs.failing = 2
    ids = await backend.send(QUEUE, [_one(f"r{n}") for n in range(10)])
    claimed = await backend.claim(QUEUE, limit=20, lease_s=30, wait_s=2)
    assert {one.message_id: one.records[0].id for one in claimed} == {
        message_id: f"r{n}" for n, message_id in enumerate(ids)
    }


@pytest.mark.req("QUEUE-1")
async def test_a_settlement_whose_sending_fails_raises_and_loses_nothing(sqs: Unsteady, database: Database) -> None:
    clock = ManualClock()
    backend = make_backend(sqs, database, clock)
    await backend.create(QUEUE)
    await backend.send(QUEUE, [_one("a")])
    (delivery,) = await backend.claim(QUEUE, limit=1, lease_s=30, wait_s=2)
    await sqs.stop()
    with pytest.raises(FluxaError, match="ProviderUnavailable"):
        await backend.settle([Settlement(delivery, (DONE,))])
    await sqs.start()
    assert await backend.settle([Settlement(delivery, (DONE,))]) == []
    assert (await backend.metrics(QUEUE)).depth == 0


@pytest.mark.req("QUEUE-8")
@pytest.mark.parametrize("rule", [None, KeyRule(ordered=True)], ids=["standard", "fifo"])
async def test_what_sqs_moved_aside_by_itself_is_swept_into_the_dead_letters(
    sqs: Unsteady, database: Database, rule: KeyRule | None
) -> None:
    backend = make_backend(sqs, database, ManualClock(), keys={QUEUE: rule} if rule else {})
    await backend.create(QUEUE)
    place = await backend.places.find(QUEUE)
    fifo = {"MessageGroupId": "g", "MessageDeduplicationId": uuid.uuid4().hex} if rule else {}
    texts = ['{"from": "elsewhere"}', "no JSON at all", '{"fluxa":1,"broken']
    for number, text in enumerate(texts):
        more: dict[str, Any] = {**fifo, "MessageDeduplicationId": str(number)} if rule else {}
        await sqs.call("send_message", QueueUrl=place.dead_url, MessageBody=text, **more)
    signals = Signals()
    sweeper = backend.sweeper([QUEUE], clock=ManualClock(), hook=signals.hear)
    assert await sweeper.sweep(QUEUE) == 3
    assert await sweeper.sweep(QUEUE) == 0
    letters = await backend.dead_letters(QUEUE, _ALL, limit=9)
    codes = {ErrorCode.HANDLER_CRASH, ErrorCode.MALFORMED_MESSAGE}
    assert {letter.code for letter in letters} == codes
    assert {letter.record.body for letter in letters if letter.readable} == {texts[0].encode(), texts[1].encode()}
    assert [one.messages for one in signals.heard if isinstance(one, NativeDeadLettersSwept)] == [3, 0]
    assert {one.error_code for one in signals.heard if isinstance(one, RecordParked)} == {ErrorCode.HANDLER_CRASH}


@pytest.mark.req("QUEUE-8", "QUEUE-9")
async def test_a_message_that_is_no_json_is_parked_and_goes_back_as_it_was(sqs: Unsteady, database: Database) -> None:
    backend = make_backend(sqs, database, ManualClock())
    await backend.create(QUEUE)
    place = await backend.places.find(QUEUE)
    text = '{"fluxa":1,"broken \ud83d\ude00'.encode("utf-16", "surrogatepass").decode("utf-16")
    await sqs.call("send_message", QueueUrl=place.url, MessageBody=text)
    (delivery,) = await backend.claim(QUEUE, limit=1, lease_s=30, wait_s=2)
    assert delivery.defect is not None
    await backend.settle([Settlement(delivery, (Dead(delivery.defect.code, delivery.defect.detail),))])
    (letter,) = await backend.dead_letters(QUEUE, _ALL, limit=9)
    assert await backend.redrive(QUEUE, [letter.message_id]) == 1
    (again,) = await backend.claim(QUEUE, limit=1, lease_s=30, wait_s=2)
    assert again.raw == text
