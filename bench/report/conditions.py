"""Under what a part was measured: the machine, the server's settings, the disk, and what else ran."""

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.measure import percentile
from bench.server import Server
from fluxa.kernel.clock import SystemClock


@dataclass(frozen=True, slots=True)
class Run:
    """What every part is given.

    Attributes:
        server: the one Postgres.
        log: where child processes write.
        pictures: the folder for pictures.
        scratch: a folder that is gone after the run.
        quick: whether this is only a look, which writes no results.
    """

    server: Server
    log: Path
    pictures: Path
    scratch: Path
    quick: bool


async def conditions(server: Server, loads: Sequence[float], waits: Sequence[float]) -> dict[str, str]:
    """What to print below a part's figures.

    Args:
        server: the one Postgres.
        loads: the machine's load average when each round began.
        waits: milliseconds that the disk took for a page.
    """
    settings = await server.settings()
    model = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor(),
    )
    half, tail = percentile(list(waits), 0.5), percentile(list(waits), 0.9)
    return {
        "taken on": SystemClock().now().date().isoformat(),
        "machine": f"{os.cpu_count()} × {model}",
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "Postgres": ", ".join(f"{name}={value}" for name, value in settings.items()),
        "disk": f"fdatasync of a page {half:.2f} ms, 90 % {tail:.2f} ms",
        "load average when a round began": ", ".join(f"{one:.1f}" for one in loads),
    }


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
