"""The headers of the collector are exchanged while spans go out: it refuses none."""

import asyncio
from collections import Counter
from pathlib import Path

import httpx
import pytest

from fluxa.apps.query import query
from fluxa.postgres.pool import Database
from fluxa.telemetry import trace
from integration.process.rotation.stand import Files, Heard, getting, load, rotates, running
from integration.providers.receivers import Received, answering, receiver

pytestmark = [pytest.mark.req("SEC-5")]


@rotates("otel_exporter_otlp_headers")
async def test_headers_are_exchanged_while_spans_go_out(
    database: Database, tmp_path: Path, unused_tcp_port: int, heard: Heard
) -> None:
    allowed, seen, refused = {"first"}, Counter[str](), Counter[str]()

    async def collect(received: Received, writer: asyncio.StreamWriter) -> None:
        key = received.headers.get("x-key", "")
        (seen if key in allowed else refused)[key] += 1
        await answering("200 OK" if key in allowed else "401 Unauthorized")(received, writer)

    async def until(key: str) -> None:
        goal = seen[key] + 2
        async with asyncio.timeout(60):
            while seen[key] < goal:  # noqa: ASYNC110 - a count, which tells nobody
                await asyncio.sleep(0.02)

    files = Files(tmp_path)
    files.write("otel_exporter_otlp_headers", "x-key=first")
    async with receiver(collect) as collector:
        chosen = files.settings(
            database_url=database.config.url,
            query_port=unused_tcp_port,
            otel_enabled="true",
            otel_exporter_otlp_endpoint=collector.url.removesuffix("/take"),
        )
        try:
            async with (
                running(query, chosen, unused_tcp_port) as url,
                httpx.AsyncClient(base_url=url, trust_env=False, timeout=30) as client,
                load() as calls,
            ):
                calls.begin(getting(client, "/api/health"))
                await until("first")
                allowed.add("second")
                files.write("otel_exporter_otlp_headers", "x-key=second")
                await heard.taken_up("otel_exporter_otlp_headers")
                await until("second")
                allowed.discard("first")
                await until("second")
        finally:
            trace.install(None)
    assert not refused
