"""`single_vs_before`: one event a request, against the commit before identity, tenants, ledger and telemetry came."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from bench.pipeline import arm
from bench.processes import ROOT, Child, child
from bench.report.book import Part
from bench.report.conditions import Run, conditions
from bench.report.figures import Figure, of_values

BEFORE = "26cd8bce59325ff8b9dba1968603c9e375b1d2be"
"""The commit whose frame knew API keys and nothing else."""

_ROUNDS, _REQUESTS = 15, 4000
_QUICK_ROUNDS = 3
_OLD, _NEW = "before", "now"
_FIGURES = {
    "rate": ("requests/s", "one event a POST, 64 keep-alive connections, each answer after the commit"),
    "cpu_us": ("µs", "CPU of the ingest process for a request"),
    "p50_ms": ("ms", "of the answers"),
    "p99_ms": ("ms", "of the answers"),
}
_SAID = (
    "What the whole frame costs on the path of one event: route terms, buckets, roles, tenants, ledger, secrets,",
    "metrics, alarms and traces that are switched off. Both commits run as whole stacks on one Postgres, each on a",
    "database of its own, and take turns; who is first changes each round. CPU for a request swings least.",
)


async def measure(run: Run) -> Part:
    """Rounds of both, in turns."""
    rounds = _QUICK_ROUNDS if run.quick else _ROUNDS
    waits = run.server.sync_ms()
    found: dict[str, list[dict[str, float]]] = {_OLD: [], _NEW: []}
    loads: list[float] = []
    old = _checkout(run.scratch / "before")
    try:
        async with _arm(run, old, rounds) as before, _arm(run, ROOT, rounds) as now:
            arms = {_OLD: before, _NEW: now}
            for number in range(rounds):
                loads.append(os.getloadavg()[0])
                for name in sorted(arms, reverse=number % 2 == 1):
                    found[name].append(await _round(arms[name], number))
                print(f"  {number}: {_line(found[_OLD][-1])} | {_line(found[_NEW][-1])}", flush=True)
    finally:
        _git("worktree", "remove", "--force", str(old))
    return Part(
        title="What the frame costs",
        said=_SAID,
        conditions=await conditions(run.server, loads, waits),
        ratios={
            "single_vs_before": _ratios(found, "rate"),
            "single_cpu_vs_before": _ratios(found, "cpu_us"),
        },
        figures=_figures(found),
        notes=(f"Before is commit {BEFORE[:7]}, with today's libraries.",),
    )


def _ratios(found: dict[str, list[dict[str, float]]], name: str) -> tuple[float, ...]:
    return tuple(now[name] / old[name] for old, now in zip(found[_OLD], found[_NEW], strict=True))


def _figures(found: dict[str, list[dict[str, float]]]) -> dict[str, Figure]:
    return {
        f"{arm_name} {name}": of_values([one[name] for one in values], unit, _REQUESTS, how)
        for name, (unit, how) in _FIGURES.items()
        for arm_name, values in found.items()
    }


def _line(one: dict[str, float]) -> str:
    return f"{one['rate']:6.0f}/s {one['cpu_us']:4.0f} µs p99 {one['p99_ms']:.1f} ms"


async def _round(one: Child, number: int) -> dict[str, float]:
    first = arm.WARM + number * _REQUESTS
    one.say(f"{first} {first + _REQUESTS}")
    answer: dict[str, float] = json.loads(await one.expect("{", timeout_s=120))
    return answer


@contextlib.asynccontextmanager
async def _arm(run: Run, checkout: Path, rounds: int) -> AsyncIterator[Child]:
    """A stack of that checkout, on a database that its own migrations made."""
    path = os.pathsep.join((str(checkout), str(checkout / "src")))
    async with run.server.empty() as url:
        events = str(arm.WARM + rounds * _REQUESTS)
        command = (sys.executable, str(ROOT / "bench" / "pipeline" / "arm.py"), url, events)
        async with child(*command, log=run.log, env={"PYTHONPATH": path, "PYTHONSAFEPATH": "1"}) as started:
            if str(checkout) not in await started.expect(arm.READY):
                raise RuntimeError(f"the contestant of {checkout} runs another checkout's code")
            try:
                yield started
            finally:
                started.say("")
                await started.expect(arm.GONE)


def _checkout(folder: Path) -> Path:
    _git("worktree", "add", "--detach", str(folder), BEFORE)
    return folder


def _git(*arguments: str) -> None:
    subprocess.run(("git", "-C", str(ROOT), *arguments), check=True, capture_output=True)
