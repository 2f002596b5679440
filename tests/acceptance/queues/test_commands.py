"""`fluxa queue` as people use it: on a database, in a pipe, with rights missing, and without Postgres."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from fluxa.kernel.clock import SystemClock
from fluxa.postgres.pool import Database
from fluxa.queue.health.controls import Controls
from fluxa.queue.health.reports import QueueReport, Reporter
from integration.queue.health.looking import as_stranger, engine, park
from making.stack import fluxa, json_lines


class Shell:
    """Commands on one database."""

    def __init__(self, home: Path, url: str) -> None:
        self.home = home
        self.settings = {"FLUXA_DATABASE_URL": url}

    def queue(self, *args: str, code: int = 0, stdin: bytes = b"") -> Any:  # noqa: ANN401 - CompletedProcess
        """A command that ends with this code."""
        done = fluxa("queue", *args, home=self.home, stdin=stdin, **self.settings)
        assert done.returncode == code, (done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        return done

    def listed(self, code: int = 0) -> dict[str, dict[str, Any]]:
        """What `list --json` says, by queue."""
        return {one["queue"]: one for one in json_lines(self.queue("list", "--json", code=code).stdout)}


@pytest.fixture
def shell(tmp_path: Path, database_url: str) -> Shell:
    """A user at a terminal."""
    return Shell(tmp_path, database_url)


@pytest.mark.req("QUEUE-10")
def test_work_is_put_in_looked_at_and_counted(shell: Shell) -> None:
    assert "1 record sent to pulse" in shell.queue("send", "pulse", "--data", '{"n": 1}', "--id", "first").stderr
    lines = b'{"n": 2}\n\n{"n": 3, "text": "' + b"x" * 300 + b'"}\n'
    ids = json_lines(shell.queue("send", "pulse", "--key", "k", "--delay", "900", "--json", stdin=lines).stdout)
    assert len({one["id"] for one in ids}) == 2
    held = shell.listed()["pulse"]
    assert (held["queue_length"], held["ready"], held["state"], held["unknown"]) == (2, 1, "unserved", {})
    peeked = json_lines(shell.queue("peek", "pulse", "--json").stdout)
    assert [one["is_due"] for one in peeked] == [True, False]
    assert [[record["key"] for record in one["records"]] for one in peeked] == [[None], ["k", "k"]]
    assert peeked[0]["records"][0]["id"] == "first"
    assert peeked[1]["records"][1]["body"].endswith("…")
    assert "delayed, 15m left" in shell.queue("peek", "pulse").stdout
    whole = shell.queue("peek", "pulse", "--raw", "--limit", "1").stdout
    assert json.loads(whole)["body"] == '{"n": 1}'
    after = json_lines(shell.queue("peek", "pulse", "--after", peeked[0]["message_id"], "--json").stdout)
    assert [one["message_id"] for one in after] == [peeked[1]["message_id"]]
    assert all(one["received_count"] == 0 for one in json_lines(shell.queue("peek", "pulse", "--json").stdout))


def test_what_is_wrong_is_said_and_nothing_is_sent(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "bodies.ndjson"
    file.write_text('{"n": 1}\nnone\n')
    assert "line 2 is no JSON" in shell.queue("send", "pulse", "--file", str(file), code=1).stderr
    assert "Did you mean pulse?" in shell.queue("send", "puls", "--data", "1", code=4).stderr
    assert "fluxa events send" in shell.queue("send", "events", "--data", "1", code=3).stderr
    assert "--id" in shell.queue("send", "pulse", "--data", "1", "--data", "2", "--id", "x", code=2).stderr
    assert "no message id" in shell.queue("peek", "pulse", "--after", "x", code=2).stderr
    assert "See fluxa queue list" in shell.queue("show", "zzzzzz", code=4).stderr
    assert shell.listed()["pulse"]["queue_length"] == 0


async def test_a_pause_is_shown_everywhere_with_who_and_why(shell: Shell, database: Database) -> None:
    assert "is paused" in shell.queue("pause", "pulse", "--reason", "provider is down", "--by", "ada").stderr
    (control,) = await Controls(database).all()
    assert (control.paused, control.by, control.reason) == (True, "ada", "provider is down")
    assert shell.listed()["pulse"]["pause"]["by"] == "ada"
    assert "paused by ada: provider is down" in shell.queue("list").stdout
    assert "When that is over: fluxa queue resume pulse" in shell.queue("show", "pulse").stdout
    assert "--reason" in shell.queue("pause", "pulse", code=2).stderr
    assert json.loads(shell.queue("resume", "pulse", "--json").stdout)["paused"] is False
    assert shell.listed()["pulse"]["paused"] is False


async def test_all_of_a_queue_is_shown(shell: Shell, database: Database) -> None:
    await park(database, "pulse", ["HandlerError", "HandlerError", "ProviderRejected"])
    now = SystemClock().now()
    said = [QueueReport("pulse", 2, 7, now, now, "HandlerError", "open", now)]
    await Reporter(database, "w-1", lambda: said, clock=SystemClock(), hook=lambda _signal: None)._write(said)
    shown = shell.queue("show", "pulse").stdout
    for part in ("resting", "HandlerError      2", "w-1", "why slow", "dead rows", "high: dead", "fluxa dlq redrive"):
        assert part in shown, part
    told = json.loads(shell.queue("show", "pulse", "--json").stdout)
    assert told["dead_by_code"] == {"HandlerError": 2, "ProviderRejected": 1}
    assert told["why_slow"]["holders_complete"] is True
    assert told["workers"][0]["error_streak"] == 7


async def test_top_is_one_picture_in_a_pipe(shell: Shell, database: Database) -> None:
    await engine(database).create("pulse")
    picture = shell.queue("top", "--interval", "0.2").stdout
    assert picture.startswith("fluxa queue top")
    assert "in/s" in picture
    assert "UNKNOWN" not in picture
    told = json.loads(shell.queue("top", "--interval", "0.2", "--json").stdout)
    assert told["queues"][1]["rates_per_s"] == {"sent": 0.0, "done": 0.0, "retried": 0.0, "dead": 0.0}


@pytest.mark.req("QUEUE-7")
async def test_what_may_not_be_read_is_unknown_and_the_rest_is_told(shell: Shell, database: Database) -> None:
    for queue in ("pulse", "revalidation"):
        await engine(database).create(queue)
    async with as_stranger(database) as (pool, role):
        await database.execute(f"revoke all on pgmq.q_pulse from {role}")
        shell.settings["FLUXA_DATABASE_URL"] = pool.config.url
        found = shell.listed()
        assert found["pulse"]["queue_length"] is None
        assert "permission denied" in found["pulse"]["unknown"]["metrics"]
        assert found["revalidation"]["queue_length"] == 0
        (line,) = [one for one in shell.queue("list").stdout.splitlines() if one.startswith("pulse ")]
        assert line.count("UNKNOWN") == 7
        assert "metrics is UNKNOWN, which is not the same as nothing" in shell.queue("show", "pulse").stdout
        assert "pulse: metrics UNKNOWN: DBRejected" in shell.queue("top", "--interval", "0.2").stdout


@pytest.mark.req("QUEUE-7")
def test_without_postgres_all_is_unknown_and_said_to_be(shell: Shell) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        shell.settings["FLUXA_DATABASE_URL"] = f"postgresql://127.0.0.1:{taken.getsockname()[1]}/none"
        listed = shell.queue("list", code=5)
        assert "Postgres cannot be reached" in listed.stderr
        assert "UNKNOWN" in listed.stdout
        assert all(one["queue_length"] is None for one in shell.listed(code=5).values())
        assert "UNKNOWN" in shell.queue("show", "pulse", code=5).stdout
        assert "Postgres cannot be reached" in shell.queue("top", "--interval", "0.2", code=5).stdout
        assert "✗" in shell.queue("send", "pulse", "--data", "1", code=5).stderr
