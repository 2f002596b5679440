"""How far a worker is, in a small file that it and the benchmark both map: asking costs the worker nothing."""

import mmap
import struct
import time
from pathlib import Path

VARIABLE = "BENCH_PROGRESS"
"""Names the file to a worker."""

_LAYOUT = struct.Struct("<QQ")


class Progress:
    """Jobs handled so far, and when the first one was.

    The layout is two little-endian numbers of 64 bits: how many, and the monotonic nanoseconds of the first.
    """

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(_LAYOUT.size))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), _LAYOUT.size)
        self._count, self._first_ns = _LAYOUT.unpack(self._map)

    def add(self, handled: int) -> None:
        """Called by the worker, when a handler starts with so many."""
        if not self._first_ns:
            self._first_ns = time.monotonic_ns()
        self._count += handled
        _LAYOUT.pack_into(self._map, 0, self._count, self._first_ns)

    @property
    def count(self) -> int:
        """How many handlers have started."""
        return int(_LAYOUT.unpack(self._map)[0])

    @property
    def first_s(self) -> float:
        """The monotonic time of the first; 0 before that."""
        return float(_LAYOUT.unpack(self._map)[1] / 1e9)
