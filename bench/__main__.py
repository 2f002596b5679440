"""`python -m bench [PART …]`: measures the parts named, one after the other, and writes their results after each."""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import uvloop

from bench import server
from bench.pipeline import acts, contest, overhead
from bench.queue import backlog, drain, idle, snapshot
from bench.report import book, page
from bench.report.book import Part
from bench.report.conditions import Run

FOLDER = Path(__file__).resolve().parent
_RESULTS, _PAGE = FOLDER / "results.json", FOLDER / "RESULTS.md"


@dataclass(frozen=True, slots=True)
class Job:
    """One part that can be asked for.

    Attributes:
        about: what it measures.
        takes_s: seconds that it takes on a quiet machine.
        limit_s: seconds after which it is given up.
        measure: does it.
    """

    about: str
    takes_s: float
    limit_s: float
    measure: Callable[[Run], Awaitable[Part]]


JOBS = {
    "pipeline": Job("events over HTTP against COPY and Python queues", 170, 720, contest.measure),
    "overhead": Job("the cost of the frame on one event's POST, against an earlier commit", 100, 400, overhead.measure),
    "acts": Job("acts a second that the audit log takes", 80, 300, acts.measure),
    "idle": Job("enqueue to handler start on an idle queue", 60, 240, idle.measure),
    "drain": Job("a full queue emptied, against graphile-worker, pgqueuer and pgmq's client", 250, 600, drain.measure),
    "backlog": Job("10 million records waiting against a short queue", 360, 900, backlog.measure),
    "snapshot": Job("ten minutes under a held snapshot; the same fault for the peers", 1250, 1800, snapshot.measure),
}
"""Every part, in the order of the page."""

GROUPS = {"queue": ("idle", "drain", "backlog", "snapshot"), "all": tuple(JOBS)}
"""Names for several."""


def wanted(names: Sequence[str]) -> list[str]:
    """The parts that names and groups stand for, each once, in the order of the page.

    Raises:
        ValueError: for a name that stands for nothing.
    """
    asked = {part for name in names for part in GROUPS.get(name, (name,))}
    if unknown := asked - JOBS.keys():
        raise ValueError(f"there is no part {', '.join(sorted(unknown))}; there are {', '.join((*JOBS, *GROUPS))}")
    return [part for part in JOBS if part in asked]


def keep(name: str, part: Part) -> None:
    """Put a part into the results and write the page again."""
    parts = {**book.read(_RESULTS), name: part}
    parts = {known: parts[known] for known in JOBS if known in parts}
    book.write(_RESULTS, parts)
    _PAGE.write_text(page.markdown(parts))


async def _run(names: Sequence[str], *, quick: bool) -> int:
    failed = 0
    with tempfile.TemporaryDirectory(prefix="fluxa-bench-") as scratch:
        folder = Path(scratch)
        async with server.running() as shared:
            run = Run(shared, folder / "children.log", FOLDER / "pictures", folder, quick)
            for name in names:
                failed += not await _one(run, name)
    return failed


async def _one(run: Run, name: str) -> bool:
    """Measure one part; what fails leaves the results of the others, and its own old ones, as they are."""
    job = JOBS[name]
    print(f"== {name}: {job.about}, about {job.takes_s:.0f} s", flush=True)
    begin = time.monotonic()
    try:
        async with asyncio.timeout(job.limit_s):
            part = await job.measure(run)
    except Exception as error:  # noqa: BLE001 - said, counted, and the next part has its turn
        log = run.log.read_text(errors="replace")[-2000:] if run.log.exists() else ""
        print(f"== {name} failed after {time.monotonic() - begin:.0f} s: {error!r}\n{log}", flush=True)
        return False
    print(f"== {name} took {time.monotonic() - begin:.0f} s", flush=True)
    print(page.markdown({name: part}))
    if not run.quick:
        keep(name, part)
    return True


def main() -> int:
    """Measure, print, and write the results unless it was only a quick look."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("parts", nargs="*", default=["all"], help=f"any of {', '.join((*JOBS, *GROUPS))}")
    parser.add_argument("--quick", action="store_true", help="a small run that writes no results")
    parser.add_argument("--list", action="store_true", help="say what there is and how long it takes")
    given = parser.parse_args()
    try:
        names = wanted(given.parts)
    except ValueError as error:
        parser.error(str(error))
    if given.list:
        for name, job in JOBS.items():
            print(f"{name:<10} {job.takes_s / 60:4.0f} min   {job.about}")
        return 0
    return min(uvloop.run(_run(names, quick=given.quick)), 1)


if __name__ == "__main__":
    sys.exit(main())
