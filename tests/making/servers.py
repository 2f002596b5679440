"""Homes for embedded servers, and programs that use them, as root and as an ordinary user."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import psutil
import pytest

import fluxa
from fluxa.postgres.embedded import process
from fluxa.postgres.embedded.layout import Layout

NOBODY = 65534
_PROGRAM = Path(__file__).parents[1] / "integration" / "postgres" / "embedded" / "server_user.py"


def end_server(home: Path) -> None:
    """Kill whatever still runs in a home, so that a failed test leaves nothing behind."""
    layout = Layout(home / "postgres")
    if layout.data.exists():
        for found in process.orphans(layout.data):
            with contextlib.suppress(psutil.Error):
                found.kill()


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A home for one server."""
    folder = tmp_path / "home"
    yield folder
    end_server(folder)


@pytest.fixture
def shared_home() -> Iterator[Path]:
    """A home that an ordinary user can reach and owns."""
    folder = Path("/tmp") / f"fluxa-test-{uuid.uuid4().hex[:8]}"  # noqa: S108 - pytest's own folders admit root only
    folder.mkdir(mode=0o700)
    if os.geteuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
    yield folder
    end_server(folder)
    shutil.rmtree(folder, ignore_errors=True)


@dataclass
class User:
    """One running program that uses the server."""

    process: subprocess.Popen[str]

    def hear(self) -> dict[str, Any]:
        """What it says next."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the program ended with {self.process.wait()}"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def leave(self) -> None:
        """Let it stop in order."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        assert self.hear() == {"stopped": True}
        assert self.process.wait(20) == 0

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(20)


Begin = Callable[..., User]


@pytest.fixture
def begin() -> Iterator[Begin]:
    """Starts a program that uses a home's server; `ordinary` makes it a user who is not root, `path` its PATH."""
    users: list[User] = []

    def _begin(home: Path, *, ordinary: bool = False, uid: int = NOBODY, path: str = os.defpath) -> User:
        prefix = ordinary_user(uid) if ordinary else (sys.executable,)
        users.append(
            User(
                subprocess.Popen(
                    [*prefix, _PROGRAM, home],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    env={"PATH": path, "PYTHONPATH": _python_path()},
                    cwd="/",
                    start_new_session=True,
                )
            )
        )
        return users[-1]

    yield _begin
    for user in users:
        if user.process.poll() is None:
            user.kill()
        for stream in (user.process.stdin, user.process.stdout):
            if stream is not None:
                stream.close()


def ordinary_user(uid: int) -> tuple[str, ...]:
    """What starts Python as an ordinary user; skips where no interpreter can be reached by one."""
    if os.geteuid() != 0:
        return (sys.executable,)
    drop = ("setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--")
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for interpreter in (sys.executable, shutil.which(name, path=os.defpath)):
        if interpreter is None:
            continue
        with contextlib.suppress(OSError):
            tried = subprocess.run(
                [*drop, interpreter, "-c", "import asyncpg, fluxa, psutil"],
                env={"PATH": os.defpath, "PYTHONPATH": _python_path()},
                cwd="/",
                capture_output=True,
                check=False,
            )
            if tried.returncode == 0:
                return (*drop, interpreter)
    pytest.skip("this machine has no Python that an ordinary user may run; run the tests as that user")


def _python_path() -> str:
    packages = Path(asyncpg.__file__).parents[1]
    return os.pathsep.join([str(Path(fluxa.__file__).parents[1]), str(packages)])
