"""How a station asks all processes for the dashboard, and writes it down. Not: what is made of it (operations)."""

import asyncio
from collections.abc import Mapping

import httpx
import msgspec

from fluxa.apps.operations.metrics import check_bounds, pages_of, read_page, why_not_ready
from fluxa.apps.serving.ground import Ground
from fluxa.apps.settings import Settings
from fluxa.apps.stack import home
from fluxa.kernel.clock import Clock
from fluxa.operations.dashboard.history import History
from fluxa.operations.dashboard.recorder import Recorder
from fluxa.operations.dashboard.sources import Reading
from fluxa.queue.health.reports import worker_id
from fluxa.station.dashboard.routes import DashboardDoor
from fluxa.web.health import Health
from fluxa.web.routes import Route

_TIMEOUT_S = 5.0
_HEALTH = "/health"


async def record_dashboard(on: Ground) -> None:
    """Keep the dashboard's history until the process ends, if the settings want one.

    Raises:
        FluxaError: `Configuration` for a target that is no URL, or a check that there is not.
    """
    settings = on.settings
    if not settings.dashboard_period_s:
        return
    pages_of(settings)  # what is no URL is said at the start
    looking = Looking(settings, on.clock, supervised=on.tie.listen_fd is not None)
    await on.life.start(looking)
    await on.life.start(
        Recorder(
            looking.look,
            on.database,
            holder=worker_id("dashboard"),
            bounds=check_bounds(settings, {}, {}),
            clock=on.clock,
            hook=on.told.hook,
            every_s=settings.dashboard_period_s,
        )
    )


def dashboard_routes(on: Ground) -> tuple[Route, ...]:
    """The rows of the dashboard."""
    return DashboardDoor(History(on.database), on.settings.dashboard_period_s).routes()


class Looking:
    """Asks all processes at once, over connections that are kept. A `Service`.

    Args:
        settings: say where the processes are.
        clock: the time.
        supervised: whether this process is one of a stack, which tells where its processes are once all are there.
    """

    def __init__(self, settings: Settings, clock: Clock, *, supervised: bool) -> None:
        self._settings = settings
        self._clock = clock
        self._supervised = supervised
        self._client: httpx.AsyncClient | None = None

    async def start(self) -> None:
        """Nothing is asked before it is wanted."""
        if self._client is None:
            self._client = httpx.AsyncClient(timeout=_TIMEOUT_S, trust_env=False)

    async def stop(self) -> None:
        """Close the connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def look(self, services: Mapping[str, str]) -> Reading | None:
        """What all processes say now; None while the stack has not said where they are."""
        settings, client = self._settings, self._client
        if client is None:
            raise RuntimeError("it was not started")
        if self._supervised and not settings.metrics_targets and home.read_run_state(settings.home_folder) is None:
            return None  # what the ports of the settings lead to may be another stack
        urls = pages_of(settings)
        answers = dict(
            zip(urls, await asyncio.gather(*(read_page(client, url, self._clock) for url in urls)), strict=True)
        )
        at_s = self._clock.monotonic()
        pages = {url: one.page for url, one in answers.items() if one.page is not None}
        found = await asyncio.gather(*(why_not_ready(client, url) for url in pages))
        names = await asyncio.gather(*(_service(client, url, services) for url in urls))
        return Reading(
            at_s=at_s,
            pages=pages,
            missing={url: one.reason for url, one in answers.items() if one.page is None},
            not_ready=dict(one for one in found if one is not None),
            services={url: name for url, name in zip(urls, names, strict=True) if name},
        )


async def _service(client: httpx.AsyncClient, url: str, known: Mapping[str, str]) -> str:
    """What the process says that it is, or was known as; empty if nobody knows."""
    if url in known:
        return known[url]
    try:
        answer = await client.get(httpx.URL(url).copy_with(path=_HEALTH, query=None))
        return msgspec.json.decode(answer.content, type=Health).service if answer.is_success else ""
    except (httpx.HTTPError, msgspec.DecodeError):
        return ""
