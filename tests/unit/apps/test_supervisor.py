"""The supervisor with real child processes: order, restart, backoff, forwarding, and no orphans."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from fluxa.apps.serving.server import bind, url_of
from fluxa.apps.stack.supervisor import ChildPlan, RestartPolicy, Supervisor
from fluxa.kernel.clock import SystemClock
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.telemetry.catalogue import ProcessRestarted, Signal
from fluxa.testing.signals import Signals

_CHILD = """
import asyncio, sys
from fluxa.apps.serving.process import Tie, run
fds = dict(zip(sys.argv[1::2], sys.argv[2::2]))
async def work(stopping, tie):
    print("up", flush=True)
    tie.ready()
    await stopping.wait()
    print("stopped", flush=True)
run(work, Tie(ready_fd=int(fds["--ready-fd"]), lifeline_fd=int(fds["--lifeline-fd"])))
"""
_DEAF = """
import signal, sys, os, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
fds = dict(zip(sys.argv[1::2], sys.argv[2::2]))
os.write(int(fds["--ready-fd"]), b"ready")
while True: time.sleep(1)
"""
_DOOMED = "import sys; print('no such setting: x'); sys.exit(7)"
_ECHO = """
import asyncio, sys, socket
from fluxa.apps.serving.process import Tie, run
fds = dict(zip(sys.argv[1::2], sys.argv[2::2]))
async def answer(reader, writer):
    writer.write(b"hello"); await writer.drain(); writer.close()
async def work(stopping, tie):
    server = await asyncio.start_server(answer, sock=socket.socket(fileno=int(fds["--listen-fd"])))
    tie.ready()
    await stopping.wait()
    server.close()
run(work, Tie(ready_fd=int(fds["--ready-fd"]), lifeline_fd=int(fds["--lifeline-fd"])))
"""
_SUPERVISOR = """
import asyncio, sys
from fluxa.apps.stack.supervisor import ChildPlan, Supervisor
from fluxa.kernel.clock import SystemClock
async def main():
    plans = [ChildPlan(n, (sys.executable, "-c", sys.argv[1]), dict(__import__("os").environ)) for n in "ab"]
    supervisor = Supervisor(plans, hook=print, clock=SystemClock(), on_line=lambda *a: None)
    await supervisor.start()
    print(__import__("json").dumps(supervisor.pids), flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""


def _plan(name: str, code: str, listen: socket.socket | None = None) -> ChildPlan:
    return ChildPlan(name, (sys.executable, "-c", code), dict(os.environ), listen)  # noqa: TID251 - the test's own


class _Watched:
    """A supervisor and what it told."""

    def __init__(self, *plans: ChildPlan, policy: RestartPolicy | None = None) -> None:
        self.signals = Signals()
        self.lines: list[tuple[str, str]] = []
        self._line = asyncio.Event()
        self.changes: asyncio.Queue[None] = asyncio.Queue()
        self.supervisor = Supervisor(
            plans,
            hook=self.signals.hear,
            clock=SystemClock(),
            on_line=self._told,
            on_change=lambda: self.changes.put_nowait(None),
            policy=policy or RestartPolicy(base_s=0.01, stop_s=5),
        )

    def _told(self, name: str, line: str) -> None:
        self.lines.append((name, line))
        self._line.set()

    async def until_said(self, name: str, line: str, times: int) -> None:
        """Wait until a child has said a line so many times."""
        async with asyncio.timeout(30):
            while self.lines.count((name, line)) < times:
                self._line.clear()
                await self._line.wait()


@contextlib.asynccontextmanager
async def _running(*plans: ChildPlan, policy: RestartPolicy | None = None) -> AsyncIterator[_Watched]:
    watched = _Watched(*plans, policy=policy)
    try:
        await watched.supervisor.start()
        await watched.changes.get()
        yield watched
    finally:
        await watched.supervisor.stop()


def _alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@pytest.mark.req("PIPE-11")
async def test_children_start_and_stop_when_asked() -> None:
    async with _running(_plan("a", _CHILD), _plan("b", _CHILD)) as watched:
        pids = watched.supervisor.pids
        assert list(pids) == ["a", "b"]
        assert set(watched.lines[:2]) == {("a", "up"), ("b", "up")}
    assert not any(_alive(pid) for pid in pids.values())
    assert ("a", "stopped") in watched.lines
    assert watched.signals.heard == []


async def test_a_killed_child_is_started_again_and_that_is_told() -> None:
    async with _running(_plan("a", _CHILD), _plan("b", _CHILD)) as watched:
        before = watched.supervisor.pids
        os.kill(before["a"], signal.SIGKILL)
        told = await watched.signals.wait_for(ProcessRestarted)
        await asyncio.wait_for(watched.changes.get(), 10)
        after = watched.supervisor.pids
    assert (told.process, told.exit_code) == ("a", -signal.SIGKILL)
    assert after["a"] != before["a"]
    assert after["b"] == before["b"]


async def test_one_that_keeps_dying_is_started_ever_more_slowly() -> None:
    once = _CHILD.replace("await stopping.wait()", "sys.exit(3)")
    async with _running(_plan("a", once), policy=RestartPolicy(base_s=0.01, cap_s=0.03, stop_s=5)) as watched:

        def third(_signal: Signal) -> bool:
            return len([s for s in watched.signals.heard if isinstance(s, ProcessRestarted)]) >= 4

        await watched.signals.wait_for(ProcessRestarted, third, timeout_s=20)
    delays = [s.delay_s for s in watched.signals.heard if isinstance(s, ProcessRestarted)]
    assert delays[:4] == [0.01, 0.02, 0.03, 0.03]


async def test_one_that_ran_well_starts_again_at_once() -> None:
    policy = RestartPolicy(base_s=0.01, healthy_s=0.0, stop_s=5)
    async with _running(_plan("a", _CHILD), policy=policy) as watched:
        for _ in range(2):
            os.kill(watched.supervisor.pids["a"], signal.SIGKILL)
            await asyncio.wait_for(watched.changes.get(), 10)
    assert {s.delay_s for s in watched.signals.heard if isinstance(s, ProcessRestarted)} == {0.01}


async def test_one_that_never_was_ready_ends_the_start_with_its_last_words() -> None:
    with pytest.raises(FluxaError, match="no such setting: x") as caught:
        async with _running(_plan("a", _CHILD), _plan("b", _DOOMED)):
            pass
    assert caught.value.code == ErrorCode.PROCESS_FAILED
    assert "b ended with code 7" in caught.value.detail


async def test_one_that_hangs_when_it_is_started_again_is_ended_and_tried_once_more(tmp_path: Path) -> None:
    # Ready the first time; hangs the second time; ready the third time.
    hanging = _CHILD.replace(
        "import asyncio, sys",
        f"import asyncio, sys, time; fds = dict(zip(sys.argv[1::2], sys.argv[2::2])); "
        f"open({str(tmp_path / 'starts')!r}, 'a').write(fds['--restarts']); "
        "fds['--restarts'] == '1' and time.sleep(60)",
    )
    policy = RestartPolicy(base_s=0.01, ready_s=3, stop_s=5)
    async with _running(_plan("a", hanging), policy=policy) as watched:
        os.kill(watched.supervisor.pids["a"], signal.SIGKILL)
        await watched.until_said("a", "up", 2)
    assert ("a", "was not ready within 3 s and is killed") in watched.lines
    assert (tmp_path / "starts").read_text() == "012"


async def test_one_that_cannot_be_started_again_is_tried_until_it_can(tmp_path: Path) -> None:
    program, kept = tmp_path / "program", tmp_path / "kept"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    program.chmod(0o700)
    plan = ChildPlan("a", (str(program), "-c", _CHILD), dict(os.environ))  # noqa: TID251 - the test's own
    async with _running(plan) as watched:
        program.rename(kept)
        os.kill(watched.supervisor.pids["a"], signal.SIGKILL)
        await watched.signals.wait_for(ProcessRestarted, lambda told: told.delay_s > 0.01)
        kept.rename(program)
        await asyncio.wait_for(watched.changes.get(), 20)
        assert watched.supervisor.pids
    assert any("could not be started" in line for _, line in watched.lines)


async def test_a_stop_does_not_wait_for_a_pause_between_restarts() -> None:
    async with asyncio.timeout(30):
        async with _running(_plan("a", _CHILD), policy=RestartPolicy(base_s=60, cap_s=60)) as watched:
            os.kill(watched.supervisor.pids["a"], signal.SIGKILL)
            await watched.signals.wait_for(ProcessRestarted)
    assert watched.supervisor.pids == {}


async def test_a_stop_that_comes_while_a_child_is_started_again_ends_that_one_too() -> None:
    before = {one.pid for one in psutil.Process().children(recursive=True)}
    for _ in range(5):
        async with _running(_plan("a", _CHILD), policy=RestartPolicy(base_s=0.0, stop_s=20)) as watched:
            os.kill(watched.supervisor.pids["a"], signal.SIGKILL)
            await watched.signals.wait_for(ProcessRestarted)
        assert watched.supervisor.pids == {}
        after = {one.pid for one in psutil.Process().children(recursive=True)}
        assert not [pid for pid in after - before if _alive(pid)]


async def test_one_that_does_not_heed_is_killed_after_its_time() -> None:
    async with _running(_plan("a", _DEAF), policy=RestartPolicy(stop_s=0.2)) as watched:
        pid = watched.supervisor.pids["a"]
    assert not _alive(pid)


async def test_the_port_stays_open_while_its_server_is_started_again() -> None:
    bound = bind("127.0.0.1", 0, setting="ingest_port")
    bound.listen(16)
    host, port = bound.getsockname()
    async with _running(_plan("a", _ECHO, bound)) as watched:
        os.kill(watched.supervisor.pids["a"], signal.SIGKILL)
        for _ in range(5):  # none is refused: they wait in the kernel until the new process takes them
            reader, writer = await asyncio.open_connection(host, port)
            await asyncio.wait_for(reader.read(), 10)
            writer.close()
        assert watched.signals.heard


async def test_no_child_outlives_a_supervisor_that_is_killed() -> None:
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", _SUPERVISOR, _CHILD, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    pids = json.loads(await parent.stdout.readline())
    assert all(_alive(pid) for pid in pids.values())
    parent.kill()
    await parent.wait()
    for pid in pids.values():
        with contextlib.suppress(psutil.NoSuchProcess):
            await asyncio.to_thread(psutil.Process(pid).wait, 10)
    assert not any(_alive(pid) for pid in pids.values())


def test_a_port_in_use_is_refused_with_what_to_do() -> None:
    with bind("127.0.0.1", 0, setting="ingest_port") as taken:
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(FluxaError, match=f"Port {port} on 127.0.0.1 is in use") as caught:
            bind("127.0.0.1", port, setting="ingest_port")
    assert "set ingest_port" in caught.value.detail


def test_a_host_of_another_machine_is_refused() -> None:
    with pytest.raises(FluxaError, match="Cannot listen on 192"):
        bind("192.0.2.1", 0, setting="ingest_port")


def test_the_url_of_a_socket_on_all_addresses_can_be_used() -> None:
    with bind("0.0.0.0", 0, setting="ingest_port") as bound:  # noqa: S104 - bound for a moment, never listening
        assert url_of(bound) == f"http://127.0.0.1:{bound.getsockname()[1]}"
