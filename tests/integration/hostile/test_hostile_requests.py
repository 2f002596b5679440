"""The file of hostile requests against the door over raw sockets: clear refusals, no traceback, bounded memory."""

import asyncio
import base64
import contextlib
import json
import resource
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from fluxa.postgres.pool import Database
from making.door import Stand, open_door

REQUESTS: list[dict[str, Any]] = json.loads((Path(__file__).parent / "requests.json").read_text("utf-8"))
GROWTH_MAX_BYTES = 200 * 1024 * 1024
VALID = b'{"specversion":"1.0","id":"fine","source":"/s","type":"fine"}'
KEY = b"authorization: Bearer key-acme\r\n"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: status, headers and body; status 0 if the server just closed."""

    status: int
    headers: dict[str, str]
    body: bytes

    def problem(self) -> dict[str, Any]:
        assert self.headers["content-type"] == "application/problem+json"
        found: dict[str, Any] = json.loads(self.body)
        return found


def body_of(parts: list[Any]) -> bytes:
    """The body that a row describes: texts, base64, repetitions, numbered repetitions."""
    made = []
    for part in parts:
        if isinstance(part, str):
            made.append(part.encode())
        elif "base64" in part:
            made.append(base64.b64decode(part["base64"]))
        elif "numbered" in part:
            made.append("".join(part["numbered"].replace("#", str(n)) for n in range(part["times"])).encode())
        else:
            made.append(part["text"].encode() * part["times"])
    return b"".join(made)


async def talk(stand: Stand, raw: bytes, *, hold_open: bool = True) -> Answer:
    """Send bytes as they are and read one answer, also while the server does not read."""
    url = httpx.URL(str(stand.client.base_url))
    reader, writer = await asyncio.open_connection("127.0.0.1", url.port)

    async def write() -> None:
        with contextlib.suppress(ConnectionError):
            writer.write(raw)
            await writer.drain()
            if not hold_open:
                writer.write_eof()

    writing = asyncio.create_task(write())
    try:
        async with asyncio.timeout(20):
            return await _answer(reader)
    finally:
        writing.cancel()
        writer.transport.abort()


async def _answer(reader: asyncio.StreamReader) -> Answer:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return Answer(0, {}, b"")
    first, *lines = head.decode("latin-1").strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    assert len(headers) == len(lines), "a header was sent twice"
    length = headers.get("content-length")
    body = await reader.readexactly(int(length)) if length else await reader.read()
    return Answer(int(first.split()[1]), headers, body)


def raw_request(row: dict[str, Any]) -> bytes:
    body = body_of(row["body"])
    head = f"{row.get('method', 'POST')} {row.get('path', '/v1/events')} HTTP/1.1\r\nhost: x\r\n".encode() + KEY
    for name, value in row["headers"]:
        head += f"{name}: {value}\r\n".encode("latin-1")
    return head + b"content-length: %d\r\n\r\n" % len(body) + body


@pytest.fixture
async def stand(database: Database, tmp_path: Path) -> AsyncIterator[Stand]:
    async with open_door(database, tmp_path / "objects", body_timeout_s=0.5) as found:
        yield found
        answer = await found.client.post(
            "/v1/events", content=VALID, headers={"content-type": "application/cloudevents+json"}
        )
        assert answer.status_code == 202, "the door does not work any more"
        assert "Traceback" not in found.log.getvalue()
        assert "request failed" not in found.log.getvalue()


@pytest.mark.req("PIPE-1", "PIPE-2", "PIPE-3")
async def test_every_hostile_request_is_refused_clearly_within_bounded_memory(stand: Stand) -> None:
    await talk(stand, raw_request(REQUESTS[0]))
    before = _peak_bytes()
    wrong = []
    for row in REQUESTS:
        raw = raw_request(row)
        answer = await talk(stand, raw)
        problem = answer.problem() if answer.status >= 400 else {}
        expected = (row["status"], row["code"], row.get("pointer", problem.get("pointer")))
        found = (answer.status, problem.get("code"), problem.get("pointer"))
        if found != expected:
            wrong.append(f"{row['name']}: {found} instead of {expected}")
        if len(problem.get("detail", "")) > 500:
            wrong.append(f"{row['name']}: a detail of {len(problem['detail'])} characters")
        grown = _peak_bytes() - before
        if grown > GROWTH_MAX_BYTES:
            wrong.append(f"{row['name']}: {grown >> 20} MiB more memory than before")
            before += grown
    assert not wrong, "\n".join(wrong)
    assert await stand.queued() == []


def _peak_bytes() -> int:
    """The most memory that this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _post(*lines: bytes, key: bytes = KEY) -> bytes:
    structured = b"content-type: application/cloudevents+json\r\n"
    return b"POST /v1/events HTTP/1.1\r\nhost: x\r\n" + key + structured + b"".join(line + b"\r\n" for line in lines)


LENGTH = b"content-length: %d\r\n" % len(VALID)


@pytest.mark.req("PIPE-2")
@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (_post(b"transfer-encoding: chunked", b"", b"zz", VALID), 400),
        (_post(b"transfer-encoding: chunked", b"", b"-1", b"x"), 400),
        (_post(b"transfer-encoding: chunked", b"", b"ffffffffffffffffff", b"x"), 400),
        (_post(b"content-length: abc", b"", VALID), 400),
        (_post(b"content-length: -1", b"", VALID), 400),
        (_post(b"content-length: 5", b"content-length: 61", b"", VALID), 400),
        (_post(b"content-length: 5", b"transfer-encoding: chunked", b"", VALID), 400),
        (_post(b"content-length: 99999999999999999999999", b"", VALID), 400),
        (_post(b"content-length: 11000000", b"", VALID), 413),
        (_post(b"x-bad: a\rb", b"", b""), 400),
        (_post(b"x bad: a", b"", b""), 400),
        (_post(b"x-bad: \x00", b"", b""), 400),
        (b"GARBAGE\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", 400),
        (b"POST /v1/events HTTP/9.9\r\n\r\n", 400),
        (_post(b"x-long: " + b"y" * 200_000, b"", b""), 400),
        (_post(LENGTH.strip(), b"", VALID, key=b""), 401),
        (_post(LENGTH.strip(), b"", VALID, key=b"authorization: Bearer \xff\xfe\r\n"), 401),
        (_post(LENGTH.strip(), b"", VALID, key=b"authorization: Basic eDp5\r\n"), 401),
        (_post(LENGTH.strip(), b"", VALID, key=b"authorization: Bearer " + b"k" * 5000 + b"\r\n"), 401),
    ],
    ids=lambda value: repr(value[20:70]) if isinstance(value, bytes) else str(value),
)
async def test_a_request_that_is_no_http_is_refused(stand: Stand, raw: bytes, status: int) -> None:
    answer = await talk(stand, raw)
    assert answer.status == status


@pytest.mark.req("PIPE-2")
async def test_a_slow_body_ends_in_408(stand: Stand) -> None:
    answer = await talk(stand, _post(b"content-length: 1000", b"", VALID[:20])[:-2])
    assert (answer.status, answer.problem()["code"]) == (408, "RequestTimeout")
    assert answer.headers["connection"] == "close"


@pytest.mark.req("PIPE-2")
async def test_a_body_that_is_shorter_than_announced_stores_nothing(stand: Stand) -> None:
    answer = await talk(stand, _post(b"content-length: 1000", b"", VALID), hold_open=False)
    assert answer.status in {0, 400, 408}
    assert await stand.queued() == []


@pytest.mark.req("PIPE-2")
async def test_many_slow_bodies_at_once_leave_the_door_open(stand: Stand) -> None:
    slow = [asyncio.create_task(talk(stand, _post(b"content-length: 1000000", b"", b"x")[:-2])) for _ in range(50)]
    await asyncio.sleep(0)
    answer = await talk(stand, _post(LENGTH.strip(), b"", VALID))
    assert answer.status == 202
    assert {one.status for one in await asyncio.gather(*slow)} == {408}


@pytest.mark.req("PIPE-10")
@pytest.mark.parametrize("given", [b"a\tb", b"x" * 5000, b"\xff", b"a<script>", b""])
async def test_a_hostile_correlation_id_is_replaced(stand: Stand, given: bytes) -> None:
    answer = await talk(stand, _post(LENGTH.strip(), b"x-correlation-id: " + given, b"", VALID))
    assert answer.status == 202
    assert len(answer.headers["x-correlation-id"]) == 32
