"""Fills dead-letter queues with genuine messages: what an engine would have written, without a worker's detour."""

import datetime as dt
from collections.abc import Iterable

from fluxa.kernel.errors import retry_class
from fluxa.queue.backend import Envelope, ParkedText, QueueBackend
from fluxa.queue.backends.parking import Facts, write_facts
from fluxa.queue.envelope import encode
from fluxa.queue.record import Failure, Record

BEGAN = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def parked(
    name: str,
    code: str = "HandlerError",
    *,
    queue: str = "orders",
    key: str | None = None,
    redrives: int = 0,
    at: dt.datetime = BEGAN,
    tampered: bool = False,
) -> ParkedText:
    """A dead letter's texts; a tampered one was altered after it was parked."""
    failure = Failure(code=code, detail="x", first_at=at, last_at=at)
    record = Record(
        id=name, body=b'{"v":"genuine"}', created_at=at, key=key, attempt=8, redrives=redrives, failure=failure
    )
    facts = Facts(
        queue=queue,
        code=code,
        retry=retry_class(code),
        reason="x",
        attempts=8,
        first_failed_at=at,
        last_failed_at=at,
        readable=True,
        redrives=redrives,
        record_id=name,
        key=key,
    )
    raw = encode(Envelope((record,)))
    return ParkedText(raw.replace("genuine", "altered") if tampered else raw, write_facts(facts), at)


async def fill(backend: QueueBackend, queue: str, letters: Iterable[ParkedText]) -> list[str]:
    """Make the queue if need be and park letters; returns their ids."""
    await backend.create(queue)
    return await backend.park(queue, list(letters))
