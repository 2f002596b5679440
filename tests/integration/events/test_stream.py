"""The stream of new events over real HTTP: nothing skipped, nothing twice, and prompt endings (PIPE-8)."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from fluxa.events.query.follow import StreamLimits
from fluxa.events.store import EventStore
from fluxa.kernel.errors import FluxaError
from fluxa.kernel.lifecycle import cancel_and_wait
from fluxa.postgres.pool import Database
from fluxa.telemetry.catalogue import OutageBegan, OutageEnded, RequestServed
from making.querying import QueryStand, make_stand, running, stored

FAST = StreamLimits(heartbeat_s=0.1, stall_s=0.5, longest_s=3600, retry_s=0.02)


@pytest.fixture
async def stand(database: Database) -> AsyncIterator[QueryStand]:
    async with running(make_stand(database, stream=FAST)) as stand:
        yield stand


class _Stream:
    """An EventSource as a browser has it: events with their ids, and the last id seen."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self.last_id = self.seen = ""
        self._heard: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()

    async def read(self) -> None:
        """Take lines until the server ends the stream."""
        name, data = "message", list[str]()
        async for line in self.answer.aiter_lines():
            key, _, value = line.partition(": ")
            match key:
                case "id":
                    self.last_id = value
                case "data":
                    data.append(value)
                case "event":
                    name = value
                case "" if value:
                    self._heard.put_nowait(("heartbeat", None))
                case "" if data:
                    self._heard.put_nowait((name, (self.last_id, json.loads("\n".join(data)))))
                    name, data = "message", []
        self._heard.put_nowait(("closed", (self.last_id, None)))

    async def next(self, *, within_s: float = 5.0) -> tuple[str, Any]:
        """The next event: its name and its data."""
        async with asyncio.timeout(within_s):
            while True:
                name, heard = await self._heard.get()
                if name != "heartbeat":
                    self.seen, data = heard
                    return name, data

    async def ids(self, count: int) -> list[str]:
        """The ids of the next events."""
        found = []
        for _ in range(count):
            name, item = await self.next()
            assert name == "message"
            found.append(item["event"]["id"])
        return found

    async def beat(self) -> None:
        """Wait for the next sign of life; no event comes before it."""
        async with asyncio.timeout(5):
            assert await self._heard.get() == ("heartbeat", None)


@contextlib.asynccontextmanager
async def _stream(
    stand: QueryStand, tenant: str = "acme", last: str | None = None, **params: str
) -> AsyncIterator[_Stream]:
    headers = {} if last is None else {"Last-Event-ID": last}
    async with (
        stand.client(tenant) as client,
        client.stream("GET", "/v1/events/stream", params=params, headers=headers) as answer,
    ):
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/event-stream"
        stream = _Stream(answer)
        reading = asyncio.create_task(stream.read())
        try:
            yield stream
        finally:
            await cancel_and_wait(reading)


@pytest.mark.req("PIPE-8")
async def test_a_stream_begins_with_what_comes_now_in_order_of_storing(stand: QueryStand) -> None:
    await stand.write(stored("before"))
    async with _stream(stand) as stream:
        assert "content-length" not in stream.answer.headers
        await stand.write(stored(1), stored(2))
        await stand.write(stored(3, data={"text": "two\nlines"}))
        name, first = await stream.next()
        assert name == "message"
        assert first["event"]["id"] == "e-1"
        assert first["event"]["data"] == {"n": 1}
        assert await stream.ids(2) == ["e-2", "e-3"]


async def test_json_that_spans_lines_arrives_whole(stand: QueryStand) -> None:
    row = stored(1)
    pretty = row.event.__class__(
        **{f: getattr(row.event, f) for f in row.event.__struct_fields__} | {"data": b'{\r\n"n":\n1\r}'}
    )
    async with _stream(stand) as stream:
        await stand.write(row._replace(event=pretty))
        assert (await stream.next())[1]["event"]["data"] == {"n": 1}


@pytest.mark.req("PIPE-8")
async def test_a_transaction_that_commits_late_is_not_skipped(stand: QueryStand) -> None:
    await stand.write(stored("month"))
    async with _stream(stand) as stream:
        await stream.beat()
        before = stream.last_id
        async with stand.database.transaction() as early:
            await EventStore().write(early, [stored("early")])
            await stand.write(stored("late"))
            with pytest.raises(TimeoutError):
                await stream.next(within_s=0.3)  # the later one waits: the earlier one may still commit
        assert await stream.ids(2) == ["e-early", "e-late"]
    async with _stream(stand, after=before) as again:
        assert await again.ids(2) == ["e-early", "e-late"]


async def test_a_transaction_that_rolls_back_holds_nothing_up(stand: QueryStand) -> None:
    await stand.write(stored("month"))
    async with _stream(stand) as stream:
        with contextlib.suppress(RuntimeError):
            async with stand.database.transaction() as early:
                await EventStore().write(early, [stored("early")])
                await stand.write(stored("late"))
                raise RuntimeError
        assert await stream.ids(1) == ["e-late"]


@pytest.mark.req("PIPE-8")
async def test_a_client_that_comes_back_goes_on_where_it_was(stand: QueryStand) -> None:
    async with _stream(stand) as stream:
        await stand.write(*(stored(number) for number in range(3)))
        assert await stream.ids(2) == ["e-0", "e-1"]
        last = stream.seen
    for start in range(3, 1503, 500):
        await stand.write(*(stored(number) for number in range(start, start + 500)))
    async with _stream(stand, last=last) as stream:
        assert await stream.ids(1501) == [f"e-{number}" for number in range(2, 1503)]
    async with _stream(stand, after=last, type="flight.departed") as stream:
        assert await stream.ids(1) == ["e-2"]


async def test_a_client_learns_its_position_before_the_first_event(stand: QueryStand) -> None:
    async with _stream(stand) as stream:
        await stream.beat()
        last = stream.last_id
    await stand.write(stored(1))
    async with _stream(stand, last=last) as stream:
        assert await stream.ids(1) == ["e-1"]


async def test_a_filtered_stream_gets_only_what_it_asked_for(stand: QueryStand) -> None:
    async with (
        _stream(stand, type="a") as by_type,
        _stream(stand, source="/s") as by_source,
        _stream(stand, subject="x") as by_subject,
    ):
        await stand.write(stored(1, type="a"), stored(2, source="/s"), stored(3, subject="x"), stored(4))
        await stand.write(stored(5, type="a", source="/s", subject="x"))
        assert await by_type.ids(2) == ["e-1", "e-5"]
        assert await by_source.ids(2) == ["e-2", "e-5"]
        assert await by_subject.ids(2) == ["e-3", "e-5"]


@pytest.mark.req("PIPE-8")
async def test_a_rare_event_far_behind_is_found_in_steps_with_signs_of_life(database: Database) -> None:
    limits = StreamLimits(heartbeat_s=0.0)
    async with running(make_stand(database, stream=limits)) as stand:
        async with _stream(stand) as stream:
            await stream.beat()
            begin = stream.last_id
        for start in range(0, 2000, 500):
            await stand.write(*(stored(number) for number in range(start, start + 500)))
        await stand.write(stored("rare", type="rare"))
        async with _stream(stand, last=begin, type="rare") as stream:
            await stream.beat()
            assert await stream.ids(1) == ["e-rare"]


async def test_a_stream_shows_its_own_tenant_only_also_when_it_catches_up(stand: QueryStand) -> None:
    async with _stream(stand) as ours, _stream(stand, "other") as theirs:
        await ours.beat()
        begin = ours.last_id
        await stand.write(stored(1, tenant="other"), stored(2))
        await stand.write(stored(3, tenant="other"))
        assert await ours.ids(1) == ["e-2"]
        assert await theirs.ids(2) == ["e-1", "e-3"]
        await stand.write(stored(4))
        assert await ours.ids(1) == ["e-4"]
    async with _stream(stand, last=begin) as ours:
        assert await ours.ids(2) == ["e-2", "e-4"]


async def test_many_followers_share_one_reader(stand: QueryStand) -> None:
    async with contextlib.AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(_stream(stand)) for _ in range(10)]
        await stand.write(*(stored(number) for number in range(50)))
        for stream in streams:
            assert await stream.ids(50) == [f"e-{number}" for number in range(50)]
        assert len(stand.tailer._rings) == 1
    async with asyncio.timeout(5):
        while stand.tailer._rings:  # noqa: ASYNC110 - the rings do not call back
            await asyncio.sleep(0.01)


async def test_heavy_events_are_followed_in_short_batches_and_all_arrive(stand: QueryStand) -> None:
    heavy: dict[str, Any] = {f"x{number}": "x" * 1024 for number in range(64)}
    async with _stream(stand) as stream:
        await stand.write(*(stored(number, **heavy) for number in range(100)))
        assert await stream.ids(100) == [f"e-{number}" for number in range(100)]


async def test_a_follower_behind_the_ring_misses_nothing(stand: QueryStand) -> None:
    stand.tailer._ring_bytes = 2000
    async with _stream(stand) as slow:
        await stand.write(stored("month"))
        for start in range(0, 300, 100):
            await stand.write(*(stored(number) for number in range(start, start + 100)))
        assert await slow.ids(301) == ["e-month", *(f"e-{number}" for number in range(300))]


async def test_a_client_that_does_not_read_loses_its_stream_and_not_its_place(stand: QueryStand) -> None:
    async with stand.client() as client:
        port = client.base_url.port
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
    request = f"GET /v1/events/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {stand.keys['acme']}\r\n\r\n"
    writer.write(request.encode())
    await reader.readuntil(b"\r\n\r\n")
    for start in range(0, 2000, 100):
        rows = (stored(number, data="x" * 7000) for number in range(start, start + 100))
        await stand.write(*rows)
    served = await stand.signals.wait_for(RequestServed, lambda signal: signal.route == "stream_events", timeout_s=30)
    assert served.status == 200
    writer.close()


@pytest.mark.req("PIPE-8")
async def test_an_outage_of_postgres_pauses_the_stream_and_loses_nothing(stand: QueryStand) -> None:
    async with _stream(stand) as stream:
        await stand.write(stored(1))
        assert await stream.ids(1) == ["e-1"]
        await stand.database.stop()
        began = await stand.signals.wait_for(OutageBegan)
        assert began.dependency == "database"
        await stream.beat()
        await stand.database.start()
        await stand.signals.wait_for(OutageEnded)
        await stand.write(stored(2))
        assert await stream.ids(1) == ["e-2"]


@pytest.mark.req("PIPE-11")
async def test_a_stream_ends_promptly_and_says_so_when_the_server_stops(database: Database) -> None:
    async with contextlib.AsyncExitStack() as stack:
        async with running(make_stand(database)) as stand:
            stream = await stack.enter_async_context(_stream(stand))
            await stand.write(stored(1))
            await stream.ids(1)
            began = asyncio.get_running_loop().time()
            await stand.tailer.stop()
            name, data = await stream.next(within_s=2)
            assert (name, "shutting down" in data["reason"]) == ("end", True)
            with pytest.raises(FluxaError, match="ShuttingDown"):
                await stand.tailer.follow("acme")  # type: ignore[arg-type]
            assert (await stream.next())[0] == "closed"
        assert asyncio.get_running_loop().time() - began < 3


async def test_a_stream_ends_when_its_client_goes(stand: QueryStand) -> None:
    async with _stream(stand):
        pass
    await stand.signals.wait_for(RequestServed, lambda signal: signal.route == "stream_events", timeout_s=5)
    assert not stand.tailer._rings


async def test_a_stream_that_is_too_old_ends_so_that_the_credential_is_checked_again(database: Database) -> None:
    limits = StreamLimits(heartbeat_s=0.05, longest_s=0.2)
    async with running(make_stand(database, stream=limits)) as stand, _stream(stand) as stream:
        name, data = await stream.next()
        assert (name, "connect again" in data["reason"]) == ("end", True)


async def test_too_many_streams_are_told_to_come_back(stand: QueryStand) -> None:
    stand.tailer._followers_max = 1
    async with _stream(stand), stand.client() as client:
        answer = await client.get("/v1/events/stream")
        assert answer.status_code == 429
        assert answer.headers["retry-after"] == "5"


@pytest.mark.parametrize(
    ("params", "last", "pointer"),
    [
        ({"after": "zz"}, None, "/after"),
        ({}, "zz", "/Last-Event-ID"),
        ({"limit": "1"}, None, "/limit"),
        ({"after": "5.-1"}, None, "/after"),
    ],
)
async def test_a_position_that_is_none_of_ours_is_refused(
    stand: QueryStand, params: dict[str, str], last: str | None, pointer: str
) -> None:
    headers = {} if last is None else {"Last-Event-ID": last}
    async with stand.client() as client:
        answer = await client.get("/v1/events/stream", params=params, headers=headers)
    assert answer.status_code == 400
    assert answer.json()["pointer"] == pointer
    assert not stand.tailer._rings


async def test_a_position_from_another_database_is_refused_instead_of_waiting_for_ever(stand: QueryStand) -> None:
    async with stand.client() as client:
        answer = await client.get("/v1/events/stream", params={"after": "999999999999.1"})
    assert (answer.status_code, answer.json()["code"]) == (409, "Refused")
    assert "another database" in answer.json()["detail"]
    assert not stand.tailer._rings


async def test_head_of_a_stream_ends_at_once(stand: QueryStand) -> None:
    async with stand.client() as client:
        answer = await client.head("/v1/events/stream")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/event-stream"
