"""Dead letters out to a file, back in, and away for good."""

import json
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest

from fluxa.kernel.clock import SystemClock
from fluxa.postgres.pool import Database
from fluxa.queue.backend import DeadLetterFilter, ParkedText, QueueBackend
from fluxa.queue.backends.pgmq import PgmqBackend
from fluxa.queue.dead_letters.export import digest, export
from fluxa.queue.dead_letters.imports import Importer, ImportReport
from fluxa.queue.dead_letters.purge import purge
from fluxa.queue.registry import QueueSpec, Registry
from making.dead_letters import fill, parked

pytestmark = pytest.mark.req("QUEUE-8")

ALL = DeadLetterFilter()
REGISTRY = Registry([QueueSpec("orders"), QueueSpec("other")])
LETTERS = [
    *(parked(f"t{n}") for n in range(700)),
    parked("awkward \u2028 \x7f", "SchemaValidation", key="ü"),
    parked("altered", tampered=True),
    ParkedText('{"from": "elsewhere"}'),
    ParkedText('["no", 1.50, {"object": null}]', '{"x-other": "headers", "code": 7}'),
]


@pytest.fixture
async def backend(database: Database) -> PgmqBackend:
    """An engine with dead letters of every kind."""
    engine = PgmqBackend(database, listener=None, notifier=None, clock=SystemClock())
    await fill(engine, "orders", LETTERS)
    return engine


async def _exported(backend: QueueBackend, which: DeadLetterFilter = ALL, queue: str = "orders") -> list[bytes]:
    return [line async for line in export(backend, queue, which)]


async def _lines(lines: Iterable[bytes]) -> AsyncIterator[bytes]:
    for line in lines:
        yield line


def _without_id(lines: Iterable[bytes]) -> list[dict[str, Any]]:
    """What is said of each letter but for its id, after which messages of other programs are named."""
    found = [{**json.loads(line), "message_id": None} for line in lines]
    return [one if "fluxa" in one["raw"] else {**one, "record": None} for one in found]


async def _import(
    database: Database, backend: QueueBackend, lines: Iterable[bytes], into: str | None = None
) -> ImportReport:
    return await Importer(database, backend, REGISTRY).run(_lines(lines), into=into)


async def test_what_comes_back_in_is_what_went_out(database: Database, backend: PgmqBackend) -> None:
    before = await _exported(backend)
    assert len(before) == len(LETTERS)
    assert json.loads(before[0])["record"]["body_text"] == '{"v":"genuine"}'
    assert await purge(backend, "orders", ALL) == len(LETTERS)
    report = await _import(database, backend, [*before[:300], b"\n", *before[300:]])
    assert (report.lines, dict(report.imported), report.duplicates, report.refused) == (704, {"orders": 704}, 0, 0)
    assert _without_id(await _exported(backend)) == _without_id(before)


async def test_what_is_there_already_is_left_out(database: Database, backend: PgmqBackend) -> None:
    before = await _exported(backend)
    gone = json.loads(before[3])["message_id"]
    await backend.purge("orders", [gone])
    report = await _import(database, backend, [*before, before[3]])
    assert (report.imported["orders"], report.duplicates) == (1, len(before))
    elsewhere = await _import(database, backend, [*before[:2], *before[:2]], into="other")
    assert (elsewhere.imported["other"], elsewhere.duplicates) == (2, 2)


async def test_lines_that_are_not_sound_are_refused_one_by_one(database: Database, backend: PgmqBackend) -> None:
    (line, *_) = await _exported(backend)
    await purge(backend, "orders", ALL)
    sound = json.loads(line)

    def changed(**fields: object) -> bytes:
        return json.dumps({**sound, **fields}).encode()

    nul = '{"a": "\\u0000"}'
    lines = [
        b"nonsense",
        b"{}",
        b"\xff\xfe",
        changed(raw=sound["raw"].replace("genuine", "altered!")),
        changed(fluxa_dead_letter=2),
        changed(queue="nowhere"),
        changed(parked_at="2026-01-01T00:00:00"),
        changed(raw=nul, digest=digest(nul, sound["facts"])),
        changed(raw="{", digest=digest("{", sound["facts"])),
        line,
    ]
    report = await _import(database, backend, lines)
    assert (report.lines, report.refused, report.imported["orders"]) == (10, 9, 1)
    assert sorted(number for number, _ in report.examples) == list(range(1, 10))
    assert [one["digest"] for one in _without_id(await _exported(backend))] == [sound["digest"]]


async def test_a_purge_takes_only_what_is_meant_and_was_there(backend: PgmqBackend) -> None:
    heard: list[int] = []
    which = DeadLetterFilter(codes=("HandlerError",))
    assert await purge(backend, "orders", which, on_progress=heard.append) == 701
    assert heard == [500, 701]
    assert (await backend.summarize_dead("orders", ALL)).total == 3
    assert await purge(backend, "orders", which) == 0
