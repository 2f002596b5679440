"""A real stack tells a real collector one connected trace for each event that is posted."""

from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from integration.process.traces.tap import Tap, facts, ids, tapping
from making.stack import stack

pytestmark = [pytest.mark.timeout(180), pytest.mark.req("OBS-2", "PIPE-10")]

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
