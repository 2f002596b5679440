"""Alarms over HTTP: what fires and what to do, taking on, silences, and a test message."""

import contextlib
import io
from collections.abc import AsyncIterator

import httpx
import pytest

from fluxa.auth.keys.api_keys import ApiKeys
from fluxa.auth.keys.key_guard import GuardLimits, KeyGuard
from fluxa.auth.roles import Role
from fluxa.kernel.errors import ErrorCode
from fluxa.kernel.ids import Tenant
from fluxa.operations.alarms.notices import send_test
from fluxa.station.alarms.routes import AlarmDoor
from fluxa.telemetry.catalogue import silent
from fluxa.telemetry.log import make_logger
from fluxa.testing.serving import serving
from fluxa.web.app import App
from fluxa.web.identity import Access, bearer
from integration.operations.alarms.standing import CHAT_AND_PAGER, CLOCK, Stand

pytestmark = pytest.mark.req("ALARM-5")


@contextlib.asynccontextmanager
async def operator(stand: Stand) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody who operates, at a station."""

    async def test() -> list[str]:
        return await send_test(stand.producer, CHAT_AND_PAGER, by="the API", now=CLOCK.now())

    keys = ApiKeys(stand.database)
    app = App(
        AlarmDoor(stand.store, stand.rules, test, "https://books.example").routes(),
        identify=bearer(KeyGuard(keys, CLOCK, GuardLimits(fresh_s=0.0, absent_s=0.0)).verify),
        access=Access(Tenant("default")),
        hook=silent,
        logger=make_logger("station", stream=io.StringIO()),
    )
    token = (await keys.create("default", "ops", role=Role.MANAGER)).token
    headers = {"authorization": f"Bearer {token}"}
    async with serving(app) as url, httpx.AsyncClient(base_url=url, headers=headers, trust_env=False) as client:
        yield client


async def test_what_fires_is_shown_with_what_to_do_taken_on_and_silenced(stand: Stand) -> None:
    stand.look_at("DLQDepth")
    async with operator(stand) as client:
        assert (await client.get("/api/alarms")).json() == {"alarms": [], "evaluator": None, "evaluated_s": None}
        assert (await client.post("/api/alarms/DLQDepth/ack")).status_code == 409
        await stand.bury(ErrorCode.SCHEMA_VALIDATION)
        await stand.evaluator().evaluate()
        shown = (await client.get("/api/alarms")).json()
        (one,) = shown["alarms"]
        assert (shown["evaluator"], one["alarm"], one["subject"], one["phase"]) == ("one", "DLQDepth", "jobs", "firing")
        assert one["rule"]["cause"].startswith("A record that cannot be processed")
        assert one["rule"]["first_action"].startswith("See why they were parked: fluxa dlq list --queue jobs.")
        assert one["rule"]["runbook_url"] == "https://books.example/dlq-triage"
        table = (await client.get("/api/alarm-rules")).json()
        assert [(rule["name"], rule["runbook"]) for rule in table] == [("DLQDepth", "dlq-triage")]
        assert (await client.get("/api/alarms/Nothing")).status_code == 404

        taken = await client.post("/api/alarms/dlqdepth/ack", json={"note": "looking"})
        assert taken.json() == {"alarm": "DLQDepth", "subjects": ["jobs"]}
        silence = {"alarm": "DLQDepth", "reason": "we know", "for_s": 600}
        made = await client.post("/api/alarm-silences", json=silence)
        assert made.status_code == 201
        assert (await client.post("/api/alarm-silences", json={**silence, "for_s": 1e9})).status_code == 400
        whole = (await client.get("/api/alarms/DLQDepth")).json()
        (one,) = whole["alarms"]
        assert (one["acked_by"], one["ack_note"], one["silenced"]) == ("ops", "looking", True)
        assert [happened["what"] for happened in whole["history"]] == ["silenced", "acknowledged", "firing"]
        ended = f"/api/alarm-silences/{made.json()['silence_id']}/end"
        assert (await client.post(ended)).status_code == 200
        assert (await client.post(ended)).status_code == 404
        assert (await client.post("/api/alarms/DLQDepth/unack")).json()["subjects"] == ["jobs"]
    acts = [(act.action, act.actor) for act in stand.recorder.acts]
    assert acts == [
        ("alarm.acknowledged", "ops"),
        ("alarm.silenced", "ops"),
        ("alarm.unsilenced", "ops"),
        ("alarm.unacknowledged", "ops"),
    ]


async def test_a_test_message_is_on_its_way_to_everybody(stand: Stand) -> None:
    async with operator(stand) as client:
        sent = await client.post("/api/alarm-test")
        assert sent.status_code == 202
        assert len(sent.json()["ids"]) == 2
    assert {(message["target"], message["test"]) for message in await stand.messages()} == {
        ("chat", True),
        ("pager", True),
    }
