"""The other queues, each set up as its own documentation advises for throughput."""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from typing_extensions import override

from bench.processes import python
from bench.queue.contestants import QUEUE, Command, Contestant, Producer, SqlProducer, connected, finished

_GRAPHILE = Path(__file__).resolve().parent / "peers" / "graphile"


class Graphile(Contestant):
    """graphile-worker, the fastest queue on Postgres that we know, in JavaScript."""

    name = "graphile-worker"
    settings = (
        "0.18 on Node 24, localQueue 500, 24 jobs at once, completions batched within 50 ms; parses JSON, "
        "one handler call a job, deletes it; a dead worker's jobs come back after 4 hours"
    )
    table = "graphile_worker._private_jobs"
    _PUSH = """
    select count(*) from graphile_worker.add_jobs(array(
        select row('noop', body::json, null, null, null, null, null, null)::graphile_worker.job_spec
        from unnest($1::text[]) as given (body)))
    """

    def __init__(self, node: Sequence[str], script: Path) -> None:
        self._node = node
        self._script = script

    @override
    async def install(self, url: str) -> None:
        await finished((*self._node, str(self._script), "install", url))

    @override
    @contextlib.asynccontextmanager
    async def producer(self, url: str) -> AsyncIterator[Producer]:
        async with connected(url) as connection:
            yield SqlProducer(connection, self._PUSH)

    @override
    def worker(self, url: str) -> Command:
        return Command((*self._node, str(self._script), "work", url))


class PgQueuer(Contestant):
    """pgqueuer, the fastest of the Python queues in the other part."""

    name = "pgqueuer"
    settings = "1.6, batch 500, asyncpg pool of 8, uvloop; one handler call a job with its bytes; logs each job"
    table = "pgqueuer"

    @override
    async def install(self, url: str) -> None:
        await finished(python("-m", "bench.queue.peers", "pgqueuer", "install", url))

    @override
    @contextlib.asynccontextmanager
    async def producer(self, url: str) -> AsyncIterator[Producer]:
        from bench.queue.peers.pgqueuer import PgQueuerProducer  # noqa: PLC0415 - installed for benchmarks only

        async with connected(url) as connection:
            yield PgQueuerProducer(connection)

    @override
    def worker(self, url: str) -> Command:
        return Command(python("-m", "bench.queue.peers", "pgqueuer", "work", url))


class PgmqClient(Contestant):
    """PGMQ's own Python client, with the loop that its README shows."""

    name = "pgmq client"
    settings = (
        "PyPI pgmq, two loops on asyncpg and uvloop: read_batch of 500, call the handler for each, delete_batch; "
        "no lease renewal, no fence, no retry, no dead letters"
    )
    table = f"pgmq.q_{QUEUE}"
    _PUSH = f"select count(*) from pgmq.send_batch('{QUEUE}', $1::text[]::jsonb[])"

    @override
    async def install(self, url: str) -> None:
        async with connected(url) as connection:
            await connection.execute("select pgmq.create($1)", QUEUE)

    @override
    @contextlib.asynccontextmanager
    async def producer(self, url: str) -> AsyncIterator[Producer]:
        async with connected(url) as connection:
            yield SqlProducer(connection, self._PUSH)

    @override
    def worker(self, url: str) -> Command:
        return Command(python("-m", "bench.queue.peers", "pgmq_client", "work", url))


async def rivals(scratch: Path) -> tuple[list[Contestant], list[str]]:
    """The queues that can be measured here, and in plain words which cannot.

    graphile-worker needs a newer Node than most machines have, so npm brings both into the scratch folder.
    """
    found: list[Contestant] = [PgmqClient(), PgQueuer()]
    npm = shutil.which("npm")
    if npm is None:
        return found, ["graphile-worker was left out: there is no npm on this machine."]
    folder = scratch / "graphile"
    if not (folder / "node_modules").exists():
        shutil.copytree(_GRAPHILE, folder, dirs_exist_ok=True)
        try:
            async with asyncio.timeout(180):
                await finished((npm, "install", "--prefix", str(folder), "--no-audit", "--no-fund", "--silent"))
        except (RuntimeError, TimeoutError) as error:
            shutil.rmtree(folder)
            return found, [f"graphile-worker was left out: npm could not install it ({error})."]
    return [Graphile((str(folder / "node_modules" / ".bin" / "node"),), folder / "worker.mjs"), *found], []
