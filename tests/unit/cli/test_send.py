"""The bulk sender against a scripted server on a real socket: batches, repeats, refusals, order."""

import asyncio
import contextlib
import io
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from fluxa.apps.serving.server import ServerLimits, bind, serve, url_of
from fluxa.cli.client.connection import Target
from fluxa.cli.client.send import Sender, SendLimits
from fluxa.cli.client.source import Line, Wrap, read_events
from fluxa.cli.client.tail import follow
from fluxa.cli.errors import CommandError
from fluxa.kernel.clock import SystemClock
from fluxa.kernel.errors import FluxaError

Answer = tuple[int, dict[str, str], dict[str, Any] | bytes]


def _accepted(count: int, *refused: dict[str, object]) -> Answer:
    return 202, {}, {"accepted": count, "refused": len(refused), "results": list(refused)}


class Script:
    """A server that gives its answers in order, the last one for ever, and keeps what it got."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.bodies: list[list[bytes]] = []
        self.headers: list[dict[bytes, bytes]] = []
        self.url = ""

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI's callables
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        self.headers.append(dict(scope["headers"]))
        self.bodies.append(body.splitlines())
        status, headers, content = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        kind = "text/event-stream" if isinstance(content, bytes) else "application/problem+json"
        fields = [(name.encode(), value.encode()) for name, value in {"content-type": kind, **headers}.items()]
        await send({"type": "http.response.start", "status": status, "headers": fields})
        text = content if isinstance(content, bytes) else json.dumps(content).encode()
        await send({"type": "http.response.body", "body": text})


@contextlib.asynccontextmanager
async def _served(*answers: Answer) -> AsyncIterator[Script]:
    script, stopping, ready = Script(*answers), asyncio.Event(), asyncio.Event()
    bound = bind("127.0.0.1", 0, setting="ingest_port")
    script.url = url_of(bound)

    async def drain() -> None:
        pass

    serving = asyncio.create_task(
        serve(script, bound, ServerLimits(timeout_s=1), stopping=stopping, ready=ready.set, drain=drain)
    )
    await ready.wait()
    try:
        yield script
    finally:
        stopping.set()
        await serving


def _lines(count: int) -> Iterator[Line]:
    return iter([Line(number, b'{"n":%d}' % number, 8) for number in range(1, count + 1)])


def _sender(script: Script, **limits: float) -> Sender:
    given: dict[str, Any] = {"requests": 1, "pause_s": 0.01, **limits}
    target = Target(script.url, script.url, "fx_key")
    return Sender(target, SendLimits(**given), clock=SystemClock(), progress=lambda _events, _bytes: None)


async def test_events_go_in_batches_with_the_key() -> None:
    async with _served(_accepted(2)) as script:
        summary = await _sender(script, batch_events=2).run(_lines(5))
    assert summary.accepted == 5
    assert sorted(line for body in script.bodies for line in body) == [b'{"n":%d}' % n for n in range(1, 6)]
    assert all(len(body) <= 2 for body in script.bodies)
    assert {headers[b"authorization"] for headers in script.headers} == {b"Bearer fx_key"}


async def test_a_batch_is_bounded_in_bytes_but_never_empty() -> None:
    async with _served(_accepted(1)) as script:
        await _sender(script, batch_bytes=10).run(_lines(3))
    assert [len(body) for body in script.bodies] == [1, 1, 1]


async def test_what_may_pass_is_repeated_after_the_time_asked_for() -> None:
    busy: Answer = (429, {"retry-after": "0"}, {"code": "Overloaded", "detail": "full"})
    down: Answer = (503, {}, {"code": "DBConnectionError", "detail": "away"})
    async with _served(busy, down, busy, _accepted(3)) as script:
        summary = await _sender(script).run(_lines(3))
    assert (summary.accepted, summary.repeats) == (3, 3)
    assert len({tuple(body) for body in script.bodies}) == 1, "the same batch each time"


async def test_what_lasts_too_long_ends_the_sending_with_the_servers_words() -> None:
    down: Answer = (503, {"retry-after": "1"}, {"code": "DBConnectionError", "detail": "Postgres is away"})
    async with _served(down) as script:
        with pytest.raises(FluxaError, match="Postgres is away"):
            await _sender(script, patience_s=0.5).run(_lines(3))


async def test_a_request_refused_for_another_reason_than_its_events_is_an_error() -> None:
    async with _served((401, {}, {"code": "Unauthenticated", "detail": "unknown key"})) as script:
        with pytest.raises(FluxaError, match="unknown key"):
            await _sender(script).run(_lines(1))
    assert len(script.bodies) == 1


async def test_refusals_are_named_by_their_line_also_when_all_are_refused() -> None:
    one = {"status": "refused", "index": 1, "code": "InvalidEvent", "detail": "no id", "pointer": "/1/id"}
    all_of_them = [{"status": "refused", "code": "MalformedJson", "detail": "what"}] * 2
    none: Answer = (422, {}, {"code": "InvalidEvent", "detail": "none", "results": all_of_them})
    async with _served(_accepted(1, one), none) as script:
        summary = await _sender(script, batch_events=2).run(_lines(4))
    assert summary.accepted == 1
    assert dict(summary.refused) == {"InvalidEvent": 1, "MalformedJson": 2}
    assert [(one["line"], one["code"]) for one in summary.examples] == [
        (2, "InvalidEvent"),
        (3, "MalformedJson"),
        (4, "MalformedJson"),
    ]


async def test_a_source_that_breaks_ends_the_sending_with_its_error() -> None:
    def broken() -> Iterator[Line]:
        yield Line(1, b"{}", 2)
        raise CommandError("MalformedJson", "the file ends in the middle", action="look")

    async with _served(_accepted(1)) as script:
        with pytest.raises(CommandError, match="in the middle"):
            await _sender(script).run(broken())


async def test_a_long_source_is_read_whole() -> None:
    async with _served(_accepted(1)) as script:
        summary = await _sender(script, batch_events=5000, requests=3).run(_lines(50_000))
    assert summary.accepted == 50_000
    assert sum(len(body) for body in script.bodies) == 50_000


async def test_a_broken_stream_is_taken_up_where_it_ended() -> None:
    first = b'id: p1\n\nid: p2\ndata: {"n":\ndata: 1}\n\n: still here\nid: p3\n\ndata: {"half'
    second = b'event: end\ndata: {"reason":"bye"}\n\nid: p4\ndata: {"n":"\xe2\x80\xa8"}\n\n'
    async with _served((200, {}, first), (503, {"retry-after": "0"}, {}), (200, {}, second)) as script:
        seen = []
        async for item in follow(lambda: Target(script.url, script.url, "k"), {"type": "t"}):
            seen.append(item)
            if len(seen) == 2:
                break
    assert seen == [{"n": 1}, {"n": "\u2028"}]
    assert [headers.get(b"last-event-id") for headers in script.headers] == [None, b"p3", b"p3"]


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        (b"", []),
        (b"\n \n", []),
        (b'{"a":1}', [b'{"a":1}']),
        (b'\xef\xbb\xbf{"a":1}\r\n{"b":2}\r\n', [b'{"a":1}', b'{"b":2}']),
        (b'{\n "a": 1\n}\n', [b'{"a":1}']),
        (b'[{"a":1},\n{"b": [\n2]}]', [b'{"a":1}', b'{"b":[2]}']),
        (b"[]", []),
        (b'{"a":1}\nnot json\n', [b'{"a":1}', b"not json"]),
    ],
)
def test_a_source_of_any_form_gives_one_text_an_event(content: bytes, texts: list[bytes]) -> None:
    assert [line.text for line in read_events(io.BytesIO(content))] == texts


def test_lines_are_numbered_as_an_editor_numbers_them() -> None:
    assert [line.number for line in read_events(io.BytesIO(b'\n{"a":1}\n\n{"b":2}\n'))] == [2, 4]


def test_only_what_is_no_event_is_wrapped() -> None:
    event = b'{"specversion":"1.0","id":"1"}'
    kept, wrapped = read_events(io.BytesIO(event + b'\n{"n":1}\n'), Wrap(type="t", source="/s", subject="x"))
    made = json.loads(wrapped.text)
    assert kept.text == event
    assert made.pop("id")
    assert made == {"specversion": "1.0", "type": "t", "source": "/s", "subject": "x", "data": {"n": 1}}
