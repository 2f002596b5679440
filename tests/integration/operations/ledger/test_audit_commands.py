"""`fluxa audit` as people use it, with the guide's commands as they are written (SEC-3)."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import asyncpg
import pytest

from house.tree import ROOT
from making.stack import fluxa, json_lines

pytestmark = pytest.mark.req("SEC-3")

GUIDE = ROOT / "docs" / "operating" / "audit.md"


class Shell:
    """Commands on one database."""

    def __init__(self, home: Path, url: str) -> None:
        self.home, self.url = home, url

    def run(self, *args: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = fluxa(*args, home=self.home, FLUXA_DATABASE_URL=self.url)
        assert done.returncode == code, (args, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        return done


@pytest.fixture
def shell(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.chdir(tmp_path)
    return Shell(tmp_path / "home", database_url)


def _cut() -> None:
    """An export without its last line."""
    Path("cut.ndjson").write_bytes(b"".join(Path("audit.ndjson").read_bytes().splitlines(keepends=True)[:-1]))


async def test_the_guide_goes_as_written_and_tampering_is_told(shell: Shell) -> None:
    shell.run("apikey", "create", "--name", "ci")
    shell.run("cron", "add", "digest", "0 9 * * 1", "--queue", "pulse")
    shell.run("queue", "pause", "pulse", "--reason", "night")
    lines = re.findall(r"^\$ fluxa (.*)$", GUIDE.read_text("utf-8"), re.MULTILINE)
    assert len(lines) >= 6
    said = {line: shell.run(*shlex.split(line)) for line in lines}
    assert "queue.paused" in said["audit list"].stdout
    assert "3 entries of 1 tenants checked, 0 anchors" in said["audit verify"].stderr
    assert "3 entries of 1 tenants checked, 1 anchors" in said["audit verify --file audit.ndjson"].stderr
    (made,) = json_lines(shell.run("audit", "list", "--action", "api_key.created", "--json").stdout)
    assert (made["number"], made["actor"].startswith("cli:")) == (1, True)
    assert made["hash"] in shell.run("audit", "show", "1").stdout
    shell.run("audit", "show", "9", code=4)
    shell.run("audit", "export", "--to", "audit.ndjson", code=3)

    connection = await asyncpg.connect(shell.url)
    await connection.execute("set session_replication_role = replica")
    await connection.execute("update fluxa.ledger set actor = 'somebody else' where number = 2")
    await connection.close()
    found = shell.run("audit", "verify", code=1)
    assert "entry 2 is not what was hashed" in found.stdout
    _cut()
    cut = shell.run("audit", "verify", "--file", "cut.ndjson", code=1)
    assert "entry 3 is not there" in cut.stdout
    assert os.listdir(shell.home / "anchors" / "anchors" / "default") == ["0000000000000003.json"]  # noqa: PTH208
