"""Real processes for acceptance tests: `fluxa` as a user starts it, and what it says."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import psutil

READY_S = 60.0
"""Seconds that a stack may take on a busy machine; a fresh embedded server included."""


def environment(**settings: str) -> dict[str, str]:
    """The test's own environment, with no settings but these."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FLUXA_")}  # noqa: TID251 - a test's
    return {**kept, "COLUMNS": "200", "FLUXA_SETTINGS": os.devnull, **settings}


def fluxa(*args: str, home: Path, stdin: bytes = b"", **settings: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    done = subprocess.run(
        [sys.executable, "-m", "fluxa", *args],
        input=stdin,
        capture_output=True,
        env=environment(FLUXA_HOME=str(home), **settings),
        timeout=90,
        check=False,
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be collected does not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


async def until(condition: Callable[[], bool | Awaitable[bool]], *, timeout_s: float = 30.0) -> None:
    """Wait for something that tells no signal, such as another process's end.

    Raises:
        TimeoutError: if it does not come.
    """
    async with asyncio.timeout(timeout_s):
        while True:
            met = condition()
            if met if isinstance(met, bool) else await met:
                return
            await asyncio.sleep(0.02)


class Program:
    """A running `fluxa` command and its lines."""

    def __init__(self, process: asyncio.subprocess.Process, home: Path) -> None:
        self.process = process
        self.home = home
        self.lines: list[str] = []
        self._changed = asyncio.Event()
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            self.lines.append(line.decode().rstrip("\n"))
            self._changed.set()
        self._changed.set()

    @property
    def text(self) -> str:
        """All it has said."""
        return "\n".join(self.lines)

    @property
    def told(self) -> list[dict[str, Any]]:
        """Its log lines."""
        return [json.loads(line) for line in self.lines if line.startswith("{")]

    async def line(self, wanted: Callable[[str], bool], *, timeout_s: float = READY_S) -> str:
        """The first line for which this holds, past ones included.

        Raises:
            AssertionError: if the program ends, or the time, without it.
        """
        seen = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while True:
                    self._changed.clear()
                    for line in self.lines[seen:]:
                        if wanted(line):
                            return line
                    seen = len(self.lines)
                    if self._reader.done():
                        break
                    await self._changed.wait()
        raise AssertionError(f"it never said so:\n{self.text}")

    @property
    def state(self) -> dict[str, Any]:
        """What it tells other commands."""
        found: dict[str, Any] = json.loads((self.home / "run.json").read_text())
        return found

    @property
    def api_key(self) -> str:
        """The local user's key."""
        return str(json.loads((self.home / "credentials.json").read_text())["api_key"])

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end; its exit code."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)
        return await self.ended()

    async def ended(self, *, timeout_s: float = READY_S) -> int:
        """Wait until it has ended; its exit code."""
        async with asyncio.timeout(timeout_s):
            code = await self.process.wait()
            await self._reader
        return code


@contextlib.asynccontextmanager
async def running(*args: str, home: Path, **settings: str) -> AsyncIterator[Program]:
    """A command that runs for a while; ended when the block is."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "fluxa",
        *args,
        env=environment(FLUXA_HOME=str(home), **settings),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        limit=1024 * 1024,
        start_new_session=True,
    )
    program = Program(process, home)
    try:
        yield program
    finally:
        if process.returncode is None:
            await program.stop()


@contextlib.asynccontextmanager
async def stack(home: Path, *args: str, **settings: str) -> AsyncIterator[Program]:
    """`fluxa up` on free ports, ready."""
    async with running("up", "--port", "0", *args, home=home, **settings) as program:
        await program.line(lambda line: "Fluxa is up" in line)
        yield program


def json_lines(text: str) -> Sequence[dict[str, Any]]:
    """What a command printed with `--json`."""
    return [json.loads(line) for line in text.split("\n") if line]
