"""Group commit: what shares a flush, what a failure reaches, what is refused, how it stops."""

import asyncio
import datetime as dt
from collections.abc import Callable, Sequence

import msgspec
import pytest

from fluxa.events.ingest.collector import Collector, CollectorLimits, pack
from fluxa.kernel.errors import DatabaseUnavailableError, ErrorCode, FluxaError
from fluxa.queue.backend import Capabilities, Envelope
from fluxa.queue.record import Record
from fluxa.telemetry.catalogue import FlushFinished, OutageBegan, OutageEnded, Status
from fluxa.testing.signals import Signals

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def record(name: object, size: int = 10) -> Record:
    return Record(id=str(name), body=b"x" * size, created_at=NOW)


class Engine:
    """The sending half of a queue engine: holds each flush until it is let go, fails where told."""

    capabilities = Capabilities(
        transactional_send=True, transactional_settle=True, max_message_bytes=10_000_000, max_delay_s=0
    )

    def __init__(self, *, fails: Callable[[list[str]], Exception | None] = lambda _ids: None) -> None:
        self.sent: list[list[str]] = []
        self.calls = 0
        self.fails = fails
        self.gate = asyncio.Event()
        self.gate.set()
        self.called = asyncio.Event()

    async def send(
        self, queue: str, envelopes: Sequence[Envelope], *, delay_s: float = 0.0, tx: object = None
    ) -> list[str]:
        assert queue == "events"
        assert delay_s == 0
        assert tx is None
        ids = [item.id for envelope in envelopes for item in envelope.records]
        self.calls += 1
        self.called.set()
        await self.gate.wait()
        if error := self.fails(ids):
            raise error
        self.sent.append(ids)
        return [str(index) for index, _ in enumerate(envelopes)]


def collector(engine: Engine, signals: Signals | None = None, **limits: float) -> Collector:
    return Collector(
        engine,  # type: ignore[arg-type]  # the collector only sends
        limits=msgspec.convert(limits, CollectorLimits, strict=False),
        hook=(signals or Signals()).hear,
    )


async def start(*adds: object) -> list["asyncio.Task[object]"]:
    tasks = [asyncio.ensure_future(add) for add in adds]  # type: ignore[call-overload]
    await asyncio.sleep(0)
    return tasks


@pytest.mark.req("PIPE-5")
async def test_what_comes_together_shares_one_commit() -> None:
    engine = Engine()
    gathers = collector(engine)
    assert await asyncio.gather(*(gathers.add([record(i)]) for i in range(50))) == [{}] * 50
    assert [len(ids) for ids in engine.sent] == [50]


@pytest.mark.req("PIPE-5")
async def test_while_flushes_commit_the_next_gathers() -> None:
    engine = Engine()
    engine.gate.clear()
    gathers = collector(engine, flushes=1)
    first = await start(gathers.add([record(0)]))
    await engine.called.wait()
    rest = await start(*(gathers.add([record(i)]) for i in range(1, 30)))
    assert engine.calls == 1
    engine.gate.set()
    await asyncio.gather(*first, *rest)
    assert [len(ids) for ids in engine.sent] == [1, 29]


@pytest.mark.req("PIPE-5")
async def test_nobody_is_answered_before_the_commit() -> None:
    engine = Engine()
    engine.gate.clear()
    gathers = collector(engine)
    (task,) = await start(gathers.add([record(0)]))
    await engine.called.wait()
    assert not task.done()
    engine.gate.set()
    assert await task == {}
    assert gathers.held == (0, 0)


@pytest.mark.req("PIPE-5")
@pytest.mark.parametrize("limits", [{"waiting_records": 5}, {"waiting_bytes": 2100}])
async def test_what_is_too_much_is_refused_at_once_and_taken_again_later(limits: dict[str, float]) -> None:
    engine = Engine()
    engine.gate.clear()
    gathers = collector(engine, None, **limits)
    tasks = await start(*(gathers.add([record(i)]) for i in range(5)))
    with pytest.raises(FluxaError) as caught:
        await gathers.add([record("more")])
    assert caught.value.code == ErrorCode.OVERLOADED
    assert caught.value.retry_after_s == 1.0
    engine.gate.set()
    await asyncio.gather(*tasks)
    assert await gathers.add([record("more")]) == {}


async def test_one_request_is_taken_whatever_its_size_when_nothing_waits() -> None:
    engine = Engine()
    assert await collector(engine, waiting_records=5).add([record(i) for i in range(20)]) == {}


@pytest.mark.req("PIPE-5")
async def test_a_failed_flush_fails_exactly_its_waiters() -> None:
    down = True
    engine = Engine(fails=lambda ids: DatabaseUnavailableError("gone") if down and "0" in ids else None)
    engine.gate.clear()
    gathers = collector(engine, flushes=1)
    first = await start(gathers.add([record(0)]), gathers.add([record(1)]))
    await engine.called.wait()
    rest = await start(gathers.add([record(2)]))
    engine.gate.set()
    results = await asyncio.gather(*first, *rest, return_exceptions=True)
    assert [getattr(result, "code", "stored") for result in results] == ["DBConnectionError"] * 2 + ["stored"]
    assert isinstance(results[0], FluxaError)
    assert results[0] is not results[1]
    assert results[0].retry_after_s == 1.0
    assert engine.sent == [["2"]]


@pytest.mark.req("PIPE-5")
async def test_a_poison_record_is_refused_alone() -> None:
    engine = Engine(fails=lambda ids: FluxaError(ErrorCode.DB_REJECTED, "no") if "13" in ids else None)
    gathers = collector(engine)
    results = await asyncio.gather(
        gathers.add([record(i) for i in range(10)]),
        gathers.add([record(i) for i in range(10, 20)]),
        gathers.add([record(20)]),
    )
    assert [list(result) for result in results] == [[], [3], []]
    assert sorted(int(name) for ids in engine.sent for name in ids) == [i for i in range(21) if i != 13]


async def test_when_everything_is_refused_halving_gives_up_soon() -> None:
    engine = Engine(fails=lambda _ids: FluxaError(ErrorCode.DB_REJECTED, "no such table"))
    with pytest.raises(FluxaError, match="no such table"):
        await collector(engine).add([record(i) for i in range(5000)])
    assert engine.calls < 100


async def test_an_outage_while_halving_fails_the_flush() -> None:
    def fails(ids: list[str]) -> Exception | None:
        if len(ids) > 1:
            return FluxaError(ErrorCode.DB_REJECTED, "no")
        return DatabaseUnavailableError("gone")

    with pytest.raises(FluxaError, match="gone"):
        await collector(Engine(fails=fails)).add([record(i) for i in range(4)])


async def test_an_error_nobody_foresaw_reaches_those_who_wait() -> None:
    engine = Engine(fails=lambda _ids: ZeroDivisionError("oops"))
    with pytest.raises(FluxaError) as caught:
        await collector(engine).add([record(0)])
    assert caught.value.code == ErrorCode.INTERNAL


@pytest.mark.req("PIPE-5")
async def test_an_engine_that_hangs_is_an_outage() -> None:
    engine = Engine()
    engine.gate.clear()
    gathers = collector(engine, flush_timeout_s=0.05)
    with pytest.raises(FluxaError, match="did not answer") as caught:
        await gathers.add([record(0)])
    assert caught.value.code == ErrorCode.DB_CONNECTION_ERROR
    assert gathers.held == (0, 0)


async def test_a_caller_that_leaves_harms_nobody() -> None:
    engine = Engine()
    engine.gate.clear()
    gathers = collector(engine, flushes=1)
    (gone,) = await start(gathers.add([record(0)]))
    await engine.called.wait()
    later, stays = await start(gathers.add([record(1)]), gathers.add([record(2)]))
    gone.cancel()
    later.cancel()
    await asyncio.gather(gone, later, return_exceptions=True)
    engine.gate.set()
    assert await stays == {}
    assert engine.sent == [["0"], ["2"]]
    assert gathers.held == (0, 0)


@pytest.mark.req("PIPE-5")
async def test_stopping_finishes_what_was_taken_and_takes_nothing_new() -> None:
    engine = Engine()
    engine.gate.clear()
    gathers = collector(engine, flushes=1)
    tasks = await start(gathers.add([record(0)]))
    await engine.called.wait()
    tasks += await start(gathers.add([record(1)]))
    (stopping,) = await start(gathers.stop())
    with pytest.raises(FluxaError, match="ShuttingDown"):
        await gathers.add([record(2)])
    assert not stopping.done()
    engine.gate.set()
    await stopping
    assert [task.result() for task in tasks] == [{}, {}]
    await gathers.stop()


async def test_flushes_and_outages_are_told() -> None:
    down = [True]
    engine = Engine(fails=lambda _ids: DatabaseUnavailableError("gone") if down[0] else None)
    signals = Signals()
    gathers = collector(engine, signals)
    for _ in range(2):
        with pytest.raises(FluxaError):
            await gathers.add([record(0)])
    down[0] = False
    await gathers.add([record(0), record(1)])
    await gathers.add([record(0)])
    kinds = [signal for signal in signals.heard if isinstance(signal, OutageBegan | OutageEnded)]
    assert [type(signal) for signal in kinds] == [OutageBegan, OutageEnded]
    flushes = [signal for signal in signals.heard if isinstance(signal, FlushFinished)]
    assert [(flush.events, flush.status) for flush in flushes] == [
        (1, Status.FAILURE),
        (1, Status.FAILURE),
        (2, Status.SUCCESS),
        (1, Status.SUCCESS),
    ]


def test_envelopes_are_bounded_by_records_and_bytes_and_keep_the_order() -> None:
    records = [record(i, size=100) for i in range(7)]
    assert [len(envelope.records) for envelope in pack(records, 3, 10_000)] == [3, 3, 1]
    assert [len(envelope.records) for envelope in pack(records, 100, 1000)] == [2, 2, 2, 1]
    assert [len(envelope.records) for envelope in pack(records, 100, 1)] == [1] * 7
    assert [item.id for envelope in pack(records, 3, 1200) for item in envelope.records] == [str(i) for i in range(7)]
    assert list(pack([], 3, 1000)) == []
