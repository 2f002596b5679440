"""Where the metrics pages of an installation are, and reads them; what a process counts of the servers behind it.

Not: what is thought of them (operations).
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import httpx
import msgspec

from fluxa.apps.serving.ground import Ground
from fluxa.apps.settings import Settings, listed
from fluxa.apps.stack import home
from fluxa.kernel.clock import Clock
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.operations.monitoring.caches import ServerCaches
from fluxa.operations.monitoring.check import Bounds, Seen
from fluxa.operations.monitoring.checks import CHECKS
from fluxa.operations.monitoring.pages import Page, grown, read
from fluxa.telemetry.duty import Duty
from fluxa.web.health import ReadyReport

_PAGE = "/metrics"
_READY = "/api/ready"
_ACCEPT = {"accept": "text/plain;version=0.0.4"}
_OK = 200
_NOT_FOUND = 404


@dataclass(frozen=True, slots=True)
class Answer:
    """What one target said: its page, or why there is none."""

    page: Page | None
    reason: str = ""


def server_caches(on: Ground) -> ServerCaches:
    """What Postgres and Valkey had at hand, in the metrics of a process that shows them."""
    duty = Duty("cache_counts", clock=on.clock, hook=on.told.hook)
    found = ServerCaches(on.database, on.valkey, duty=duty)
    on.told.metrics.follow_caches({"postgres": found.postgres.count})
    if on.valkey is not None:
        on.told.metrics.follow_caches({"valkey": found.valkey.count})
    return found


def local_targets(settings: Settings) -> Mapping[str, Sequence[str]]:
    """Host and port of each process on this machine, by service, as the settings' ports have them."""
    services = ("ingest", "query", "processor", "station", "worker")
    return {service: [f"127.0.0.1:{getattr(settings, f'{service}_port')}"] for service in services}


def running_targets(settings: Settings) -> Mapping[str, Sequence[str]]:
    """Host and port of each process of the stack that runs on this home, by service; without one, `local_targets`."""
    state = home.read_run_state(settings.home_folder)
    if state is None:
        return local_targets(settings)
    urls = {
        "ingest": [state.ingest_url],
        "query": [state.query_url],
        "processor": list(state.processor_urls),
        "station": [state.station_url],
        "worker": [state.worker_url],
    }
    return {
        service: places
        for service, of in urls.items()
        if (places := [httpx.URL(url).netloc.decode() for url in of if url])
    }


def pages_of(settings: Settings, named: Sequence[str] = ()) -> Sequence[str]:
    """The URLs of the metrics pages: those that are named, else what the settings say, else the processes here.

    Raises:
        FluxaError: `Configuration`, for what is no URL.
    """
    urls = list(named) or listed(settings.metrics_targets)
    if not urls:
        # Without a stack nobody knows whether there is a worker; one that is not asked for is not missed.
        found = dict(running_targets(settings))
        if home.read_run_state(settings.home_folder) is None:
            found.pop("worker", None)
        urls = [place for places in found.values() for place in places]
    return [_checked(url) for url in urls]


def _checked(text: str) -> str:
    try:
        url = httpx.URL(text if "://" in text else f"http://{text}")
    except httpx.InvalidURL as error:
        raise FluxaError(ErrorCode.CONFIGURATION, f"{text!r} is no URL of a metrics page: {error}.") from None
    if url.scheme not in {"http", "https"} or not url.host:
        raise FluxaError(ErrorCode.CONFIGURATION, f"{text!r} is no URL of a metrics page: it begins with http://.")
    return str(url.copy_with(path=_PAGE) if url.path in {"", "/"} else url)


def check_bounds(
    settings: Settings, warnings: Mapping[str, float], failures: Mapping[str, float]
) -> Mapping[str, Bounds]:
    """From when on each check is not well: what is given, over what the settings say, over what the code says.

    Raises:
        FluxaError: `Configuration`, for a check that there is not.
    """
    bounds = {check.name: check.bounds for check in CHECKS}
    for name in (*settings.metrics_checks, *warnings, *failures):
        if name not in bounds:
            raise FluxaError(ErrorCode.CONFIGURATION, f"There is no check {name}. There are: {', '.join(bounds)}.")
    for name, own in bounds.items():
        tuned = settings.metrics_checks.get(name)
        warning = own.warning if tuned is None or tuned.warning is None else tuned.warning
        failed = own.failed if tuned is None or tuned.failed is None else tuned.failed
        bounds[name] = Bounds(warnings.get(name, warning), failures.get(name, failed))
    return bounds


async def look(urls: Sequence[str], clock: Clock, *, over_s: float, timeout_s: float) -> Seen:
    """Read all pages, and ask each process whether it can work.

    Args:
        urls: of the pages.
        clock: says when they were read.
        over_s: what grows is counted over so many seconds, for which this waits; 0: since each process began.
        timeout_s: seconds that one answer may take.
    """
    async with httpx.AsyncClient(timeout=timeout_s, trust_env=False) as client:
        answers = dict(zip(urls, await asyncio.gather(*(read_page(client, url, clock) for url in urls)), strict=True))
        if over_s:
            began_s = clock.monotonic()
            await asyncio.sleep(over_s)
            later = dict(zip(urls, await asyncio.gather(*(read_page(client, url, clock) for url in urls)), strict=True))
            passed_s = clock.monotonic() - began_s
            answers = {url: _between(answers[url], later[url], passed_s) for url in urls}
        not_ready = await asyncio.gather(*(why_not_ready(client, url) for url in urls if answers[url].page is not None))
    return Seen(
        pages=[one.page for one in answers.values() if one.page is not None],
        missing={url: one.reason for url, one in answers.items() if one.page is None},
        not_ready=dict(one for one in not_ready if one is not None),
    )


def _between(before: Answer, after: Answer, over_s: float) -> Answer:
    if before.page is None or after.page is None:
        return before if before.page is None else after
    return Answer(grown(before.page, after.page, over_s=over_s))


async def read_page(client: httpx.AsyncClient, url: str, clock: Clock) -> Answer:
    """Read one page."""
    try:
        answer = await client.get(url, headers=_ACCEPT)
    except httpx.HTTPError as error:
        return Answer(None, f"no answer ({type(error).__name__})")
    if answer.status_code != _OK:
        return Answer(None, f"status {answer.status_code}")
    try:
        # Ten milliseconds of parsing and more, for which a station is not to keep its loop.
        return Answer(await asyncio.to_thread(read, url, answer.text, now_s=clock.now().timestamp()))
    except ValueError as error:
        return Answer(None, f"no metrics page: {error}")


async def why_not_ready(client: httpx.AsyncClient, url: str) -> tuple[str, str] | None:
    """The target with the reason, if it says that it cannot work; what has no such page is no process of ours."""
    try:
        answer = await client.get(httpx.URL(url).copy_with(path=_READY, query=None))
    except httpx.HTTPError as error:
        return url, f"no answer ({type(error).__name__})"
    if answer.status_code in {_OK, _NOT_FOUND}:
        return None
    try:
        return url, ", ".join(msgspec.json.decode(answer.content, type=ReadyReport).failed)
    except msgspec.DecodeError:
        return url, f"status {answer.status_code}"
