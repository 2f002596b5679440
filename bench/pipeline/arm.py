"""`python arm.py URL EVENTS`: one contestant of the comparison with an earlier commit, as a program of its own.

It runs with the modules of its own checkout, old or new, so it uses only what both have.
"""

import asyncio
import json
import sys
import tempfile
from pathlib import Path

import psutil
import uvloop

import fluxa
from bench.measure import until_stored
from bench.pipeline import fluxa_stack
from bench.rows import load as rows
from fluxa.kernel.clock import SystemClock
from fluxa.postgres import migrate
from fluxa.postgres.pool import Database, PoolConfig

READY, GONE = "ready", "gone"
WARM = 500
"""Events sent before the first round."""


async def run(url: str, count: int) -> None:
    """Migrate and start a stack; then, for each line `FIRST LAST` of the input, send these events one a request.

    An empty line ends it.
    """
    database = Database(PoolConfig(url=url, size_max=2))
    await database.start()
    await migrate.migrate(database)
    await database.stop()
    lines = rows(count, SystemClock().now()).lines
    with tempfile.TemporaryDirectory(prefix="fluxa-bench-") as folder:
        async with fluxa_stack.running(url, Path(folder)) as target:
            children = json.loads((Path(folder) / "run.json").read_text())["children"]
            ingest = psutil.Process(children["ingest"])
            await fluxa_stack.single(target, lines[:WARM])
            await until_stored(url, WARM)
            print(READY, fluxa.__file__, flush=True)
            while words := (await asyncio.to_thread(sys.stdin.readline)).split():
                first, last = map(int, words)
                before_s = sum(ingest.cpu_times()[:2])
                found = await fluxa_stack.single(target, lines[first:last])
                cpu_us = (sum(ingest.cpu_times()[:2]) - before_s) * 1e6 / (last - first)
                await until_stored(url, last)
                print(json.dumps({"rate": found.rate, "cpu_us": cpu_us, **found.extra}), flush=True)
    print(GONE, flush=True)


if __name__ == "__main__":
    uvloop.run(run(sys.argv[1], int(sys.argv[2])))
