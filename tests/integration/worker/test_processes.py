"""Whole worker processes: poison that kills them, signals that stop them, two of them, and a Postgres that dies."""

import asyncio
import contextlib
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from fluxa import QueueSpec
from fluxa.kernel.errors import DatabaseUnavailableError
from fluxa.postgres import migrate
from fluxa.postgres.embedded import EmbeddedPostgres
from fluxa.postgres.pool import Database, PoolConfig
from fluxa.telemetry.catalogue import OutageBegan, OutageEnded
from integration.worker.killed_worker import application
from integration.worker.workshop import Workshop

PROGRAM = Path(__file__).parent / "killed_worker.py"
BIN = Path(sys.executable).parent
APP = """
import asyncio
from pathlib import Path
from fluxa import Fluxa, JobInfo, QueueSpec

app = Fluxa()
app.queue(QueueSpec("slow", concurrency=2))
app.queue(QueueSpec("other"))


@app.handler("slow")
async def work(job: int, info: JobInfo) -> None:
    with Path("done.txt").open("a") as file:
        file.write(f"begun {job} {info.attempt}\\n")
    await asyncio.sleep(1.5)
    with Path("done.txt").open("a") as file:
        file.write(f"done {job} {info.attempt}\\n")


@app.handler("other")
async def other(job: int) -> None: ...
"""


@pytest.mark.req("QUEUE-3")
async def test_a_record_that_kills_every_worker_is_parked_and_takes_no_neighbour_along(
    database: Database, database_url: str
) -> None:
    workshop = Workshop.on_pgmq(database)
    workshop.use(application("poison"))
    await workshop.add(QueueSpec("jobs", envelope_records=5, concurrency=4))
    jobs = [f"job-{number}" for number in range(30)]
    jobs.insert(12, "poison")
    await workshop.producer.send("jobs", jobs)
    codes: list[int] = []
    while not codes or codes[-1] != 0:
        assert len(codes) < 14
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            PROGRAM,
            database_url,
            "poison",
            "0",
            env={"PATH": os.defpath, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        codes.append(await process.wait())
        await database.execute("update pgmq.q_jobs set vt = now()")  # the dead worker's leases end
    assert set(codes) == {0, -signal.SIGKILL}
    (letter,) = await workshop.dead("jobs")
    assert (letter.record.body, letter.code) == (b'"poison"', "HandlerCrash")
    assert len(codes) <= 10


@contextlib.asynccontextmanager
async def _worker(folder: Path, url: str, *options: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *["env", "-i", f"PATH={BIN}:/usr/bin:/bin", f"PYTHONPATH={os.pathsep.join(sys.path)}", f"HOME={folder}"],
        f"FLUXA_DATABASE_URL={url}",
        *[sys.executable, "-m", "fluxa", "worker", "--app", "shop", "--port", "0", *options],
        cwd=folder,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def _until(process: asyncio.subprocess.Process, words: str) -> None:
    assert process.stderr is not None
    text = ""
    async with asyncio.timeout(40):
        while words not in text:
            line = (await process.stderr.readline()).decode()
            assert line, f"it ended before it said {words!r}:\n{text}"
            text += line


@pytest.mark.req("QUEUE-3", "QUEUE-5")
async def test_two_workers_share_a_queue_and_one_that_is_told_to_stop_finishes_and_gives_back(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    (tmp_path / "shop.py").write_text(APP)
    workshop = Workshop.on_pgmq(database)
    await workshop.add(QueueSpec("slow"))
    async with _worker(tmp_path, database_url) as first, _worker(tmp_path, database_url, "--queues", "slow") as second:
        await _until(first, '"ready"')
        await _until(second, '"ready"')
        await workshop.producer.send("slow", list(range(8)))
        notes = tmp_path / "done.txt"
        await workshop.until(lambda: notes.exists() and notes.read_text().count("begun") >= 3)
        first.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(first.wait(), 20) == 0
        await workshop.empty("slow", timeout_s=40)
        second.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(second.wait(), 20) == 0
    words = Counter(tuple(line.split()) for line in notes.read_text().splitlines())
    assert words == Counter({(what, str(job), "1"): 1 for what in ("begun", "done") for job in range(8)})


@pytest.mark.parametrize(
    ("text", "options", "says"),
    [
        (APP, ("--app", "shop:thing"), "The module shop has no thing. Did you mean shop:app?"),
        (APP, ("--app", "nowhere:app"), "There is no module nowhere in"),
        (APP, ("--app", "shop:App:x"), "is not of the form module:attribute"),
        (APP, ("--app", "shop:Path"), "and not a Fluxa"),
        (APP, ("--queues", "slwo"), "Did you mean slow?"),
        (APP, ("--queues", "pulse"), "No handler is registered for the queue pulse"),
        ("from fluxa import Fluxa\napp = Fluxa()\n", (), "There is no handler to run"),
        ("import nonsense_that_is_not_there\n", (), "needs nonsense_that_is_not_there, which is not installed"),
        ("x = 1 +\n", (), "shop.py, line 1: invalid syntax"),
        ("x = {}['key']\n", (), "raised KeyError: 'key' ("),
        (APP.replace('"other")\nasync', '"events")\nasync'), (), "would lose them"),
        (
            APP.replace("job: int) -> None: ...", "job: int, colour: str) -> None: ..."),
            (),
            "colour, which nothing fills",
        ),
    ],
)
async def test_what_is_wrong_with_an_application_is_said_in_words(
    database_url: str, tmp_path: Path, text: str, options: Sequence[str], says: str
) -> None:
    (tmp_path / "shop.py").write_text(text)
    async with _worker(tmp_path, database_url, *options) as process:
        _, told = await asyncio.wait_for(process.communicate(), 40)
    assert process.returncode in (2, 4)
    assert says in told.decode()
    assert "Traceback" not in told.decode()
    assert "What to do:" in told.decode()


@pytest.mark.req("QUEUE-3")
async def test_postgres_killed_at_work_costs_time_and_nothing_else(home: Path) -> None:
    server = EmbeddedPostgres(home, settings={"shared_buffers": "64MB"})
    await server.start()
    database = Database(PoolConfig(url=server.url))
    await database.start()
    await migrate.migrate(database)
    await database.execute("create table effects (job text primary key)")
    workshop = Workshop.on_pgmq(database)
    workshop.use(application("several"))
    await workshop.add(QueueSpec("jobs", concurrency=4, envelope_records=10))
    jobs = [f"{number}" for number in range(4000)]
    await workshop.producer.send("jobs", jobs)
    try:
        async with workshop.running():
            for kill in (1, 2):
                while await _effects(database) <= 1000 * kill:  # noqa: ASYNC110 - a table
                    await asyncio.sleep(0.005)
                while _count(workshop, OutageBegan) < kill:
                    # It may be back before anybody asks it for anything; then nobody was kept waiting.
                    await _kill(server)
                    with contextlib.suppress(TimeoutError):
                        await workshop.until(lambda kill=kill: _count(workshop, OutageBegan) >= kill, timeout_s=5)  # type: ignore[misc]  # a default binds the loop's value
                await workshop.until(lambda kill=kill: _count(workshop, OutageEnded) >= kill, timeout_s=40)  # type: ignore[misc]  # a default binds the loop's value
            await workshop.empty("jobs", timeout_s=40)
        rows = await database.fetch("select job from effects")
        assert sorted(row["job"] for row in rows) == sorted(jobs)
        assert not await workshop.dead("jobs")
        assert _count(workshop, OutageBegan) == 2
    finally:
        await database.stop()
        await server.force_stop()


async def _effects(database: Database) -> int:
    """How many there are; none that can be seen while the server starts."""
    try:
        return int(await database.fetch_value("select count(*) from effects"))
    except DatabaseUnavailableError:
        return 0


async def _kill(server: EmbeddedPostgres) -> None:
    while (pid := server.status().pid) is None:  # noqa: ASYNC110 - it is being started again
        await asyncio.sleep(0.01)
    os.kill(pid, signal.SIGKILL)


def _count(workshop: Workshop, kind: type) -> int:
    return sum(isinstance(one, kind) for one in workshop.signals.heard)
