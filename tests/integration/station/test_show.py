"""How queues are, over HTTP: known, unknown, and what monitors are told."""

import pytest

from fluxa.kernel.clock import SystemClock
from fluxa.postgres.pool import Database
from fluxa.queue.health.reports import QueueReport, Reporter
from fluxa.queue.registry import QueueSpec, Watermarks
from fluxa.telemetry.catalogue import silent
from making.stack import until
from making.station import open_station, record

SPECS = (QueueSpec("jobs", priority=1, watermarks=Watermarks(depth=2)), QueueSpec("mails", priority=2))


@pytest.mark.req("QUEUE-10")
async def test_all_queues_are_shown_with_what_they_hold(database: Database) -> None:
    async with open_station(database) as stand, stand.client() as client:
        await stand.bury("jobs", (record(0), "ProviderRejected"))
        await stand.send("jobs", record(1), record(2))
        await client.post("/api/queues/mails/pause", json={"reason": "the provider is down"})
        found = (await client.get("/api/queues")).json()
        jobs, mails = found["queues"]
        assert (jobs["queue"], jobs["queue_length"], jobs["dead"], jobs["paused"]) == ("jobs", 2, 1, False)
        assert jobs["dead_by_code"] == {"ProviderRejected": 1}
        assert jobs["oldest_age_s"] >= 0
        assert (mails["queue"], mails["queue_length"], mails["state"]) == ("mails", 0, "paused")
        assert mails["pause"]["reason"] == "the provider is down"
        one = (await client.get("/api/queues/jobs")).json()
        assert (one["queue_length"], one["unknown"]) == (2, {})
        assert one["why_slow"] is not None
        assert jobs["why_slow"] is None


@pytest.mark.req("QUEUE-10")
async def test_what_workers_report_is_shown(database: Database) -> None:
    report = QueueReport("jobs", in_flight=3, error_streak=7, last_error_code="ProviderThrottled", breaker="open")
    reporter = Reporter(database, "w-1", lambda: [report], clock=SystemClock(), hook=silent)
    await reporter.start()
    async with open_station(database) as stand, stand.client() as client:

        async def reported() -> bool:
            return bool((await client.get("/api/queues/jobs")).json()["breaker"] == "open")

        await until(reported)
        found = (await client.get("/api/queues/jobs")).json()
        assert (found["error_streak"], found["last_error_code"], found["state"]) == (7, "ProviderThrottled", "resting")
        assert [worker["in_flight"] for worker in found["workers"]] == [3]
    await reporter.stop()


@pytest.mark.req("QUEUE-7", "QUEUE-10")
async def test_what_cannot_be_found_out_is_null_with_the_reason_and_the_rest_is_known(database: Database) -> None:
    async with open_station(database) as stand, stand.client() as client:
        await stand.send("mails", record(1))
        await database.execute("alter table pgmq.q_jobs rename to q_elsewhere")
        jobs, mails = (await client.get("/api/queues")).json()["queues"][:2]
        assert (jobs["queue_length"], jobs["oldest_age_s"], jobs["state"]) == (None, None, "unknown")
        assert "metrics" in jobs["unknown"]
        assert mails["queue_length"] == 1
        answer = await client.get("/health/queues")
        assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
        assert answer.json()["queues"]["jobs"] == "unknown"
        await database.execute("alter table pgmq.q_mails rename to q_nowhere")


@pytest.mark.req("QUEUE-10", "QUEUE-11", "HARDEN-8")
async def test_monitors_are_told_of_a_queue_that_is_too_deep(database: Database) -> None:
    async with open_station(database, SPECS) as stand, stand.client() as client:
        await stand.send("jobs", record(1), record(2), record(3))
        answer = await client.get("/health/queues", headers={"Authorization": ""})
        assert answer.status_code == 503
        found = answer.json()
        assert (found["status"], found["exceeded"]) == ("unhealthy", {"jobs": ["depth"]})


@pytest.mark.req("QUEUE-10")
async def test_dead_letters_alone_degrade_and_a_pause_is_well(database: Database) -> None:
    async with open_station(database) as stand, stand.client() as client:
        for queue in ("jobs", "mails"):
            await client.post(f"/api/queues/{queue}/pause", json={"reason": "for the test"})
        well = await client.get("/health/queues")
        assert (well.status_code, well.json()) == (
            200,
            {"status": "healthy", "queues": {"jobs": "paused", "mails": "paused"}, "exceeded": {}},
        )
    async with open_station(database) as stand, stand.client() as client:
        await stand.bury("jobs", (record(0), "ProviderRejected"))
        answer = await client.get("/health/queues")
        assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
        assert answer.json()["exceeded"] == {"jobs": ["dead"]}


@pytest.mark.req("QUEUE-7")
async def test_without_the_database_monitors_are_told_and_nothing_is_zero(database: Database) -> None:
    async with open_station(database) as stand, stand.client() as client:
        await database.stop()
        answer = await client.get("/health/queues")
        assert (answer.status_code, answer.json()["status"]) == (503, "unhealthy")
        assert set(answer.json()["queues"].values()) == {"unknown"}
        await database.start()


async def test_queues_of_other_programs_are_shown_to_operators_and_named_to_nobody_else(database: Database) -> None:
    async with open_station(database) as stand, stand.client() as client:
        await database.execute("select pgmq.create('theirs')")
        names = [one["queue"] for one in (await client.get("/api/queues")).json()["queues"]]
        assert names == ["jobs", "mails", "theirs"]
        theirs = (await client.get("/api/queues/theirs")).json()
        assert (theirs["foreign"], theirs["state"]) == (True, "foreign")
        assert "theirs" not in (await client.get("/health/queues")).text
        assert (await client.get("/api/queues/nobodys")).status_code == 404
        assert (await client.post("/api/queues/theirs/pause", json={"reason": "x"})).status_code == 404
