"""The program that the chaos test's workers serve: handlers that keep accounts of their own, and stall on purpose."""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import msgspec

from fluxa import Fluxa
from fluxa.postgres.transaction import Transaction
from fluxa.queue.policy import RetryPolicy
from fluxa.queue.registry import QueueSpec
from fluxa.queue.worker.handlers import JobInfo

EXACT, COUNTED = "chaos_exact", "chaos_counted"
QUEUES = (EXACT, COUNTED)
LEASE_S = 2.0
FOLDER = "CHAOS_FOLDER"
"""Names the folder where each worker keeps its account."""

_INSERT = "insert into chaos_effects (job, worker) values ($1, $2)"

app = Fluxa()
for _name, _records in ((EXACT, 20), (COUNTED, 5)):
    app.queue(
        QueueSpec(
            _name,
            concurrency=4,
            lease_s=LEASE_S,
            timeout_s=20.0,
            envelope_records=_records,
            retry=RetryPolicy(attempts_max=60, base_s=0.1, cap_s=1.0),
        )
    )


class Job(msgspec.Struct):
    """What is to be done.

    Attributes:
        name: of the job, known to whoever sent it.
        sleep_s: seconds that the handler awaits: past the lease for some, which is renewed meanwhile.
        stall_s: seconds that its first attempt blocks the whole process, so that nothing is renewed.
    """

    name: str
    sleep_s: float = 0.0
    stall_s: float = 0.0


class Entry(msgspec.Struct):
    """One line of a worker's account.

    Attributes:
        what: `began`, `stalled` or `done`.
        job: its name.
        pid: of the worker.
        at_s: by the clock that all processes share and nobody steps.
        ended_s: when a stall was over.
    """

    what: str
    job: str
    pid: int
    at_s: float
    ended_s: float = 0.0


def _note(entry: Entry) -> None:
    """One line, in the kernel's hands at once: a kill loses nothing."""
    path = Path(os.environ[FOLDER]) / f"{entry.pid}.account"  # noqa: TID251 - the test's own
    with path.open("ab", buffering=0) as file:
        file.write(msgspec.json.encode(entry) + b"\n")


def read_accounts(folder: Path) -> list[Entry]:
    """What all workers noted, by time."""
    lines = [line for path in folder.glob("*.account") for line in path.read_bytes().splitlines()]
    return sorted((msgspec.json.decode(line, type=Entry) for line in lines), key=lambda entry: entry.at_s)


def _tell_tasks(*_about: object) -> None:
    """What every task waits for, for a test that waits in vain."""
    for task in asyncio.all_tasks():
        frames = [f"{frame.f_code.co_filename.rpartition('/')[2]}:{frame.f_lineno}" for frame in task.get_stack()]
        sys.stderr.write(f"task {task.get_name()}: {task.get_coro()!r} {' > '.join(frames)}\n")
    sys.stderr.flush()


if FOLDER in os.environ:  # noqa: TID251 - in a worker
    signal.signal(signal.SIGUSR2, _tell_tasks)


async def _begin(job: Job, info: JobInfo) -> None:
    began_s = time.monotonic()
    _note(Entry("began", job.name, os.getpid(), began_s))
    if job.stall_s and info.attempt == 1:
        time.sleep(job.stall_s)  # noqa: ASYNC251 - that nothing else runs meanwhile is what is tried here
        _note(Entry("stalled", job.name, os.getpid(), began_s, time.monotonic()))
    if job.sleep_s:
        await asyncio.sleep(job.sleep_s)


@app.handler(EXACT)
async def exact(job: Job, info: JobInfo, tx: Transaction) -> None:
    """Its effect and its acknowledgement are one transaction."""
    assert info.id == job.name
    await _begin(job, info)
    await tx.execute(_INSERT, job.name, os.getpid())


@app.handler(COUNTED)
async def counted(job: Job, info: JobInfo) -> None:
    """Its effect is the last line in the account."""
    await _begin(job, info)
    _note(Entry("done", job.name, os.getpid(), time.monotonic()))
