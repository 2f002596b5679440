"""One connected trace through a queue to a handler and out to a provider; a collector that fails costs spans only."""

import asyncio
import io
import json
import socket
import sys
import time
from collections.abc import AsyncIterator, Sequence

import pytest

from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.queue.record import Record
from fluxa.queue.registry import QueueSpec
from fluxa.telemetry import trace
from fluxa.telemetry.catalogue import OutageBegan, Signal
from fluxa.telemetry.catalogue.spans import SpanName
from fluxa.telemetry.log import make_logger
from fluxa.telemetry.otlp import sampler_of
from integration.process.traces.tap import Tap, facts, following, free_port, ids, tapping
from integration.providers.deliveries import config, delivering
from integration.providers.receivers import answering, receiver
from integration.worker.workshop import Workshop

pytestmark = pytest.mark.req("OBS-2")


@pytest.fixture
async def tap() -> AsyncIterator[Tap]:
    """A collector."""
    async with tapping() as found:
        yield found


async def test_a_record_is_followed_from_its_sender_to_the_provider_that_its_handler_calls(tap: Tap) -> None:
    shop = Workshop.in_memory()
    await shop.add(QueueSpec("orders"))
    lines = io.StringIO()
    logger = make_logger("worker", stream=lines)
    async with receiver(answering()) as server, delivering(config(server.url)) as out, following(tap.url) as otlp:

        @shop.app.handler("orders")
        async def handle(_record: Record) -> None:
            logger.info("at work")
            await out.deliver()

        with trace.span(SpanName.SERVE, "POST /orders"):
            await shop.producer.send("orders", [{"n": 1}])
        async with shop.running():
            await shop.empty("orders")
        await otlp.flush()
        await tap.until(lambda spans: len(spans) >= 4)
    (serve,), (send,) = tap.named("POST /orders"), tap.named("send orders")
    (process,), (call,) = tap.named("process orders"), tap.named("call package_generation")
    story, above, top = ids(serve)
    assert top == ""
    for span in (send, process, call):
        trace_id, span_id, parent = ids(span)
        assert (trace_id, parent) == (story, above), span.name
        above = span_id
    (received,) = server.received
    assert received.headers["traceparent"][:52] == f"00-{story}-{above}"
    line = json.loads(lines.getvalue())
    assert (line["trace_id"], line["span_id"]) == ids(process)[:2]
    assert facts(process)["messaging.destination.name"] == "orders"


async def test_records_that_are_worked_on_together_keep_their_own_traces_and_are_linked(tap: Tap) -> None:
    shop = Workshop.in_memory()
    await shop.add(QueueSpec("orders", batch=10, concurrency=1))
    async with following(tap.url) as otlp:

        @shop.app.handler("orders")
        async def handle(records: Sequence[dict[str, int]]) -> None:
            raise FluxaError(ErrorCode.PROVIDER_REJECTED, f"none of {len(records)}")

        for number in range(3):
            with trace.span(SpanName.SERVE, f"POST /{number}"):
                await shop.producer.send("orders", [{"n": number}])
        async with shop.running():
            await shop.empty("orders")
        await otlp.flush()
        await tap.until(lambda spans: sum(one.name == "process orders" for one in spans) >= 3)
    stories = {ids(span)[0] for span in tap.spans if span.name.startswith("POST")}
    assert {ids(span)[0] for span in tap.named("process orders")} == stories
    assert len(stories) == 3
    for whole in tap.named("settle orders"):
        assert {link.trace_id.hex() for link in whole.links} <= stories
    for span in tap.named("process orders"):
        assert facts(span)["error.type"] == "ProviderRejected"


async def test_a_trace_that_is_not_kept_upstream_is_not_told_of(tap: Tap) -> None:
    shop = Workshop.in_memory()
    await shop.add(QueueSpec("orders"))
    async with following(tap.url) as otlp:

        @shop.app.handler("orders")
        async def handle(_record: Record) -> None:
            return None

        await shop.producer.send("orders", [1], headers={"traceparent": f"00-{'a' * 32}-{'b' * 16}-00"})
        place = f"00-{'a' * 32}-{'b' * 16}-00"
        unkept = otlp.begin(SpanName.SERVE, "GET /", parent=place)
        assert unkept.traceparent == place
        unkept.note({"a": 1})
        unkept.failed("Internal")
        unkept.end()
        for odd in ("", "nonsense", f"00-{'0' * 32}-{'b' * 16}-00-"):
            assert otlp.begin(SpanName.SERVE, "GET /", parent=odd).traceparent != odd, "no place decides nothing"
        async with shop.running():
            await shop.empty("orders")
        await otlp.flush()
        await tap.until(lambda spans: len(spans) > 0)
    assert "a" * 32 not in {ids(span)[0] for span in tap.spans}


@pytest.mark.req("OBS-5")
async def test_without_a_collector_work_goes_on_and_lost_spans_are_counted(tap: Tap) -> None:
    heard: list[Signal] = []
    dead = f"http://127.0.0.1:{free_port()}"
    async with following(dead, heard=heard, timeout_s=0.2, waiting_max=100) as otlp:
        began_s = time.perf_counter()
        for _ in range(1000):
            with trace.span(SpanName.SEND, "orders"):
                pass
        assert time.perf_counter() - began_s < 5
        await otlp.flush()
        await asyncio.sleep(0)
        counts = otlp.counts
        assert counts.exported == 0
        assert counts.dropped + counts.failed == 1000
        assert counts.dropped > 0
        assert not counts.is_up
        assert [type(signal) for signal in heard] == [OutageBegan]
    async with following(tap.url, heard=heard) as otlp:
        with trace.span(SpanName.SEND, "orders"):
            pass
        await otlp.flush()
        assert otlp.counts.exported == 1


async def test_a_collector_that_never_answers_does_not_hold_up_the_end() -> None:
    began_s = time.perf_counter()
    with socket.socket() as silent_one:
        silent_one.bind(("127.0.0.1", 0))
        silent_one.listen()  # the kernel takes the connection, and nobody ever reads from it
        async with following(f"http://127.0.0.1:{silent_one.getsockname()[1]}", timeout_s=60.0):
            with trace.span(SpanName.SEND, "orders"):
                pass
        assert time.perf_counter() - began_s < 15


async def test_what_waits_is_sent_at_the_end(tap: Tap) -> None:
    async with following(tap.url):
        with trace.span(SpanName.SEND, "orders"):
            pass
    await tap.until(lambda spans: len(spans) == 1)


def test_the_samplers_are_the_standard_ones() -> None:
    for name in ("always_on", "always_off", "traceidratio", "parentbased_traceidratio", "parentbased_always_off"):
        assert sampler_of(name, "0.25").get_description()
    for name, arg in (("jaeger_remote", ""), ("traceidratio", "half"), ("traceidratio", "7")):
        with pytest.raises(FluxaError, match="otel_traces_sampler"):
            sampler_of(name, arg)


async def test_off_costs_a_look_and_no_import() -> None:
    trace.install(None)
    began_s = time.perf_counter()
    for _ in range(10_000):
        with trace.span(SpanName.SEND, "orders") as span:
            assert span is None
    assert (time.perf_counter() - began_s) / 10_000 < 20e-6
    assert trace.traceparent() is None
    code = "import sys, fluxa.apps.ingest, fluxa.apps.worker; print('opentelemetry.sdk.trace' in sys.modules)"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    said, _ = await process.communicate()
    assert said.decode().strip() == "False"
