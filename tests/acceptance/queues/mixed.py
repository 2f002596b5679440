"""The program of the isolation test: healthy queues, one whose handler hangs, and one whose provider is out.

What handlers do is noted in files of numbers, which cost a worker next to nothing.
"""

import asyncio
import os
import struct
import time
from collections.abc import Sequence
from mmap import mmap
from pathlib import Path

import msgspec

from fluxa import Fluxa
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.queue.policy import RetryPolicy
from fluxa.queue.registry import QueueSpec
from fluxa.resilience.breaker import BreakerPolicy

FOLDER = "ISOLATION_FOLDER"
"""Names the folder of the files of numbers."""
CALM, BUSY = ("calm_a", "calm_b"), ("busy_a", "busy_b")
HUNG, DOWN = "hung", "down"
PROVIDER_IS_BACK = "provider-is-back"
DOWN_FAILURES = 5
_CELLS = struct.Struct("<QQ")

app = Fluxa()
for _name in (*CALM, *BUSY):
    app.queue(QueueSpec(_name, concurrency=4, envelope_records=20))
app.queue(QueueSpec(HUNG, concurrency=4, timeout_s=600.0))
app.queue(
    QueueSpec(
        DOWN,
        concurrency=4,
        retry=RetryPolicy(attempts_max=12, base_s=0.05, cap_s=0.2),
        breaker=BreakerPolicy(failures=DOWN_FAILURES, rest_s=0.5, rest_max_s=2.0),
    )
)


class Job(msgspec.Struct):
    """When it was sent, by the clock that all processes share; 0 where nobody wants to know how long it took."""

    sent_ns: int = 0


class Tally:
    """How often the handlers of a queue were called; its file is mapped by the test too."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(_CELLS.size))
        with path.open("r+b") as file:
            self._map = mmap(file.fileno(), _CELLS.size)

    @property
    def count(self) -> int:
        """Calls so far."""
        return int(_CELLS.unpack(self._map)[0])

    def add(self) -> None:
        """One more; written by one process only."""
        _CELLS.pack_into(self._map, 0, self.count + 1, 0)


def latencies_ms(folder: Path, queue: str) -> Sequence[float]:
    """How long the jobs of a queue that told when they were sent took until their handler began."""
    path = folder / f"{queue}.latencies"
    if not path.exists():
        return []
    return [ns / 1e6 for (ns,) in struct.iter_unpack("<q", path.read_bytes())]


class _Out:
    tallies: dict[str, Tally] = {}  # noqa: RUF012 - what this process has open


def _folder() -> Path:
    return Path(os.environ[FOLDER])  # noqa: TID251 - the test's own


def _called(queue: str) -> None:
    tally = _Out.tallies.get(queue)
    if tally is None:
        tally = _Out.tallies[queue] = Tally(_folder() / queue)
    tally.add()


def _healthy(queue: str) -> None:
    @app.handler(queue)
    async def handle(job: Job) -> None:
        began_ns = time.monotonic_ns()
        _called(queue)
        if job.sent_ns:
            with (_folder() / f"{queue}.latencies").open("ab", buffering=0) as file:
                file.write(struct.pack("<q", began_ns - job.sent_ns))


for _name in (*CALM, *BUSY):
    _healthy(_name)


@app.handler(HUNG)
async def hang(_job: Job) -> None:
    """Never comes back by itself."""
    _called(HUNG)
    await asyncio.Event().wait()


@app.handler(DOWN)
async def deliver(_job: Job) -> None:
    """Fails until the provider is back."""
    _called(DOWN)
    if not (_folder() / PROVIDER_IS_BACK).exists():
        raise FluxaError(ErrorCode.PROVIDER_UNAVAILABLE, "connection refused")
