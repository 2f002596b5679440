"""The command line as its users meet it: one stack, real commands, exit codes, and what is said when it goes wrong."""

import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fluxa.cli.main import COMMANDS
from making.stack import READY_S, environment, fluxa, json_lines

Done = subprocess.CompletedProcess[str]


@dataclass
class Stack:
    """A running stack and the home its commands use."""

    home: Path

    def run(self, *args: str, stdin: str = "") -> Done:
        """A command that must succeed."""
        done = fluxa(*args, home=self.home, stdin=stdin.encode())
        assert done.returncode == 0, done.stderr
        return done

    def fails(self, code: int, *args: str, stdin: str = "") -> str:
        """A command that must end with this code; what it says."""
        done = fluxa(*args, home=self.home, stdin=stdin.encode())
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        return done.stderr

    def eventually(self, *args: str, where: Callable[[str], bool] = bool) -> str:
        """The output of a command once it is as wanted."""
        until = time.monotonic() + 30
        while not where(out := fluxa(*args, home=self.home).stdout):
            assert time.monotonic() < until, out
        return out


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    home = tmp_path_factory.mktemp("cli") / "home"
    process = subprocess.Popen(
        [sys.executable, "-m", "fluxa", "up", "--port", "0"],
        env=environment(FLUXA_HOME=str(home)),
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stderr is not None
    stream, ready = process.stderr, threading.Event()

    def read() -> None:
        for line in stream:
            if b"Fluxa is up" in line:
                ready.set()

    reader = threading.Thread(target=read)
    reader.start()
    try:
        assert ready.wait(READY_S)
        yield Stack(home)
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        reader.join()
        stream.close()


def test_help_names_every_command_and_comes_at_once(tmp_path: Path) -> None:
    took = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = fluxa("--help", home=tmp_path)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        took.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        assert done.returncode == 0
        assert all(f" {name} " in done.stdout for name in COMMANDS)
    assert min(took) < 0.6, "processor time, which a busy machine does not change much; 0.25 s is usual"


def test_help_imports_no_server_and_no_driver() -> None:
    code = (
        "import sys, fluxa.cli.main; print([m for m in ('asyncpg', 'uvicorn', 'httpx', 'obstore') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str, tmp_path: Path) -> None:
    done = fluxa(name, "--help", home=tmp_path)
    assert done.returncode == 0
    assert "Usage" in done.stdout


def test_version(tmp_path: Path) -> None:
    assert fluxa("--version", home=tmp_path).stdout.startswith("fluxa 0.")


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("nonsense",), 2, "No such command 'nonsense'"),
        (("--set", "lease=3", "settings"), 2, "Did you mean lease_s?"),
        (("--set", "lease", "settings"), 2, "is not NAME=VALUE"),
        (("--set", "ingest_port=x", "settings"), 2, "Expected `int`"),
        (("events", "list"), 3, "There is no API key"),
        (
            ("--set", "api_key=x", "--set", "query_url=ftp://x", "events", "list"),
            2,
            "must begin with http:// or https://",
        ),
        (("--set", "api_key=x", "--set", "query_port=9", "events", "list"), 5, "does not answer"),
        (("--set", "api_key=x", "events", "send", "/does/not/exist"), 2, "cannot be read"),
        (
            ("--set", "api_key=x", "events", "send", "--type", "t", "--source", "s", "--data", "{"),
            2,
            "--data is not JSON",
        ),
        (("--set", "api_key=x", "events", "send", "--type", "t"), 2, "--type and --source are given together"),
        (("db", "url"), 4, "The embedded Postgres does not run"),
        (("--set", "database_url=postgresql://u:geheim@127.0.0.1:9/x", "db", "stop"), 3, "u:****@127.0.0.1"),
        (
            ("--set", "database_url=postgresql://u:geheim@127.0.0.1:9/x", "apikey", "list"),
            5,
            "Postgres cannot be reached",
        ),
        (("dlq", "list", "--queue", "evnts"), 4, "Did you mean events?"),
    ],
)
def test_what_is_wrong_is_said_plainly_with_its_exit_code(
    tmp_path: Path, args: tuple[str, ...], code: int, said: str
) -> None:
    done = fluxa(*args, home=tmp_path)
    assert done.returncode == code, done.stderr
    assert said in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert "geheim" not in done.stderr


def test_a_service_that_is_not_there_is_told_soon(tmp_path: Path) -> None:
    began = time.monotonic()
    done = fluxa(
        *("--set", "api_key=x", "--set", "ingest_port=9"),
        *("events", "send", "--type", "t", "--source", "s"),
        home=tmp_path,
    )
    assert done.returncode == 5
    assert "Start it with fluxa up" in done.stderr
    assert time.monotonic() - began < 20


def test_settings_shows_sources_and_hides_secrets(tmp_path: Path) -> None:
    done = fluxa(
        "settings", "--json", home=tmp_path, FLUXA_DATABASE_URL="postgresql://u:geheim@h/d", FLUXA_API_KEY="fx"
    )
    rows = {row["name"]: row for row in json.loads(done.stdout)["settings"]}
    assert rows["database_url"]["value"] == "postgresql://u:****@h/d"
    assert rows["api_key"]["value"] == "****"
    assert (rows["home"]["source"], rows["lease_s"]["source"]) == ("environment", "default")


@pytest.mark.req("PIPE-8")
def test_an_event_is_sent_got_listed_and_told(stack: Stack) -> None:
    stack.run("events", "send", "--type", "one", "--source", "me", "--id", "a/1", "--data", '{"n": 1}')
    again = stack.run(
        "events", "send", "--type", "one", "--source", "me", "--id", "a/1", "--data", '{"n": 1}', "--json"
    )
    assert json.loads(again.stdout)["accepted"] == 1
    got = json.loads(stack.eventually("events", "get", "a/1", "--json"))
    assert got["event"]["data"] == {"n": 1}
    listed = json_lines(stack.run("events", "list", "--type", "one", "--json").stdout)
    assert [item["event"]["id"] for item in listed] == ["a/1"]
    told = stack.eventually("trace", got["correlation_id"], where=lambda text: "sent 2 times" in text)
    assert "one a/1 from me: stored after 1 attempt" in told
    assert told.index("validate") < told.index("enqueue") < told.index("process") < told.index("persist")


@pytest.mark.req("PIPE-8")
def test_what_is_not_there_is_not_found(stack: Stack) -> None:
    assert "What to do" in stack.fails(4, "events", "get", "none")
    assert "What to do" in stack.fails(4, "trace", "none")
    assert "/from" in stack.fails(2, "events", "list", "--from", "yesterday")


def test_a_file_of_lines_is_sent_and_the_bad_ones_are_named(stack: Stack, tmp_path: Path) -> None:
    lines = [
        json.dumps({"specversion": "1.0", "id": f"l{n}", "source": "/f", "type": "line", "data": n})
        for n in range(1200)
    ]
    lines[700] = '{"specversion": "1.0", "id": "x"}'
    file = tmp_path / "events.ndjson"
    file.write_text("\n".join(lines))
    said = stack.fails(1, "events", "send", str(file), "--batch", "100")
    assert "1199 accepted, 1 refused" in said
    assert "line 701: InvalidEvent" in said
    stack.eventually(
        "events", "list", "--type", "line", "--limit", "2000", "--json", where=lambda text: text.count("\n") == 1199
    )


@pytest.mark.parametrize("text", ['{"n": 1}\n{"n": 2}\n', '[{"n": 1},\n {"n": 2}]', '\n\n{"n": 1}\n\n{"n": 2}'])
def test_what_is_no_event_yet_becomes_the_data_of_one(stack: Stack, text: str) -> None:
    done = stack.run("events", "send", "-", "--type", "wrapped", "--source", "/w", "--json", stdin=text)
    assert json.loads(done.stdout)["accepted"] == 2


def test_nothing_to_send_is_no_error_and_nonsense_is_one(stack: Stack) -> None:
    assert "0 accepted" in stack.run("events", "send", "-", stdin="").stderr
    assert "neither NDJSON nor JSON" in stack.fails(1, "events", "send", "-", stdin="hello")


@pytest.mark.req("PIPE-8")
def test_tail_shows_what_comes(stack: Stack) -> None:
    tail = subprocess.Popen(
        [sys.executable, "-m", "fluxa", "events", "tail", "--type", "tailed", "--count", "1", "--json"],
        env=environment(FLUXA_HOME=str(stack.home)),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        until = time.monotonic() + 60
        while tail.poll() is None:  # the stream begins some time after the command: what comes before is not shown
            assert time.monotonic() < until
            stack.run("events", "send", "--type", "tailed", "--source", "me", "--data", '"line\\u2028break"')
        out, _ = tail.communicate(timeout=30)
    finally:
        tail.kill()
        tail.wait()
    assert [item["event"]["data"] for item in json_lines(out)] == ["line\u2028break"]


@pytest.mark.req("PIPE-2")
def test_a_schema_is_registered_enforced_shown_and_removed(stack: Stack, tmp_path: Path) -> None:
    file = tmp_path / "schema.json"
    file.write_text('{"type": "object", "required": ["n"]}')
    assert "Version 1" in stack.run("schema", "put", "checked", str(file)).stderr
    assert json_lines(stack.run("schema", "list", "--json").stdout)[0]["type"] == "checked"
    assert json.loads(stack.run("schema", "show", "checked").stdout)["required"] == ["n"]
    bad = ("events", "send", "--type", "checked", "--source", "me", "--data", "{}")
    assert "SchemaValidation" in stack.fails(1, *bad)
    stack.run("schema", "delete", "checked")
    assert "What to do" in stack.fails(4, "schema", "show", "checked")
    assert "accepted" in stack.eventually(*bad, "--json", where=lambda text: '"accepted":1' in text)


@pytest.mark.req("PIPE-9", "QUEUE-8")
def test_a_dead_letter_is_listed_shown_refused_forced_and_deleted(stack: Stack) -> None:
    _send_foreign(stack, '{"specversion": "1.0", "id": "broken"}')
    letter = json_lines(stack.eventually("dlq", "list", "--json"))[0]
    assert (letter["error_code"], letter["class"]) == ("InvalidEvent", "permanent")
    shown = stack.run("dlq", "show", letter["id"]).stdout
    assert '"id": "broken"' in shown.replace('":"', '": "')
    assert "Nothing says which" in stack.fails(2, "dlq", "redrive")
    assert "--force InvalidEvent" in stack.fails(3, "dlq", "redrive", "--all")
    planned = stack.run("dlq", "redrive", "--all", "--force", "InvalidEvent", "--dry-run", "--json")
    assert json.loads(planned.stdout) == {
        "dry_run": True,
        "planned": {"InvalidEvent": 1},
        "planned_by_class": {"permanent": 1},
        "moved": 0,
        "refused": {},
        "refused_as_loops": 0,
        "quarantined": 0,
        "total": 1,
    }
    assert "1 sent again" in stack.run("dlq", "redrive", "--id", letter["id"], "--force", "InvalidEvent").stderr
    back = json_lines(stack.eventually("dlq", "list", "--json"))[0]
    assert back["redrives"] == 1
    assert stack.fails(1, "dlq", "purge", "--all", stdin="n\n")
    assert "1 deleted" in stack.run("dlq", "purge", "--code", "InvalidEvent", "--yes").stderr
    assert stack.run("dlq", "list", "--json").stdout == ""
    assert stack.fails(4, "dlq", "show", letter["id"])
    queues = json_lines(stack.run("queue", "list", "--json").stdout)
    assert ("events", 0) in [(one["queue"], one["dead"]) for one in queues]


def _send_foreign(stack: Stack, message: str) -> None:
    """Put a message into the queue as another program would."""
    url = stack.run("db", "url").stdout.strip()
    code = (
        "import asyncio, asyncpg, sys\n"
        "async def main():\n"
        "    connection = await asyncpg.connect(sys.argv[1])\n"
        "    await connection.execute(\"select pgmq.send('events', $1::jsonb)\", sys.argv[2])\n"
        "    await connection.close()\n"
        "asyncio.run(main())\n"
    )
    subprocess.run([sys.executable, "-c", code, url, message], check=True)


def test_a_key_is_made_used_and_revoked(stack: Stack) -> None:
    made = json.loads(stack.run("apikey", "create", "--tenant", "acme", "--name", "mine", "--json").stdout)
    other = ("--set", f"api_key={made['api_key']}")
    stack.run(*other, "events", "send", "--type", "theirs", "--source", "/acme")
    stack.eventually(*other, "events", "list", "--json", where=lambda text: "theirs" in text)
    assert "theirs" not in stack.run("events", "list", "--json", "--limit", "3000").stdout
    keys = json_lines(stack.run("apikey", "list", "--tenant", "acme", "--json").stdout)
    assert [(key["key_id"], key["name"]) for key in keys] == [(made["key_id"], "mine")]
    stack.run("apikey", "revoke", made["key_id"])
    assert stack.fails(4, "apikey", "revoke", made["key_id"])
    assert json_lines(stack.run("apikey", "list", "--tenant", "acme", "--json").stdout)[0]["revoked_at"]
    assert "cannot name a tenant" in stack.fails(2, "apikey", "create", "--tenant", "A B")


def test_the_database_is_found_and_up_to_date(stack: Stack) -> None:
    facts = json.loads(stack.run("db", "status", "--json").stdout)
    assert (facts["kind"], facts["running"], facts["pending"]) == ("embedded", True, 0)
    assert "up to date" in stack.run("db", "migrate").stderr
    assert stack.run("db", "url").stdout.startswith("postgresql://")


def test_output_that_nobody_reads_any_more_is_no_error(stack: Stack) -> None:
    stack.run("events", "send", "--type", "piped", "--source", "me")
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "fluxa", "events", "list", "--json"],
            env=environment(FLUXA_HOME=str(stack.home)),
            stdout=writer,
            stderr=subprocess.PIPE,
            check=False,
        )
    finally:
        os.close(writer)
    assert b"Traceback" not in done.stderr
    assert b"Exception" not in done.stderr
