"""`fluxa cron` as people use it, and the guide's commands as they are written (QUEUE-14)."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from house.tree import ROOT
from making.stack import fluxa, json_lines

pytestmark = pytest.mark.req("QUEUE-14")

GUIDE = ROOT / "docs" / "guides" / "cron.md"


class Shell:
    """Commands on one database."""

    def __init__(self, home: Path, url: str) -> None:
        self._home, self._url = home, url

    def cron(self, *args: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = fluxa("cron", *args, home=self._home, FLUXA_DATABASE_URL=self._url)
        assert done.returncode == code, (args, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        return done


@pytest.fixture
def shell(tmp_path: Path, database_url: str) -> Shell:
    return Shell(tmp_path, database_url)


def test_the_guide_goes_as_written(shell: Shell) -> None:
    lines = re.findall(r"^\$ fluxa cron (.*)$", GUIDE.read_text("utf-8"), re.MULTILINE)
    assert len(lines) >= 9
    said = {line: shell.cron(*shlex.split(line)) for line in lines}
    assert "digest" in said["list"].stdout
    assert said["next --count 3"].stdout.count("digest") == 3
    assert "manual" not in said["history digest"].stdout
    assert re.match(r"cron-digest-manual-\S+\n", said["run digest"].stdout)
    assert "is removed" in said["remove digest"].stderr


def test_what_is_said_can_be_read_by_programs(shell: Shell) -> None:
    shell.cron("add", "digest", "30 2 * * *", "--queue", "pulse", "--timezone", "Europe/Vienna", "--missed", "skip")
    record_id = shell.cron("run", "digest").stdout.strip()
    (listed,) = json_lines(shell.cron("list", "--json").stdout)
    (shown,) = json_lines(shell.cron("show", "digest", "--json").stdout)
    assert listed == shown
    wanted = {"queue": "pulse", "timezone": "Europe/Vienna", "missed": "skip", "body": "{}", "last_status": "manual"}
    assert {name: shown[name] for name in wanted} == wanted
    (run,) = json_lines(shell.cron("history", "--status", "manual", "--json").stdout)
    assert (run["name"], run["record_id"]) == ("digest", record_id)
    times = [one["due_at"] for one in json_lines(shell.cron("next", "digest", "--count", "4", "--json").stdout)]
    assert times == sorted(set(times))
    assert times[0] == shown["next_at"]
    shell.cron("disable", "digest")
    assert json_lines(shell.cron("show", "digest", "--json").stdout)[0]["next_at"] is None
    assert "No schedule is enabled" in shell.cron("next").stderr


def test_what_is_wrong_is_said_and_nothing_is_changed(shell: Shell, tmp_path: Path) -> None:
    body = tmp_path / "body"
    body.write_bytes(b"\x00 no JSON")
    assert "no cron expression" in shell.cron("add", "a", "* * *", "--queue", "pulse", code=2).stderr
    assert (
        "no time zone" in shell.cron("add", "a", "@daily", "--queue", "pulse", "--timezone", "Nowhere", code=2).stderr
    )
    assert "Did you mean pulse?" in shell.cron("add", "a", "@daily", "--queue", "puls", code=4).stderr
    assert "single quotes" in shell.cron("add", "a", "@daily", "--queue", "pulse", "--body", "{a", code=2).stderr
    assert (
        "cannot be read" in shell.cron("add", "a", "@daily", "--queue", "pulse", "--body", "@/nowhere", code=2).stderr
    )
    shell.cron("add", "a", "@daily", "--queue", "pulse", "--body", f"@{body}")
    assert "--replace" in shell.cron("add", "a", "@hourly", "--queue", "pulse", code=3).stderr
    for verb in ("show", "remove", "enable", "disable", "run", "next"):
        assert "no schedule nobody" in shell.cron(verb, "nobody", code=4).stderr
    (left,) = json_lines(shell.cron("list", "--json").stdout)
    assert (left["schedule"], left["expression"]) == ("a", "@daily")
