"""Pausing and resuming queues over HTTP."""

import pytest

from fluxa.postgres.pool import Database
from fluxa.queue.health.controls import Controls
from making.station import open_station


@pytest.mark.req("QUEUE-2", "QUEUE-10")
async def test_a_queue_is_paused_with_a_reason_and_resumed(database: Database) -> None:
    async with open_station(database) as stand, stand.client() as client:
        paused = await client.post("/api/queues/jobs/pause", json={"reason": "the provider is down"})
        assert paused.status_code == 200
        facts = {"queue": "jobs", "paused": True, "by": "default key", "reason": "the provider is down"}
        assert paused.json().items() >= facts.items()
        [control] = await Controls(database).all()
        assert (control.queue, control.paused, control.by) == ("jobs", True, "default key")
        resumed = await client.post("/api/queues/jobs/resume")
        assert (resumed.status_code, resumed.json()["paused"]) == (200, False)
        assert [one.paused for one in await Controls(database).all()] == [False]


@pytest.mark.parametrize(
    ("body", "status", "pointer"),
    [
        (b"", 400, None),
        (b"{", 400, None),
        (b"[]", 400, None),
        (b"{}", 400, None),
        (b'{"reason": ""}', 400, "/reason"),
        (b'{"reason": "  "}', 400, "/reason"),
        (b'{"reason": 5}', 400, "/reason"),
        (b'{"reason": "x", "for": 5}', 400, None),
        (b'{"reason": "\xff"}', 400, None),
        (b'{"reason": "' + b"x" * 1001 + b'"}', 400, "/reason"),
        (b"[" * 100_000, 400, None),
        (b" " * (1024 * 1024 + 1), 413, None),
    ],
)
async def test_a_pause_without_a_proper_reason_is_refused(
    database: Database, body: bytes, status: int, pointer: str | None
) -> None:
    async with open_station(database) as stand, stand.client() as client:
        answer = await client.post("/api/queues/jobs/pause", content=body)
        assert answer.status_code == status, answer.text
        assert answer.json().get("pointer") == pointer
        assert await Controls(database).all() == []


async def test_a_queue_that_is_not_there_is_named_with_the_nearest(database: Database) -> None:
    async with open_station(database) as stand, stand.client() as client:
        for path in ("jobz/pause", "jobz/resume", "jobz/dead-letters", "jobz/dead-letters/1"):
            method = "GET" if "dead" in path else "POST"
            answer = await client.request(method, f"/api/queues/{path}", json={"reason": "x"})
            assert (answer.status_code, answer.json()["code"]) == (404, "NotFound"), path
            assert "Did you mean jobs?" in answer.json()["detail"]
