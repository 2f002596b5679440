"""Health, readiness and metrics over real HTTP."""

import asyncio
import io
from collections.abc import Collection, Mapping

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from fluxa.kernel.errors import DatabaseUnavailableError
from fluxa.kernel.ids import Tenant
from fluxa.postgres.pool import Database
from fluxa.telemetry.log import make_logger
from fluxa.telemetry.metrics import Metrics
from fluxa.testing.serving import serving
from fluxa.web import health
from fluxa.web.app import App
from fluxa.web.health import Check, Readiness
from fluxa.web.identity import Access, bearer


async def _nobody(_token: str) -> None:
    return None


async def _fine() -> None:
    return None


async def _hangs() -> None:
    await asyncio.Event().wait()


async def _away() -> None:
    raise DatabaseUnavailableError("could not connect to db.internal:5432")


async def _broken() -> None:
    raise RuntimeError("a defect")


class _Stand:
    def __init__(self, checks: Mapping[str, Check], *refreshes: health.Refresh, spared: Collection[str] = ()) -> None:
        self.log = io.StringIO()
        self.metrics = Metrics()
        logger = make_logger("query", stream=self.log)
        readiness = Readiness(checks, logger, spared=spared, timeout_s=0.1)
        self.app = App(
            health.routes("query", readiness, self.metrics, refreshes),
            identify=bearer(_nobody),
            access=Access(Tenant("default")),
            hook=self.metrics.hear,
            logger=logger,
        )


@pytest.mark.req("OBS-3")
@pytest.mark.parametrize("path", ["/health", "/api/health"])
async def test_a_process_that_answers_is_alive_even_when_nothing_else_is(path: str) -> None:
    async with serving(_Stand({"database": _away}).app) as url, httpx.AsyncClient(base_url=url) as client:
        answer = await client.get(path)
    assert answer.status_code == 200
    assert answer.json() == {"status": "alive", "service": "query"}


@pytest.mark.req("OBS-3")
async def test_what_the_work_does_not_need_is_told_and_takes_no_process_out() -> None:
    stand = _Stand({"database": _fine, "cache": _away}, spared=["cache"])
    async with serving(stand.app) as url, httpx.AsyncClient(base_url=url) as client:
        answer = await client.get("/api/ready")
    report = answer.json()
    assert (answer.status_code, report["status"]) == (200, "ready")
    assert (report["failed"], report["impaired"]) == ([], ["cache"])
    assert report["checks"]["cache"]["ok"] is False


@pytest.mark.req("OBS-3")
async def test_a_process_is_ready_when_all_checks_pass(database: Database) -> None:
    async def ask() -> object:
        return await database.fetch_value("select 1")

    stand = _Stand({"database": ask, "object store": _fine})
    async with serving(stand.app) as url, httpx.AsyncClient(base_url=url) as client:
        answer = await client.get("/api/ready")
    assert answer.status_code == 200
    report = answer.json()
    assert report["status"] == "ready"
    assert set(report["checks"]) == {"database", "object store"}
    assert report["checks"]["database"]["ok"] is True


@pytest.mark.req("OBS-3")
async def test_a_process_that_is_not_ready_says_which_checks_failed_and_why_within_their_time() -> None:
    stand = _Stand({"database": _away, "queue": _hangs, "object store": _broken, "fine": _fine})
    async with serving(stand.app) as url, httpx.AsyncClient(base_url=url) as client:
        answer = await asyncio.wait_for(client.get("/api/ready"), 2)
    assert answer.status_code == 503
    report = answer.json()
    assert report["failed"] == ["database", "queue", "object store"]
    assert report["checks"]["database"]["code"] == "DBConnectionError"
    assert report["checks"]["queue"]["code"] == "Timeout"
    assert report["checks"]["object store"]["code"] == "Internal"
    assert "db.internal" not in answer.text
    assert "db.internal" in stand.log.getvalue()
    assert "RuntimeError: a defect" in stand.log.getvalue()


async def test_probes_that_come_together_share_one_run() -> None:
    runs = 0
    gate = asyncio.Event()

    async def counted() -> None:
        nonlocal runs
        runs += 1
        await gate.wait()

    readiness = Readiness({"x": counted}, make_logger("query", stream=io.StringIO()))
    probes = [asyncio.create_task(readiness.report()) for _ in range(20)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    gate.set()
    assert all(report.status == "ready" for report in await asyncio.gather(*probes))
    assert runs == 1


@pytest.mark.req("OBS-1")
@pytest.mark.parametrize("path", ["/metrics", "/api/metrics"])
async def test_prometheus_can_read_the_http_metrics_by_their_agreed_names(path: str) -> None:
    async with serving(_Stand({}).app) as url, httpx.AsyncClient(base_url=url) as client:
        await client.get("/health")
        answer = await client.get(path)
    assert answer.headers["content-type"].startswith("text/plain; version=")
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    assert {"http_request_duration_seconds", "http_requests_active", "http_requests_errors"} <= set(families)
    counts = [
        sample.value
        for sample in families["http_request_duration_seconds"].samples
        if sample.name.endswith("_count") and sample.labels["route"] == "health"
    ]
    assert counts == [1.0]
    active = {sample.labels["route"]: sample.value for sample in families["http_requests_active"].samples}
    assert active["health"] == 0.0
