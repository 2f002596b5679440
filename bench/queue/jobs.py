"""The worker's side: queues of departures with handlers that do nothing but count; `fluxa worker --app` runs it."""

import datetime as dt
import os
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from bench.queue.progress import VARIABLE, Progress
from fluxa import Fluxa
from fluxa.queue.registry import QueueSpec
from fluxa.queue.worker.handlers import JobInfo

SINGLE, BATCH, ONES, IDLE = "departures", "departures_batch", "departures_ones", "departures_idle"
STARTS = "BENCH_STARTS"
"""Names the file that takes the start of each handler in the idle queue."""
RECORDS_AN_ENVELOPE = 500

app = Fluxa()
app.queue(QueueSpec(SINGLE, batch=1000, concurrency=8, envelope_records=RECORDS_AN_ENVELOPE))
app.queue(QueueSpec(BATCH, batch=1000, concurrency=8, envelope_records=RECORDS_AN_ENVELOPE))
app.queue(QueueSpec(ONES, batch=1000, concurrency=8, envelope_records=1))
app.queue(QueueSpec(IDLE, concurrency=8, envelope_records=1))


class Departure(msgspec.Struct):
    """What a handler wants to know of an event."""

    id: str
    time: dt.datetime


class _Out:
    """Where this process tells how far it is; opened with the first job."""

    progress: Progress | None = None
    starts: int | None = None


def _count(handled: int) -> None:
    if _Out.progress is None:
        _Out.progress = Progress(Path(os.environ[VARIABLE]))
    _Out.progress.add(handled)


@app.handler(SINGLE)
async def single(_job: Departure) -> None:
    """One job a call."""
    _count(1)


@app.handler(ONES)
async def ones(_job: Departure) -> None:
    """One job a call, one record an envelope."""
    _count(1)


@app.handler(BATCH)
async def batch(jobs: Sequence[Departure]) -> None:
    """Many jobs a call."""
    _count(len(jobs))


@app.handler(IDLE)
async def idle(_job: Departure, info: JobInfo) -> None:
    """Tells when it began, by the clock that all processes share."""
    began_ns = time.monotonic_ns()
    if _Out.starts is None:
        _Out.starts = os.open(os.environ[STARTS], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(_Out.starts, f"{info.id} {began_ns}\n".encode())
