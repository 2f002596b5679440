"""What every process of Fluxa does around its work: event loop, stop signals, and its tie to a supervisor."""

import asyncio
import contextlib
import ctypes
import gc
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

_PR_SET_PDEATHSIG = 1
_ORPHAN_GRACE_S = 30.0
"""How long an orphan may take to finish its work before it is ended by force."""


@dataclass(frozen=True, slots=True)
class Tie:
    """How a supervisor is tied to this process; nothing of it for one that runs alone.

    Attributes:
        listen_fd: a bound socket to serve on, kept open by the supervisor across restarts.
        ready_fd: a pipe that is told once this process is ready.
        lifeline_fd: a pipe that ends when the supervisor does, even if it is killed.
        restarts: how often the supervisor has started this process again.
    """

    listen_fd: int | None = None
    ready_fd: int | None = None
    lifeline_fd: int | None = None
    restarts: int = 0

    def ready(self) -> None:
        """Tell the supervisor, if there is one, that this process takes work."""
        if self.ready_fd is not None:
            # A supervisor that is gone by now is noticed by the lifeline.
            with contextlib.suppress(OSError):
                os.write(self.ready_fd, b"ready\n")
            with contextlib.suppress(OSError):
                os.close(self.ready_fd)


Work = Callable[[asyncio.Event, Tie], Awaitable[None]]
"""A process's work: runs until the event is set, then finishes what it has begun."""


def run(work: Work, tie: Tie | None = None) -> None:
    """Run a process to its end; SIGTERM, SIGINT and the supervisor's death ask it to stop."""
    tie = tie or Tie()
    follow(tie)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_run(work, tie))


_YOUNG_OBJECTS = 20_000
"""Objects that live before the collector looks at the young ones: a request in flight makes hundreds."""


async def _run(work: Work, tie: Tie) -> None:
    # What the imports made lives as long as the process; walking it costs 10 ms of everybody's latency each time.
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, 20, 50)
    stopping = asyncio.Event()
    with stop_on_signals(stopping.set):
        await work(stopping, tie)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    import uvloop  # noqa: PLC0415 - not on every platform

    return uvloop.new_event_loop


@contextlib.contextmanager
def stop_on_signals(ask: Callable[[], None]) -> Iterator[None]:
    """Call `ask` on SIGTERM, SIGINT or SIGHUP while the block runs."""
    loop = asyncio.get_running_loop()
    signals = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    for number in signals:
        loop.add_signal_handler(number, ask)
    try:
        yield
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


def follow(tie: Tie) -> None:
    """See to it that this process does not outlive its supervisor.

    The kernel's own notice, where it has one, comes at once; the lifeline works everywhere, and
    ends by force a process that does not heed the signal.
    """
    if tie.lifeline_fd is None:
        return
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    threading.Thread(target=_watch, args=(tie.lifeline_fd,), name="lifeline", daemon=True).start()


def _watch(lifeline_fd: int) -> None:
    while os.read(lifeline_fd, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(_ORPHAN_GRACE_S)
    os._exit(1)
