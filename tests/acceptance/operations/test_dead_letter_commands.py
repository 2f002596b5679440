"""`fluxa dlq` and `fluxa redrive` as people use them: on letters of every kind, interrupted, and carried elsewhere."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from fluxa.kernel.clock import SystemClock
from fluxa.postgres.pool import Database
from fluxa.queue.backend import DeadLetterFilter
from fluxa.queue.backends.pgmq import PgmqBackend
from making.dead_letters import fill, parked
from making.stack import fluxa, json_lines, running, until

pytestmark = pytest.mark.req("QUEUE-8", "QUEUE-9")

QUEUE = "discord_jobs"


class Shell:
    """Commands on one database, most of them for one queue."""

    def __init__(self, home: Path, url: str) -> None:
        self.home = home
        self.settings = {"FLUXA_DATABASE_URL": url}

    def run(self, *args: str, code: int = 0, stdin: bytes = b"") -> Any:  # noqa: ANN401 - CompletedProcess
        """A command that ends with this code."""
        done = fluxa(*args, home=self.home, stdin=stdin, **self.settings)
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        return done

    def dlq(self, *args: str, code: int = 0) -> Any:  # noqa: ANN401 - CompletedProcess
        """A command for the dead letters of the queue."""
        return self.run("dlq", *args, "--queue", QUEUE, code=code)


@pytest.fixture
def shell(tmp_path: Path, database_url: str) -> Shell:
    """A user at a terminal."""
    return Shell(tmp_path, database_url)


@pytest.fixture
async def backend(database: Database) -> PgmqBackend:
    """Twelve letters: six to send again, two permanent ones, two altered, one that came back too often, one old."""
    engine = PgmqBackend(database, listener=None, notifier=None, clock=SystemClock())
    letters = [
        *(parked(f"t{n}", key=f"k{n % 2}", queue=QUEUE, at=SystemClock().now()) for n in range(6)),
        *(parked(f"p{n}", "SchemaValidation", queue=QUEUE) for n in range(2)),
        *(parked(f"a{n}", queue=QUEUE, tampered=True) for n in range(2)),
        parked("loop", queue=QUEUE, redrives=5),
        parked("old", "ProviderUnavailable", queue=QUEUE),
    ]
    await fill(engine, QUEUE, letters)
    return engine


@pytest.mark.usefixtures("backend")
def test_letters_are_chosen_planned_sent_and_what_stays_is_explained(shell: Shell) -> None:
    listed = shell.dlq("list")
    assert "12 in all" in listed.stderr
    assert "days ago" in listed.stderr
    recent = json_lines(shell.dlq("list", "--since", "1h", "--key", "k1", "--json").stdout)
    assert [one["event_id"] for one in recent] == ["t1", "t3", "t5"]
    planned = json.loads(shell.dlq("redrive", "--all", "--dry-run", "--json").stdout)
    assert planned["planned"] == {"HandlerError": 6, "ProviderUnavailable": 1}
    assert (planned["quarantined"], planned["refused_as_loops"], planned["total"]) == (2, 1, 12)
    assert "7 would be sent again" in shell.dlq("redrive", "--all", "--dry-run").stderr
    assert "--force SchemaValidation" in shell.dlq("redrive", "--code", "SchemaValidation", code=3).stderr
    sent = shell.dlq("redrive", "--all").stderr
    assert "7 sent again" in sent
    assert "2 were altered and are quarantined" in sent
    assert "2 stay (SchemaValidation: 2). Once the cause is mended: --force SchemaValidation" in sent
    assert "1 stay, since they came back too often. Once the cause is mended: --max-redrives 0" in sent
    assert "1 sent again" in shell.dlq("redrive", "--record", "loop", "--max-redrives", "0").stderr
    tasks = json_lines(shell.run("redrive", "list", "--json").stdout)
    assert [(one["state"], one["moved"], one["refused"]) for one in tasks] == [
        ("done", 1, 0),
        ("done", 7, 3),
        ("done", 0, 2),
    ]
    assert tasks[1]["redrive_id"] in shell.run("redrive", "list", "--queue", QUEUE).stdout
    assert "SchemaValidation" in shell.run("redrive", "show", tasks[1]["redrive_id"]).stdout


async def test_an_order_without_a_worker_waits_until_somebody_watches(shell: Shell, backend: PgmqBackend) -> None:
    name = shell.dlq("redrive", "--all", "--detach").stdout.strip()
    assert (await backend.metrics(QUEUE)).depth == 0
    assert "is paused" in shell.run("redrive", "pause", name).stderr
    assert "is running" in shell.run("redrive", "resume", name).stderr
    assert json.loads(shell.run("redrive", "watch", name, "--json").stdout)["moved"] == 7
    assert "is done" in shell.run("redrive", "cancel", name, code=3).stderr
    shell.run("redrive", "show", "nothing", code=4)


async def test_ctrl_c_leaves_a_redrive_that_goes_on_later(shell: Shell, backend: PgmqBackend) -> None:
    await fill(backend, QUEUE, [parked(f"more{n}", queue=QUEUE) for n in range(300)])

    async def some_are_back() -> bool:
        return (await backend.metrics(QUEUE)).depth >= 20

    command = ("dlq", "redrive", "--queue", QUEUE, "--all", "--rate", "10")
    async with running(*command, home=shell.home, **shell.settings) as program:
        await until(some_are_back)
        assert await program.stop(signal.SIGINT) == 130
        assert "fluxa redrive watch rd-" in program.text
    (task,) = json_lines(shell.run("redrive", "list", "--open", "--json").stdout)
    assert task["state"] == "running"
    assert 0 < task["moved"] < 307
    assert "is cancelled" in shell.run("redrive", "cancel", task["redrive_id"]).stderr
    assert "306 sent again" not in shell.dlq("redrive", "--all").stderr
    assert (await backend.metrics(QUEUE)).depth == 307


async def test_letters_are_carried_out_deleted_and_read_in_again(
    shell: Shell, backend: PgmqBackend, tmp_path: Path
) -> None:
    file = str(tmp_path / "letters.ndjson")
    before = await backend.dead_letters(QUEUE, DeadLetterFilter(), limit=50)
    assert "12 dead letters" in shell.dlq("export", file).stderr
    assert "--overwrite" in shell.dlq("export", file, code=3).stderr
    assert "SchemaValidation: 2" in shell.dlq("purge", "--all", code=1).stderr
    assert "12 deleted" in shell.dlq("purge", "--all", "--yes").stderr
    assert "There are no such" in shell.dlq("purge", "--all", "--yes").stderr
    assert "12 read in" in shell.run("dlq", "import", file).stderr
    assert "12 were there already" in shell.run("dlq", "import", file).stderr
    after = await backend.dead_letters(QUEUE, DeadLetterFilter(), limit=50)
    assert [(one.raw, one.facts) for one in after] == [(one.raw, one.facts) for one in before]
    lines = shell.dlq("export", "-", "--code", "SchemaValidation").stdout
    assert [json.loads(line)["record"]["id"] for line in lines.splitlines()] == ["p0", "p1"]
    bad = lines.replace("genuine", "altered!").encode()
    assert "line 1: it was altered" in shell.run("dlq", "import", "-", code=1, stdin=bad).stderr


@pytest.mark.usefixtures("backend")
def test_quarantine_is_listed_shown_released_and_deleted(shell: Shell) -> None:
    shell.dlq("redrive", "--all")
    first, second = json_lines(shell.run("dlq", "quarantine", "list", "--json").stdout)
    assert first["code"] == "HashMismatch"
    assert "HashMismatch" in shell.run("dlq", "quarantine", "list").stdout
    number = str(first["quarantine_id"])
    assert "altered" in shell.run("dlq", "quarantine", "show", number).stdout
    assert len(json_lines(shell.run("dlq", "quarantine", "export").stdout)) == 2
    assert "1 are dead letters again" in shell.run("dlq", "quarantine", "release", number).stderr
    assert "HashMismatch" in shell.dlq("list").stdout
    assert "1 sent again" in shell.dlq("redrive", "--record", "a0", "--force", "HashMismatch").stderr
    shell.run("dlq", "quarantine", "release", number, code=4)
    assert "1 deleted" in shell.run("dlq", "quarantine", "purge", str(second["quarantine_id"]), "--yes").stderr
    assert shell.run("dlq", "quarantine", "list", "--json").stdout == ""


async def test_a_queue_of_the_users_own_is_known_by_its_tables(shell: Shell, backend: PgmqBackend) -> None:
    await fill(backend, "thumbnails", [parked("mine", queue="thumbnails")])
    assert "1 sent again" in shell.run("dlq", "redrive", "--queue", "thumbnails", "--all").stderr
    assert "There is no queue thumbnail" in shell.run("dlq", "list", "--queue", "thumbnail", code=4).stderr
