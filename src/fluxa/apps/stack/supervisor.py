"""Keeps child processes running: starts them, restarts them with backoff, leaves none behind."""

import asyncio
import contextlib
import os
import signal
import socket
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from fluxa.kernel.clock import Clock
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.telemetry.catalogue import Hook, ProcessRestarted

_LAST_LINES = 20
_CHUNK_BYTES = 65536
_LINE_MAX_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ChildPlan:
    """What to run.

    Attributes:
        name: for people, logs and metrics; unique.
        command: program and arguments; `--ready-fd`, `--lifeline-fd`, `--restarts` and `--listen-fd` are added.
        environment: all of its variables.
        listen: a socket it serves on; it stays bound while the child is restarted.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    listen: socket.socket | None = None


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """When to start a child again.

    Attributes:
        base_s: seconds before the first restart; doubled for each one after it.
        cap_s: seconds at most.
        healthy_s: a child that ran this long starts again from `base_s`.
        ready_s: seconds a child may take until it is ready.
        stop_s: seconds a child may take to stop before it is killed.
    """

    base_s: float = 0.2
    cap_s: float = 15.0
    healthy_s: float = 20.0
    ready_s: float = 60.0
    stop_s: float = 30.0

    def delay_s(self, streak: int) -> float:
        """Seconds before restart number `streak` (from 1) in a row."""
        return min(self.cap_s, self.base_s * 2.0 ** min(streak - 1, 32))


@dataclass(slots=True)
class _Child:
    plan: ChildPlan
    process: asyncio.subprocess.Process | None = None
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=_LAST_LINES))
    keeper: asyncio.Task[None] | None = None
    restarts: int = 0


class Supervisor:
    """Runs children until it is stopped. A `fluxa.kernel.lifecycle.Service`.

    Args:
        plans: the children, in the order they start.
        hook: hears `ProcessRestarted`.
        clock: measures how long a child ran.
        on_line: called with a child's name and each line it writes.
        on_change: called after a child was started or restarted.
        policy: when to start again.
    """

    def __init__(
        self,
        plans: Sequence[ChildPlan],
        *,
        hook: Hook,
        clock: Clock,
        on_line: Callable[[str, str], None],
        on_change: Callable[[], None] = lambda: None,
        policy: RestartPolicy | None = None,
    ) -> None:
        self._children = [_Child(plan) for plan in plans]
        self._hook = hook
        self._clock = clock
        self._on_line = on_line
        self._on_change = on_change
        self._policy = policy or RestartPolicy()
        self._stopping = asyncio.Event()
        self._pumps: set[asyncio.Task[None]] = set()
        # Only this process holds the writing end: when it dies, however it dies, every child reads the end.
        self._lifeline, self._lifeline_kept = os.pipe()

    @property
    def pids(self) -> dict[str, int]:
        """The process ids of the children that run now, by name."""
        return {
            child.plan.name: child.process.pid
            for child in self._children
            if child.process is not None and child.process.returncode is None
        }

    async def start(self) -> None:
        """Start every child at once and wait until each is ready.

        Raises:
            FluxaError: `ProcessFailed` with its last lines, if a child ends before it was ever ready.
        """
        new = [child for child in self._children if child.keeper is None]
        for child in new:
            await self._spawn(child)
        for child in new:
            await self._first_ready(child)
        self._on_change()

    async def _first_ready(self, child: _Child) -> None:
        assert child.process is not None  # noqa: S101 - _spawn has just set it
        ended = asyncio.create_task(child.process.wait())
        ready = asyncio.create_task(child.ready.wait())
        await asyncio.wait((ended, ready), timeout=self._policy.ready_s, return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        ended.cancel()
        if not child.ready.is_set():
            code = child.process.returncode
            how = "did not become ready in time" if code is None else f"ended with code {code}"
            last = "\n".join(child.lines)
            raise FluxaError(ErrorCode.PROCESS_FAILED, f"{child.plan.name} {how}. Its last lines:\n{last}")
        child.keeper = asyncio.create_task(self._keep(child), name=f"keep-{child.plan.name}")

    async def stop(self) -> None:
        """Ask every child to stop, wait, and kill what is left after `stop_s`."""
        self._stopping.set()
        for child in self._children:
            if child.plan.listen is not None:
                child.plan.listen.close()  # else connections would wait in a queue that nobody reads
        for child in self._children:
            _send(child, signal.SIGTERM)
        try:
            async with asyncio.timeout(self._policy.stop_s):
                await self._gone()
        except TimeoutError:
            self.kill()
            await self._gone()
        if self._pumps:
            await asyncio.wait(self._pumps, timeout=1)  # a grandchild may still hold the pipe
        kept, self._lifeline_kept = self._lifeline_kept, -1
        if kept >= 0:
            os.close(kept)
            os.close(self._lifeline)

    def kill(self) -> None:
        """End every child at once."""
        self._stopping.set()
        for child in self._children:
            _send(child, signal.SIGKILL)

    async def _gone(self) -> None:
        for child in self._children:
            if child.keeper is not None:
                await asyncio.wait((child.keeper,))  # also of a child that was being started when the stop came
            elif child.process is not None:
                await child.process.wait()

    async def _keep(self, child: _Child) -> None:
        streak = 0
        while True:
            began_s = self._clock.monotonic()
            code = await self._ended(child)
            if self._stopping.is_set():
                return
            streak = 1 if self._clock.monotonic() - began_s >= self._policy.healthy_s else streak + 1
            delay_s = self._policy.delay_s(streak)
            self._hook(ProcessRestarted(process=child.plan.name, exit_code=code, delay_s=delay_s))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay_s):
                    await self._stopping.wait()
                    return
            child.restarts += 1
            try:
                await self._spawn(child)
            except OSError as error:  # no memory, no process left: that may pass, and giving up would be for good
                self._on_line(child.plan.name, f"could not be started: {error}")
            else:
                if self._stopping.is_set():
                    _send(child, signal.SIGTERM)
                self._on_change()

    async def _ended(self, child: _Child) -> int:
        """Wait for a child's end; one that does not become ready in its time is ended."""
        process = child.process
        assert process is not None  # noqa: S101 - it was spawned before
        ended = asyncio.create_task(process.wait())
        ready = asyncio.create_task(child.ready.wait())
        try:
            await asyncio.wait((ended, ready), timeout=self._policy.ready_s, return_when=asyncio.FIRST_COMPLETED)
            if not child.ready.is_set() and process.returncode is None:
                self._on_line(child.plan.name, f"was not ready within {self._policy.ready_s:g} s and is killed")
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
            return await ended
        finally:
            ready.cancel()
            ended.cancel()

    async def _spawn(self, child: _Child) -> None:
        child.ready.clear()
        ready, told = os.pipe()
        command = [*child.plan.command, "--ready-fd", str(told), "--lifeline-fd", str(self._lifeline)]
        command += ["--restarts", str(child.restarts)]
        inherited = [told, self._lifeline]
        if child.plan.listen is not None:
            number = child.plan.listen.fileno()
            command += ["--listen-fd", str(number)]
            inherited.append(number)
        try:
            child.process = await asyncio.create_subprocess_exec(
                *command,
                env=dict(child.plan.environment),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                pass_fds=inherited,
                start_new_session=True,  # a Ctrl-C in the terminal is ours to forward
            )
        except BaseException:
            os.close(ready)
            raise
        finally:
            os.close(told)
        self._read(child, child.process.stdout, ready)

    def _read(self, child: _Child, output: asyncio.StreamReader | None, ready: int) -> None:
        assert output is not None  # noqa: S101 - it was asked for as a pipe
        loop = asyncio.get_running_loop()

        def on_ready() -> None:
            loop.remove_reader(ready)
            if os.read(ready, 16):
                child.ready.set()
            os.close(ready)

        loop.add_reader(ready, on_ready)
        task = loop.create_task(self._pump(child, output), name=f"lines-{child.plan.name}")
        self._pumps.add(task)
        task.add_done_callback(self._pumps.discard)

    async def _pump(self, child: _Child, output: asyncio.StreamReader) -> None:
        rest = b""
        while chunk := await output.read(_CHUNK_BYTES):
            *whole, rest = (rest + chunk).split(b"\n")
            if len(rest) > _LINE_MAX_BYTES:
                whole, rest = [*whole, rest], b""
            for line in whole:
                self._line(child, line)
        if rest:
            self._line(child, rest)

    def _line(self, child: _Child, line: bytes) -> None:
        text = line.decode(errors="replace")
        child.lines.append(text)
        self._on_line(child.plan.name, text)


def _send(child: _Child, number: signal.Signals) -> None:
    if child.process is not None and child.process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            child.process.send_signal(number)
