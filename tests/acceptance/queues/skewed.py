"""A `fluxa` whose wall clock is stepped by the test: the file that CHAOS_CLOCK names holds the offset in seconds."""

import datetime as dt
import os
import struct
from mmap import ACCESS_READ, mmap
from pathlib import Path

from fluxa.cli.main import main
from fluxa.kernel.clock import SystemClock

VARIABLE = "CHAOS_CLOCK"
_LAYOUT = struct.Struct("<d")


def step(path: Path, offset_s: float) -> None:
    """Set the clocks of all processes that read this file."""
    if not path.exists():
        path.write_bytes(_LAYOUT.pack(offset_s))
        return
    with path.open("r+b", buffering=0) as file:
        file.write(_LAYOUT.pack(offset_s))


def follow(path: Path) -> None:
    """Let the wall clock of this process be the system's plus the offset; the monotonic one stays."""
    with path.open("rb") as file:
        view = mmap(file.fileno(), _LAYOUT.size, access=ACCESS_READ)
    right = SystemClock.now

    def now(clock: SystemClock) -> dt.datetime:
        (offset_s,) = _LAYOUT.unpack(view)
        return right(clock) + dt.timedelta(seconds=offset_s)

    SystemClock.now = now  # type: ignore[method-assign,assignment]


if __name__ == "__main__":
    follow(Path(os.environ[VARIABLE]))  # noqa: TID251 - the test's own
    main()
