"""A metrics page is shown whatever does not answer behind it, without what is not known then."""

import asyncio
from pathlib import Path

import httpx
import pytest

from fluxa.postgres.pool import Database
from fluxa.telemetry.catalogue import MaintenanceFinished
from fluxa.telemetry.duty import Duty
from fluxa.testing.clock import ManualClock
from fluxa.testing.signals import Signals
from fluxa.web.health import sparing
from identity.serving import served
from making.stack import until

pytestmark = pytest.mark.req("OBS-1")


async def test_what_cannot_be_found_out_is_absent_from_a_page_that_is_shown_all_the_same(
    database: Database, tmp_path: Path, unused_tcp_port: int
) -> None:
    async with served("station", database, tmp_path, unused_tcp_port) as client:

        async def shows(metric: str) -> bool:
            answer = await client.get("/metrics")
            assert answer.status_code == httpx.codes.OK, answer.text
            return metric in answer.text

        await until(lambda: shows("fluxa_alarm_firing{"))
        await database.execute("alter table fluxa.alarms rename to alarms_away")
        try:
            assert not await shows("fluxa_alarm_firing{")
            assert await shows('fluxa_maintenance_total{status="failure",task="gauges"} 1.0')
            assert await shows("fluxa_cache_requests_total{")
        finally:
            await database.execute("alter table fluxa.alarms_away rename to alarms")
        assert await shows("fluxa_alarm_firing{")


async def test_a_gauge_that_takes_long_does_not_hold_up_the_page() -> None:
    signals = Signals()
    endless = asyncio.Event()
    spared = sparing(endless.wait, Duty("gauges", clock=ManualClock(), hook=signals.hear), timeout_s=0.01)  # type: ignore[arg-type]
    await spared()
    (told,) = [one for one in signals.heard if isinstance(one, MaintenanceFinished)]
    assert "within 0.01 s" in told.detail
