"""Whether the process lives, whether it can work, and its metrics. Not: what is checked (apps pass it in)."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

import msgspec

from fluxa.kernel.clock import Clock, SystemClock
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.telemetry.duty import Duty
from fluxa.telemetry.log import Logger
from fluxa.telemetry.metrics import Metrics
from fluxa.web.problems import is_private
from fluxa.web.responses import Response, json_response, send_response
from fluxa.web.routes import UNCOUNTED, Auth, Call, Endpoint, Media, Operation, Receive, Route, Scope, Send

Check = Callable[[], Awaitable[object]]
"""Returns when what it checks can be used; raises when it cannot."""

Refresh = Callable[[], Awaitable[None]]
"""Brings gauges up to date before a scrape; raises if it cannot, and shows none then that it does not know."""


def sparing(refresh: Refresh, duty: Duty, *, timeout_s: float = 2.0) -> Refresh:
    """The same for a page that is shown in any case: it is wanted most when something does not answer.

    Args:
        refresh: may fail, or take long.
        duty: told of that.
        timeout_s: seconds that it may take; whoever scrapes does not wait for long.
    """

    async def spared() -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await refresh()
        except TimeoutError:
            duty.failed(FluxaError(ErrorCode.INTERNAL, f"Gauges were not up to date within {timeout_s:g} s."))
        except Exception as error:  # noqa: BLE001 - told; the other metrics are shown, and the next scrape tries again
            duty.failed(error)
        else:
            duty.worked()

    return spared


class Health(msgspec.Struct, frozen=True):
    """The process answers.

    Attributes:
        status: always `alive`.
        service: which process it is.
    """

    status: str
    service: str


class CheckResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one check found.

    Attributes:
        ok: whether it can be used.
        latency_ms: how long the check took.
        code: the error's code, if it failed.
        detail: why it failed.
    """

    ok: bool
    latency_ms: float
    code: str = ""
    detail: str = ""


class ReadyReport(msgspec.Struct, frozen=True):
    """Whether the process can do its work.

    Attributes:
        status: `ready` or `not ready`.
        failed: names of the checks that did not pass, and without which there is no work.
        checks: all of them.
        impaired: names of those that did not pass, and without which the work goes on.
    """

    status: str
    failed: list[str]
    checks: dict[str, CheckResult]
    impaired: list[str]


class Readiness:
    """Runs checks side by side, each within a time limit; requests that come together share a run.

    Args:
        checks: by name: database, queue, object store, …
        logger: where the details go that a stranger should not read.
        spared: names of checks without which the work goes on: what they find is told, and takes no process out.
        timeout_s: seconds that one check may take.
        clock: measures them.
    """

    def __init__(
        self,
        checks: Mapping[str, Check],
        logger: Logger,
        *,
        spared: Collection[str] = (),
        timeout_s: float = 2.0,
        clock: Clock | None = None,
    ) -> None:
        self._checks = dict(checks)
        self._spared = frozenset(spared)
        self._logger = logger
        self._timeout_s = timeout_s
        self._clock = clock or SystemClock()
        self._run: asyncio.Task[ReadyReport] | None = None

    async def report(self) -> ReadyReport:
        """What all checks find now."""
        if self._run is None or self._run.done():
            self._run = asyncio.create_task(self._report(), name="readiness")
        return await asyncio.shield(self._run)

    async def _report(self) -> ReadyReport:
        results = await asyncio.gather(*(self._one(name, check) for name, check in self._checks.items()))
        checks = dict(zip(self._checks, results, strict=True))
        wrong = [name for name, result in checks.items() if not result.ok]
        failed = [name for name in wrong if name not in self._spared]
        impaired = [name for name in wrong if name in self._spared]
        return ReadyReport("not ready" if failed else "ready", failed, checks, impaired)

    async def _one(self, name: str, check: Check) -> CheckResult:
        began = self._clock.monotonic()
        code = detail = ""
        try:
            async with asyncio.timeout(self._timeout_s):
                await check()
        except TimeoutError:
            code, detail = "Timeout", f"no answer within {self._timeout_s:g} s"
        except FluxaError as error:
            code, detail = error.code, error.spec.title if is_private(error) else error.detail
            self._logger.warning("check failed", check=name, error_code=error.code, detail=error.detail)
        except Exception:
            code, detail = ErrorCode.INTERNAL, "the check itself failed; the log has its traceback"
            self._logger.exception("check failed", check=name)
        latency_ms = round((self._clock.monotonic() - began) * 1000, 3)
        return CheckResult(ok=not code, latency_ms=latency_ms, code=code, detail=detail)


def routes(
    service: str, readiness: Readiness, metrics: Metrics, refreshes: Sequence[Refresh] = ()
) -> tuple[Route, ...]:
    """The rows that every process has, all open: they say nothing about anybody's data."""
    alive = json_response(Health("alive", service))

    async def health(_call: Call, _scope: Scope, _receive: Receive, send: Send) -> None:
        await send_response(send, alive)

    async def ready(_call: Call, _scope: Scope, _receive: Receive, send: Send) -> None:
        report = await readiness.report()
        await send_response(send, json_response(report, status=503 if report.failed else 200))

    async def scrape(_call: Call, _scope: Scope, _receive: Receive, send: Send) -> None:
        await asyncio.gather(*(refresh() for refresh in refreshes))
        await send_response(send, Response(body=metrics.exposition(), content_type=metrics.content_type))

    alive_operation = Operation("Whether the process lives", responses={200: ("It does.", Health)})
    ready_operation = Operation(
        "Whether the process can do its work",
        responses={200: ("It can.", ReadyReport), 503: ("It cannot; `failed` says why.", ReadyReport)},
    )
    scrape_operation = Operation(
        "Metrics for Prometheus",
        responses={200: ("The text format.", Media("text/plain", {"type": "string"}))},
    )
    return (
        _open("api_health", "/api/health", health, alive_operation),
        _open("health", "/health", health, alive_operation),
        _open("api_ready", "/api/ready", ready, ready_operation),
        _open("api_metrics", "/api/metrics", scrape, scrape_operation),
        _open("metrics", "/metrics", scrape, scrape_operation),
    )


def _open(name: str, path: str, endpoint: Endpoint, operation: Operation) -> Route:
    return Route(name, path, ("GET",), Auth.OPEN, endpoint, operation, UNCOUNTED)
