"""A whole Fluxa in a folder of its own: started with `fluxa up` on free ports, watched through its files."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from fluxa.apps.stack import home as home_files

LOG = "up.log"
_TERMINAL = {"COLUMNS": "98", "FORCE_COLOR": "1", "TERM": "xterm-256color"}
FREE_PORTS = {f"{service}_port": "0" for service in ("ingest", "query", "processor", "station", "worker")}


def command(home: Path, *arguments: str, settings: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """A `fluxa` command on that home, run by this interpreter."""
    overrides = [part for name, value in (settings or {}).items() for part in ("--set", f"{name}={value}")]
    return (sys.executable, "-m", "fluxa", "--home", str(home), *overrides, *arguments)


class Stack:
    """The running processes of one home."""

    def __init__(self, home: Path) -> None:
        self.home = home

    @property
    def state(self) -> home_files.RunState:
        """Where everything is now.

        Raises:
            RuntimeError: if nothing runs there.
        """
        state = home_files.read_run_state(self.home)
        if state is None:
            raise RuntimeError(f"no stack runs on {self.home}")
        return state

    @property
    def api_key(self) -> str:
        """The local user's key.

        Raises:
            RuntimeError: if there is none.
        """
        credentials = home_files.read_credentials(self.home)
        if credentials is None:
            raise RuntimeError(f"there are no credentials in {self.home}")
        return credentials.api_key

    def processors(self) -> dict[str, int]:
        """Process ids of the processors by name."""
        return {name: pid for name, pid in self.state.children.items() if name.startswith("processor")}

    async def replaced(self, killed: Mapping[str, int], *, deadline_s: float = 60.0) -> dict[str, int]:
        """Wait until the supervisor has started killed processes again; their new process ids by name.

        Raises:
            TimeoutError: if it does not.
        """
        async with asyncio.timeout(deadline_s):
            while True:
                now = self.state.children
                if all(now.get(name, pid) != pid for name, pid in killed.items()):
                    return {name: now[name] for name in killed}
                await asyncio.sleep(0.05)

    async def queue_depth(self, queue: str) -> int:
        """Messages in a queue, delayed and leased ones included."""
        lines = (await self.command("queue", "list", "--json")).splitlines()
        depths = {row["queue"]: int(row["queue_length"]) for row in map(json.loads, lines)}
        return depths[queue]

    def ways_to_look(self) -> tuple[str, ...]:
        """Commands for someone who wants to see more, and how to stop it."""
        program = os.path.relpath(Path(sys.executable).parent / "fluxa")
        start = f"{program} --home {self.home}"
        return (
            f"{start} events list --limit 5",
            f"{start} events tail",
            f"{start} dlq list",
            f"{start} queue list",
            f"curl {self.state.ingest_url}/metrics",
            f"kill {self.state.pid}    # stops everything in order",
        )

    async def command(self, *arguments: str, coloured: bool = False) -> str:
        """Run a `fluxa` command; its output, for a terminal with colours if wanted.

        Raises:
            RuntimeError: if it fails; holds what it said.
        """
        process = await asyncio.create_subprocess_exec(
            *command(self.home, *arguments),
            env={**os.environ, **(_TERMINAL if coloured else {})},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        if process.returncode:
            raise RuntimeError(f"fluxa {' '.join(arguments)} failed ({process.returncode}): {err.decode()[-1000:]}")
        return out.decode()


@contextlib.asynccontextmanager
async def running(
    home: Path, *, settings: Mapping[str, str], arguments: tuple[str, ...] = (), keep: bool = False
) -> AsyncIterator[Stack]:
    """Start a stack and wait until it is ready; stop it afterwards unless it is kept.

    Raises:
        RuntimeError: if it does not come up; holds the end of its log.
    """
    home.mkdir(parents=True, exist_ok=True)
    log = home / LOG
    # A plain process, since one of asyncio would be killed together with the event loop, and this one may be kept.
    with log.open("ab") as lines:
        process = subprocess.Popen(
            command(home, "up", *arguments, settings=settings),
            stdin=subprocess.DEVNULL,
            stdout=lines,
            stderr=lines,
            start_new_session=True,
        )
    try:
        await _until_ready(home, process, log)
        yield Stack(home)
    except BaseException:
        keep = False
        raise
    finally:
        if not keep:
            await asyncio.to_thread(_stop, process)


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


async def _until_ready(home: Path, process: "subprocess.Popen[bytes]", log: Path) -> None:
    async with asyncio.timeout(90):
        while home_files.read_run_state(home) is None:
            if process.poll() is not None:
                raise RuntimeError(f"fluxa up ended with {process.returncode}:\n{log.read_text()[-3000:]}")
            await asyncio.sleep(0.05)
