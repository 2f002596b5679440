"""The audit log over HTTP: what operators do is in it, and a tenant's admins see their own (SEC-3)."""

import pytest

from fluxa.auth.audit import Act
from fluxa.auth.keys.api_keys import ApiKeys
from fluxa.auth.roles import Role
from fluxa.kernel.ids import Tenant
from fluxa.operations.ledger import Ledger
from fluxa.operations.ledger.verify import Verifier
from fluxa.postgres.pool import Database
from making.station import open_station, record

pytestmark = pytest.mark.req("SEC-3")


async def test_what_operators_do_is_written_down_with_who_and_why(database: Database) -> None:
    async with open_station(database) as stand, stand.client() as client:
        await stand.bury("jobs", (record(1), "HandlerError"))
        head = {"X-Correlation-ID": "story-1"}
        assert (await client.post("/api/queues/jobs/pause", json={"reason": "night"}, headers=head)).is_success
        assert (await client.post("/api/queues/jobs/resume")).is_success
        ordered = await client.post("/api/queues/jobs/redrives", json={"all": True})
        assert ordered.status_code == 201, ordered.text
        name = ordered.json()["redrive_id"]
        assert (
            await client.post("/api/queues/jobs/redrives", json={"all": True, "redrive_id": name})
        ).status_code == 201
        for verb in ("pause", "resume", "cancel", "cancel"):
            assert (await client.post(f"/api/redrives/{name}/{verb}")).is_success
        assert (await client.post(f"/api/redrives/{name}/resume")).status_code == 409
        entries = (await client.get("/api/audit")).json()["entries"]
    assert [(one["action"], one["subject"]) for one in reversed(entries)] == [
        ("queue.paused", "queue:jobs"),
        ("queue.resumed", "queue:jobs"),
        ("redrive.ordered", f"redrive:{name}"),
        ("redrive.paused", f"redrive:{name}"),
        ("redrive.resumed", f"redrive:{name}"),
        ("redrive.cancelled", f"redrive:{name}"),
    ]
    first = entries[-1]
    assert (first["correlation_id"], first["detail"], first["number"]) == ("story-1", {"reason": "night"}, 1)
    assert all(one["actor"].startswith("key:") for one in entries)
    assert (await Verifier(database).verify()).faults == 0


async def test_admins_see_their_own_tenant_in_pages(database: Database) -> None:
    ledger = Ledger(database)
    async with database.transaction() as tx:
        for number in range(25):
            for tenant in ("default", "acme"):
                await ledger.record(tx, Act(Tenant(tenant), "cli", "thing.changed", f"{tenant}:{number}"))
    async with open_station(database) as stand, stand.client("acme") as client:
        seen: list[str] = []
        page = (await client.get("/api/audit", params={"limit": 10})).json()
        while True:
            seen += [one["subject"] for one in page["entries"]]
            if page["next"] is None:
                break
            page = (await client.get("/api/audit", params={"limit": 10, "before": page["next"]})).json()
        assert seen == [f"acme:{number}" for number in reversed(range(25))]
        found = await client.get("/api/audit", params={"subject": "acme:7", "action": "thing"})
        assert [one["number"] for one in found.json()["entries"]] == [8]
        assert (await client.get("/api/audit", params={"before": 0})).status_code == 400
        manager = (await ApiKeys(database).create("acme", "m", role=Role.MANAGER)).token
        refused = await client.get("/api/audit", headers={"Authorization": f"Bearer {manager}"})
        assert refused.status_code == 403


async def test_what_cannot_be_written_down_is_not_done(database: Database) -> None:
    async with open_station(database) as stand, stand.client() as client:
        await database.execute("alter table fluxa.ledger_intake add constraint full_disk check (action = 'x')")
        answer = await client.post("/api/queues/jobs/pause", json={"reason": "night"})
        assert answer.status_code == 500
        shown = await client.get("/api/queues/jobs")
        assert shown.json()["pause"] is None
