"""A real stack tells a real collector one connected trace for each event that is posted."""

import asyncio
import json
from collections import Counter
from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from fluxa.application import Fluxa
from fluxa.kernel.clock import SystemClock
from fluxa.postgres.pool import Database
from fluxa.queue.backends.pgmq import PgmqBackend
from fluxa.queue.producer import Producer
from fluxa.telemetry import trace
from fluxa.telemetry.catalogue.spans import SpanName
from integration.process.traces.tap import Tap, facts, following, ids, tapping
from integration.providers.receivers import answering, receiver
from making.stack import fluxa, stack

pytestmark = [pytest.mark.req("OBS-2", "PIPE-10")]

_THEIRS = "0af7651916cd43dd8448eb211c80319c"


def _event(name: str, **more: str) -> dict[str, object]:
    return {"specversion": "1.0", "id": name, "source": "/t", "type": "t", "data": 1, **more}


def _stored(tap: Tap) -> dict[str, Span]:
    return {str(facts(span)["messaging.message.id"]): span for span in tap.named("process events")}


async def test_each_event_has_one_trace_from_the_request_to_its_storing(tmp_path: Path) -> None:
    async with tapping() as tap:
        standard = {"OTEL_ENABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": tap.url}
        async with stack(tmp_path, **standard) as program:
            url = program.state["ingest_url"]
            headers = {"authorization": f"Bearer {program.api_key}", "content-type": "application/cloudevents+json"}
            async with httpx.AsyncClient(headers=headers, trust_env=False) as client:
                answers = [
                    await client.post(f"{url}/v1/events", json=_event("plain")),
                    await client.post(
                        f"{url}/v1/events",
                        json=_event("joined"),
                        headers={"traceparent": f"00-{_THEIRS}-b7ad6b7169203331-01"},
                    ),
                    await client.post(
                        f"{url}/v1/events", json=_event("own", traceparent=f"00-{'c' * 32}-{'d' * 16}-01")
                    ),
                ]
                await tap.until(lambda _spans: {"plain", "joined", "own"} <= set(_stored(tap)))
                scraped = (await client.get(f"{url}/metrics")).text
            done = await asyncio.to_thread(lambda: fluxa("metrics", "check", "--json", home=tmp_path))
    assert [answer.status_code for answer in answers] == [202, 202, 202]
    spans = {ids(span)[1]: span for span in tap.spans}
    for name, story, above in (
        ("plain", answers[0].headers["x-correlation-id"], ["send events", "POST /v1/events"]),
        ("joined", _THEIRS, ["send events", "POST /v1/events"]),
        ("own", "c" * 32, ["create events"]),
    ):
        span, chain = _stored(tap)[name], []
        assert ids(span)[0] == story, name
        while (parent := spans.get(ids(span)[2])) is not None:
            assert ids(parent)[0] == story
            chain.append(parent.name)
            span = parent
        assert chain == above, name
    assert facts(tap.named("POST /v1/events")[0])["http.response.status_code"] == 202
    linked = {link.span_id.hex() for one in tap.named("flush events") for link in one.links}
    assert {ids(span)[1] for span in tap.named("send events")} <= linked
    assert "fluxa_tracing_enabled 1.0" in scraped
    (exporters,) = (one for one in json.loads(done.stdout)["checks"] if one["check"] == "trace_export")
    assert (exporters["verdict"], exporters["said"]) == ("ok", "on in all 4, exporters up")


_QUEUE = "package_generation"
_EVENTS = 50
_TO_STORE = ["process events", "send events", "POST /v1/events", "POST /orders"]
_TO_PROVIDER = [f"call {_QUEUE}", f"process {_QUEUE}", f"send {_QUEUE}", "POST /orders"]


async def test_each_of_fifty_events_has_one_connected_trace_from_a_request_to_its_storing_and_to_a_provider(
    tmp_path: Path, database: Database, database_url: str
) -> None:
    """A shop takes an order in a span of its own, posts its event, and hands its work to a queue that is delivered."""
    async with tapping() as tap, receiver(answering()) as provider:
        endpoint = {_QUEUE: {"url": provider.url, "allow_private": True}}
        settings = {
            "OTEL_ENABLED": "true",
            "OTEL_EXPORTER_OTLP_ENDPOINT": tap.url,
            "FLUXA_DATABASE_URL": database_url,
            "FLUXA_EXTERNAL_QUEUES": json.dumps(endpoint),
        }
        async with stack(tmp_path, **settings) as program, following(tap.url):
            url = f"{program.state['ingest_url']}/v1/events"
            headers = {"authorization": f"Bearer {program.api_key}", "content-type": "application/cloudevents+json"}
            engine = PgmqBackend(database, listener=None, notifier=None, clock=SystemClock())
            producer = Producer(engine, Fluxa().registry, SystemClock())

            async def order(number: int, client: httpx.AsyncClient) -> tuple[str, str]:
                with trace.span(SpanName.SERVE, "POST /orders"):
                    place = trace.traceparent() or ""
                    answer = await client.post(url, json=_event(f"e{number}"), headers={"traceparent": place})
                    assert answer.status_code == httpx.codes.ACCEPTED
                    (record,) = await producer.send(_QUEUE, [{"n": number}])
                return place[3:35], record

            async with httpx.AsyncClient(headers=headers, trust_env=False, timeout=30) as client:
                orders = await asyncio.gather(*(order(number, client) for number in range(_EVENTS)))
            await tap.until(lambda spans: _ends(spans) == {"process events": _EVENTS, f"call {_QUEUE}": _EVENTS})
        # Everything has ended, and has sent what it had.
    for number, (story, record) in enumerate(orders):
        of = {ids(span)[1]: span for span in tap.spans if ids(span)[0] == story}
        roots = [span for span in of.values() if ids(span)[2] not in of]
        assert [root.name for root in roots] == ["POST /orders"], f"{number} is torn"
        assert ids(roots[0])[2] == ""
        (stored,) = (span for span in of.values() if span.name == "process events")
        assert facts(stored)["messaging.message.id"] == f"e{number}"
        assert _upwards(stored, of) == _TO_STORE
        (call,) = (span for span in of.values() if span.name == f"call {_QUEUE}")
        assert _upwards(call, of) == _TO_PROVIDER
        (delivered,) = (one for one in provider.received if one.headers["webhook-id"] == record)
        place = delivered.headers["traceparent"]
        assert place[:52] == f"00-{story}-{ids(call)[1]}"
        assert trace.is_sampled(place)
        assert len(of) == len({*_TO_STORE, *_TO_PROVIDER}), [span.name for span in of.values()]


def _ends(spans: list[Span]) -> dict[str, int]:
    """How many there are of those that end a trace."""
    return dict(Counter(span.name for span in spans if span.name in {"process events", f"call {_QUEUE}"}))


def _upwards(span: Span, of: dict[str, Span]) -> list[str]:
    """Its name, its parent's, and so on."""
    names = [span.name]
    while (parent := of.get(ids(span)[2])) is not None:
        names.append(parent.name)
        span = parent
    return names
