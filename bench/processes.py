"""Child processes that say when they are ready and are gone when the measurement is."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


class Child:
    """A running child process."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process = process
        self._log = log

    async def expect(self, word: str, *, timeout_s: float = 60.0) -> str:
        """The first line that begins with the word.

        Raises:
            RuntimeError: if the process ends first; holds the end of its log.
        """
        stream = self._process.stdout
        if stream is None:
            raise RuntimeError("the child has no pipe")
        async with asyncio.timeout(timeout_s):
            while line := await stream.readline():
                if (text := line.decode()).startswith(word):
                    return text
        raise RuntimeError(f"the process ended before it said {word}:\n{self._log.read_text()[-2000:]}")

    @property
    def ended(self) -> int | None:
        """Its exit code, once it has ended."""
        return self._process.returncode

    def say(self, line: str) -> None:
        """Write a line to its standard input."""
        if self._process.stdin is not None:
            self._process.stdin.write(f"{line}\n".encode())


@contextlib.asynccontextmanager
async def child(
    *command: str | Path, log: Path, env: Mapping[str, str] | None = None, talks: bool = True
) -> AsyncIterator[Child]:
    """Start a command from the repository's root; end it afterwards.

    Args:
        command: and its arguments.
        log: where its errors go.
        env: added to the environment.
        talks: whether `expect` reads its output; if not, the output goes to the log too.
    """
    with log.open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=ROOT,
            env=None if env is None else {**os.environ, **env},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE if talks else errors,
            stderr=errors,
            start_new_session=True,
        )
    try:
        yield Child(process, log)
    finally:
        await _end(process)


async def _end(process: asyncio.subprocess.Process) -> None:
    """End a process, then what it started itself and left behind: some peers keep pools of processes."""
    if process.returncode is None:
        process.terminate()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(10):
                await process.wait()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


def python(*arguments: str) -> tuple[str, ...]:
    """A command that runs this interpreter."""
    return (sys.executable, *arguments)
