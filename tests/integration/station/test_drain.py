"""`POST /process-queues`: bounded, honest, and safe beside workers and beside itself."""

import asyncio
import datetime as dt
import json
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import httpx
import pytest

from fluxa.application import Fluxa
from fluxa.kernel.clock import SystemClock
from fluxa.kernel.errors import FluxaError
from fluxa.postgres.pool import Database
from fluxa.queue.outcome import Outcome, Snooze
from fluxa.queue.policy import RetryPolicy
from fluxa.queue.registry import QueueSpec, Registry
from fluxa.queue.worker.handlers import JobInfo
from fluxa.resilience.breaker import BreakerPolicy
from integration.queue.health.looking import as_stranger
from making.callers.calls import signed
from making.station import StationStand, open_station, record

PATH = "/process-queues"
NO_RETRY_SOON = RetryPolicy(base_s=60.0, cap_s=60.0)


def _app(*specs: QueueSpec) -> Fluxa:
    return Fluxa(Registry(specs or (QueueSpec("jobs", priority=1), QueueSpec("mails", priority=2))))


async def _post(stand: StationStand, **asked: object) -> httpx.Response:
    body = json.dumps(asked).encode() if asked else b""
    async with httpx.AsyncClient(base_url=stand.url, timeout=60) as client:
        return await client.post(PATH, content=body, headers=signed(PATH, body=body))


async def _drain(stand: StationStand, **asked: object) -> dict[str, Any]:
    answer = await _post(stand, **asked)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def _of(found: dict[str, Any], queue: str) -> dict[str, Any]:
    result: dict[str, Any] = next(one for one in found["summary"]["results"] if one["queue"] == queue)
    return result


@pytest.mark.req("QUEUE-12")
async def test_all_that_waits_is_worked_off_and_the_summary_has_the_names_callers_know(database: Database) -> None:
    app, seen = _app(QueueSpec("jobs"), QueueSpec("mails", priority=2), QueueSpec("idle")), Counter[str]()

    @app.handler("jobs")
    async def job(_body: dict[str, int], info: JobInfo) -> None:
        seen[info.id] += 1

    @app.handler("mails")
    async def mails(_bodies: Sequence[dict[str, int]], infos: Sequence[JobInfo]) -> None:
        seen.update(info.id for info in infos)

    async with open_station(database, app=app) as stand:
        await stand.send("jobs", *(record(number) for number in range(40)))
        await stand.send("mails", *(record(number) for number in range(100, 125)))
        found = await _drain(stand)
    assert found["success"] is True
    assert found["summary"] | {"results": []} == {
        "totalQueues": 3,
        "queuesWithMessages": 2,
        "queuesUnknown": 0,
        "queuesProcessed": 2,
        "totalMessagesProcessed": 65,
        "results": [],
    }
    assert [one["queue"] for one in found["summary"]["results"]] == ["mails", "jobs"]
    assert _of(found, "jobs") == {
        "queue": "jobs",
        "success": True,
        "queueLength": 40,
        "processed": 40,
        "outcomes": {"done": 40, "retried": 0, "dead": 0, "snoozed": 0, "lost": 0},
        "remaining": 0,
        "skipped": None,
        "detail": "",
    }
    assert set(seen.values()) == {1}
    assert len(seen) == 65


@pytest.mark.req("QUEUE-12")
async def test_each_outcome_is_counted_and_a_failure_is_no_success(database: Database) -> None:
    app = _app(QueueSpec("jobs", retry=NO_RETRY_SOON, breaker=BreakerPolicy(failures=100)), QueueSpec("mails"))

    @app.handler("jobs")
    async def job(body: dict[str, int]) -> Outcome | None:
        match body["n"] % 4:
            case 1:
                raise FluxaError("ProviderThrottled", "slow down")
            case 2:
                raise FluxaError("ProviderRejected", "never")
            case 3:
                return Snooze(SystemClock().now() + dt.timedelta(hours=1))
        return None

    @app.handler("mails")
    async def mail(_body: dict[str, int]) -> None: ...

    async with open_station(database, app=app) as stand:
        await stand.send("jobs", *(record(number, body=b'{"n": %d}' % number) for number in range(20)))
        await stand.send("mails", record(1))
        found = await _drain(stand)
        again = await _drain(stand)
        held = await stand.backend.metrics("jobs")
    jobs = _of(found, "jobs")
    assert jobs["outcomes"] == {"done": 5, "retried": 5, "dead": 5, "snoozed": 5, "lost": 0}
    assert (jobs["processed"], jobs["remaining"], jobs["success"]) == (5, 10, False)
    assert (_of(found, "mails")["success"], found["success"]) == (True, False)
    assert (held.depth, held.dead) == (10, 5)
    # What waits for later is there, and there was nothing to do: no failure.
    assert (_of(again, "jobs")["success"], _of(again, "jobs")["remaining"]) == (True, 10)


@pytest.mark.req("QUEUE-12")
async def test_queues_that_are_paused_or_have_no_handler_are_left_alone_and_named(database: Database) -> None:
    app, seen = _app(), Counter[str]()

    @app.handler("jobs")
    async def job(_body: dict[str, int], info: JobInfo) -> None:
        seen[info.id] += 1

    async with open_station(database, app=app) as stand, stand.client() as client:
        await stand.send("jobs", record(1))
        await stand.send("mails", record(2))
        await client.post("/api/queues/jobs/pause", json={"reason": "the provider is down"})
        found = await _drain(stand)
        assert [(one["queue"], one["skipped"]) for one in found["summary"]["results"]] == [
            ("jobs", "paused"),
            ("mails", "no_handler"),
        ]
        assert (found["success"], _of(found, "jobs")["remaining"], seen) == (True, 1, Counter())
        await client.post("/api/queues/jobs/resume")
        async with asyncio.timeout(10):  # the station hears of it within a moment
            while not seen:
                await _drain(stand)
        assert seen == Counter({"r-1": 1})


@pytest.mark.req("QUEUE-6", "QUEUE-12")
async def test_a_breaker_that_opened_stays_open_for_the_next_call_and_burns_no_attempts(database: Database) -> None:
    spec = QueueSpec("jobs", concurrency=1, retry=NO_RETRY_SOON, breaker=BreakerPolicy(failures=3, rest_s=600.0))
    app, calls = _app(spec), Counter[str]()

    @app.handler("jobs")
    async def job(_body: dict[str, int], info: JobInfo) -> None:
        calls[info.id] += 1
        raise FluxaError("ProviderUnavailable", "gone")

    async with open_station(database, app=app) as stand:
        await stand.send("jobs", *(record(number) for number in range(30)))
        first = _of(await _drain(stand), "jobs")
        burnt = calls.total()
        second = _of(await _drain(stand), "jobs")
    assert burnt <= 4
    assert (first["success"], first["remaining"], "rests" in first["detail"]) == (False, 30, True)
    assert (second["success"], second["skipped"]) == (False, "breaker_open")
    assert calls.total() == burnt


@pytest.mark.req("QUEUE-7", "QUEUE-12")
async def test_a_queue_that_cannot_tell_what_it_holds_is_worked_off_all_the_same(database: Database) -> None:
    app, seen = _app(), Counter[str]()

    @app.handler("jobs")
    async def job(_body: dict[str, int], info: JobInfo) -> None:
        seen[info.id] += 1

    async with open_station(database, app=app) as first:
        await first.send("jobs", *(record(number) for number in range(5)))
    async with as_stranger(database) as (pool, role):
        await database.execute(f"grant create on schema pgmq to {role}")
        await database.execute(f"alter role {role} bypassrls")  # as the owner of the tables has it
        for row in await database.fetch("select tablename from pg_tables where schemaname = 'pgmq'"):
            await database.execute(f'alter table pgmq."{row["tablename"]}" owner to {role}')
        # What a queue holds includes its dead letters.
        await database.execute(f"revoke select on table pgmq.q_jobs_dlq from {role}")  # noqa: S608 - a test's own role
        async with open_station(pool, app=app) as stand:
            found = await _drain(stand, queues=["jobs"])
    jobs = _of(found, "jobs")
    assert (jobs["queueLength"], jobs["remaining"], jobs["processed"]) == (None, None, 5)
    assert jobs["detail"]
    assert (found["summary"]["queuesUnknown"], found["summary"]["queuesWithMessages"]) == (1, 0)
    assert set(seen.values()) == {1}


@pytest.mark.req("QUEUE-5", "QUEUE-12")
async def test_when_the_time_is_over_what_hangs_goes_back_and_keeps_no_other_queue_waiting(database: Database) -> None:
    app, begun = _app(QueueSpec("jobs", priority=1, concurrency=2), QueueSpec("mails", priority=9)), asyncio.Event()

    @app.handler("jobs")
    async def hang(_body: dict[str, int]) -> None:
        begun.set()
        await asyncio.Event().wait()

    @app.handler("mails")
    async def mail(_body: dict[str, int]) -> None: ...

    async with open_station(database, app=app) as stand:
        await stand.send("jobs", *(record(number) for number in range(9)))
        await stand.send("mails", *(record(number) for number in range(50)))
        began = time.monotonic()
        found = await _drain(stand, budget_s=1)
        took_s = time.monotonic() - began
        assert begun.is_set()
        assert took_s < 10
        assert (_of(found, "mails")["processed"], _of(found, "jobs")["processed"]) == (50, 0)
        assert _of(found, "jobs")["remaining"] == 9
        held = await stand.backend.claim("jobs", limit=20, lease_s=5)
    assert len(held) == 9, "all of them can be claimed at once: their leases were given back"
    assert all(delivery.records[0].attempt <= 1 for delivery in held)


@pytest.mark.req("QUEUE-12")
async def test_calls_side_by_side_do_each_record_once(database: Database) -> None:
    app, seen = _app(), Counter[str]()

    @app.handler("jobs")
    async def job(_body: dict[str, int], info: JobInfo) -> None:
        await asyncio.sleep(0.001)
        seen[info.id] += 1

    @app.handler("mails")
    async def mail(_body: dict[str, int], info: JobInfo) -> None:
        seen[info.id] += 1

    async with open_station(database, app=app) as stand, open_station(database, app=app) as other:
        await stand.send("jobs", *(record(number) for number in range(300)))
        await stand.send("mails", *(record(number) for number in range(300, 400)))
        found = await asyncio.gather(
            _drain(stand), _drain(stand, queues=["jobs"]), _drain(stand, queues=["mails"]), _drain(other)
        )
        left = [await stand.backend.metrics(queue) for queue in ("jobs", "mails")]
    assert sum(one["summary"]["totalMessagesProcessed"] for one in found) == 400
    assert (len(seen), set(seen.values())) == (400, {1})
    assert [one.depth for one in left] == [0, 0]


@pytest.mark.req("QUEUE-12")
async def test_only_the_queues_that_are_named_are_touched(database: Database) -> None:
    app, seen = _app(), Counter[str]()

    @app.handler("jobs")
    async def job(_body: dict[str, int], info: JobInfo) -> None:
        seen[info.id] += 1

    app.handler("mails")(job)
    async with open_station(database, app=app) as stand:
        await stand.send("jobs", record(1))
        await stand.send("mails", record(2))
        found = await _drain(stand, queues=["mails"])
        assert (found["summary"]["totalQueues"], seen) == (1, Counter({"r-2": 1}))
        unknown = await _post(stand, queues=["mials"])
        assert (unknown.status_code, "Did you mean mails?" in unknown.json()["detail"]) == (404, True)
        for asked in ({"budget_s": 0}, {"budget_s": "5"}, {"queues": "mails"}, {"budget": 5}):
            assert (await _post(stand, **asked)).status_code == 400


@pytest.mark.req("QUEUE-12")
async def test_with_nothing_to_do_it_answers_at_once(database: Database) -> None:
    async with open_station(database) as stand:
        found = await _drain(stand)
    assert (found["success"], found["summary"]["results"]) == (True, [])
    assert found["elapsedSeconds"] < 5
