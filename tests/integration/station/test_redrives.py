"""Redrives over HTTP: ordered here, carried out by a runner, and the quarantine that they find altered letters for."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from fluxa.kernel.clock import SystemClock
from fluxa.postgres.pool import Database
from fluxa.queue.dead_letters.runner import RedriveRunner
from fluxa.telemetry.catalogue import silent
from making.stack import until
from making.station import StationStand, open_station, record

PATH = "/api/queues/jobs/redrives"


@contextlib.asynccontextmanager
async def _carried_out(stand: StationStand) -> AsyncIterator[None]:
    runner = RedriveRunner(stand.database, stand.backend, clock=SystemClock(), hook=silent, registry=stand.registry)
    await runner.start()
    try:
        yield
    finally:
        await runner.stop()


async def _ended(client: httpx.AsyncClient, redrive_id: str) -> dict[str, Any]:
    async def ended() -> bool:
        return bool((await client.get(f"/api/redrives/{redrive_id}")).json()["state"] == "done")

    await until(ended)
    found: dict[str, Any] = (await client.get(f"/api/redrives/{redrive_id}")).json()
    return found


async def _mixed(stand: StationStand) -> None:
    await stand.bury(
        "jobs",
        (record(1), "ProviderThrottled"),
        (record(2), "ProviderThrottled"),
        (record(3), "ProviderRejected"),
        (record(4), "HandlerError"),
    )


@pytest.mark.req("QUEUE-9")
async def test_a_dry_run_tells_what_would_go_back_and_moves_nothing(database: Database) -> None:
    async with open_station(database) as stand, stand.client() as client:
        await _mixed(stand)
        answer = await client.post(PATH, json={"all": True, "dry_run": True})
        assert answer.status_code == 200
        assert answer.json() == {
            "total": 4,
            "moving": 3,
            "by_code": {"ProviderThrottled": 2, "HandlerError": 1},
            "by_class": {"transient": 3},
            "refused": 1,
            "refused_by_code": {"ProviderRejected": 1},
            "looped": 0,
            "quarantined": 0,
        }
        forced = await client.post(PATH, json={"all": True, "dry_run": True, "force": ["ProviderRejected"]})
        assert (forced.json()["moving"], forced.json()["refused"]) == (4, 0)
        assert (await client.get("/api/redrives")).json() == {"items": []}
        assert (await stand.backend.metrics("jobs")).dead == 4


@pytest.mark.req("QUEUE-9")
async def test_a_redrive_is_ordered_carried_out_and_told_of(database: Database) -> None:
    async with open_station(database) as stand, stand.client() as client:
        await _mixed(stand)
        ordered = await client.post(PATH, json={"codes": ["ProviderThrottled", "ProviderRejected"]})
        assert ordered.status_code == 201
        task = ordered.json()
        assert ordered.headers["location"] == f"/api/redrives/{task['redrive_id']}"
        assert (task["state"], task["total"], task["moved"], task["created_by"]) == ("running", 3, 0, "default key")
        async with _carried_out(stand):
            task = await _ended(client, task["redrive_id"])
        assert (task["moved"], task["refused"], task["refused_by_code"]) == (2, 1, {"ProviderRejected": 1})
        assert [one["redrive_id"] for one in (await client.get("/api/redrives?queue=jobs&state=done")).json()["items"]]
        assert (await client.get("/api/redrives?queue=mails")).json() == {"items": []}
        assert (await client.get("/api/redrives?state=running")).json() == {"items": []}
        held = await stand.backend.metrics("jobs")
        assert (held.depth, held.dead) == (2, 2)


@pytest.mark.req("QUEUE-9")
async def test_a_redrive_is_paused_resumed_and_cancelled(database: Database) -> None:
    async with open_station(database) as stand, stand.client() as client:
        await _mixed(stand)
        task = (await client.post(PATH, json={"all": True, "rate_per_s": 0.5})).json()
        path = f"/api/redrives/{task['redrive_id']}"
        for verb, state in (("pause", "paused"), ("pause", "paused"), ("resume", "running"), ("cancel", "cancelled")):
            answer = await client.post(f"{path}/{verb}")
            assert (answer.status_code, answer.json()["state"]) == (200, state), verb
        for verb in ("pause", "resume"):
            answer = await client.post(f"{path}/{verb}")
            assert (answer.status_code, answer.json()["code"]) == (409, "Refused")
        async with _carried_out(stand):
            other = (await client.post("/api/queues/mails/redrives", json={"all": True})).json()
            await _ended(client, other["redrive_id"])
        assert (await stand.backend.metrics("jobs")).dead == 4


@pytest.mark.req("QUEUE-9")
async def test_a_request_that_is_repeated_under_its_name_orders_nothing_new(database: Database) -> None:
    async with open_station(database) as stand, stand.client() as client:
        await _mixed(stand)
        body = {"codes": ["ProviderThrottled"], "rate_per_s": 5, "redrive_id": "monday"}
        first, second = [await client.post(PATH, json=body) for _ in range(2)]
        assert (first.status_code, second.status_code) == (201, 201)
        assert first.json()["created_at"] == second.json()["created_at"]
        for other in ({"codes": ["HandlerError"]}, {"rate_per_s": 6}, {"force": ["HashMismatch"]}):
            answer = await client.post(PATH, json=body | other)
            assert (answer.status_code, answer.json()["pointer"]) == (422, "/redrive_id"), other
        answer = await client.post("/api/queues/mails/redrives", json=body)
        assert answer.status_code == 422
        assert len((await client.get("/api/redrives")).json()["items"]) == 1


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/all"),
        ({"dry_run": True}, "/all"),
        ({"codes": []}, "/all"),
        ({"codes": "ProviderThrottled"}, "/codes"),
        ({"codes": [""]}, "/codes/0"),
        ({"codes": ["a\x00b"]}, "/codes/0"),
        ({"all": True, "rate_per_s": 0}, "/rate_per_s"),
        ({"all": True, "rate_per_s": -1}, "/rate_per_s"),
        ({"all": True, "rate_per_s": 1e300}, "/rate_per_s"),
        ({"all": True, "redrives_max": 0}, "/redrives_max"),
        ({"all": True, "redrive_id": "../x"}, "/redrive_id"),
        ({"failed_from": "2026-01-01T00:00:00"}, "/failed_from"),
        ({"everything": True}, None),
    ],
)
async def test_an_order_that_is_not_clear_is_refused(
    database: Database, body: dict[str, object], pointer: str | None
) -> None:
    async with open_station(database) as stand, stand.client() as client:
        answer = await client.post(PATH, json=body)
        assert (answer.status_code, answer.json().get("pointer")) == (400, pointer), answer.text


@pytest.mark.parametrize("redrive_id", ["x", "%00", "%FF", "a%2Fb"])
async def test_a_redrive_that_is_not_there_is_not_found(database: Database, redrive_id: str) -> None:
    async with open_station(database) as stand, stand.client() as client:
        assert (await client.get(f"/api/redrives/{redrive_id}")).status_code in (400, 404)
        assert (await client.post(f"/api/redrives/{redrive_id}/pause")).status_code in (400, 404)


@pytest.mark.req("QUEUE-9")
async def test_a_letter_that_was_altered_is_shown_in_quarantine(database: Database) -> None:
    async with open_station(database) as stand, stand.client() as client:
        letters = await stand.bury("jobs", *((record(number), "HandlerError") for number in range(3)))
        for letter in letters[:2]:
            altered = await database.execute(
                "update pgmq.q_jobs_dlq set message = jsonb_set(message, '{body}', '\"altered\"') where msg_id = $1",
                int(letter.message_id),
            )
            assert altered == 1
        task = (await client.post(PATH, json={"all": True})).json()
        async with _carried_out(stand):
            task = await _ended(client, task["redrive_id"])
        assert (task["moved"], task["quarantined"]) == (1, 2)
        first = (await client.get("/api/queues/jobs/quarantine?limit=1")).json()
        rest = (await client.get(f"/api/queues/jobs/quarantine?limit=5&after={first['next']}")).json()
        found = [*first["items"], *rest["items"]]
        assert [one["message_id"] for one in found] == [letter.message_id for letter in letters[:2]]
        assert all(one["code"] == "HashMismatch" and "altered" in one["raw"] for one in found)
        assert rest["next"] is None
        assert (await client.get("/api/queues/mails/quarantine")).json() == {"items": [], "next": None}
