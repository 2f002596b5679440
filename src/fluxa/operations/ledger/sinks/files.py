"""A sink that is a file: a line of JSON an entry, on disk before it counts. Others, or it itself, may rename it."""

import asyncio
import contextlib
import fcntl
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.operations.ledger.chain import Entry
from fluxa.operations.ledger.export import line_of

_TAIL_BYTES = 65536


class FileSink:
    """A `Sink`. The file is opened for each batch, so that a program which renames it needs to tell nobody.

    Args:
        path: the file; its folder is made.
        rotate_bytes: a file that has become so large is renamed, with the time behind its name; 0: never.
        stamp: the time, as it stands in such a name.
    """

    def __init__(self, path: Path, *, rotate_bytes: int, stamp: Callable[[], str]) -> None:
        self._path = path
        self._rotate_bytes = rotate_bytes
        self._stamp = stamp

    async def deliver(self, entries: Sequence[Entry]) -> None:
        """As `Sink.deliver`; `ProviderUnavailable` if the disk is full, or the file cannot be written."""
        try:
            await asyncio.to_thread(self._append, b"".join(line_of(entry) + b"\n" for entry in entries))
        except OSError as error:
            raise FluxaError(
                ErrorCode.PROVIDER_UNAVAILABLE, f"The file {self._path} cannot be written: {error.strerror}."
            ) from error

    def _append(self, lines: bytes) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fd = self._opened()
        try:
            size = _mended(fd)
            if self._rotate_bytes and size >= self._rotate_bytes:
                self._path.rename(self._free_name())
                os.close(fd)
                fd = self._opened()
                size = 0
            try:
                rest = memoryview(lines)
                while rest:
                    rest = rest[os.write(fd, rest) :]
                os.fsync(fd)
            except OSError:
                with contextlib.suppress(OSError):  # a part that stays is cut off by the next batch
                    os.ftruncate(fd, size)
                raise
        finally:
            os.close(fd)

    def _opened(self) -> int:
        """The file under its name, locked: whoever renamed it meanwhile has the old one."""
        while True:
            is_new = not self._path.exists()
            fd = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                with contextlib.suppress(FileNotFoundError):
                    if os.path.samestat(os.fstat(fd), self._path.stat()):
                        if is_new:
                            _sync_folder(self._path.parent)
                        return fd
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)

    def _free_name(self) -> Path:
        stamped = f"{self._path.name}.{self._stamp()}"
        names = (stamped, *(f"{stamped}.{number}" for number in range(1, 10_000)))
        return next(path for name in names if not (path := self._path.with_name(name)).exists())


def _mended(fd: int) -> int:
    """The file's size, once a line is cut off that a crash left unfinished: it comes again."""
    size = os.fstat(fd).st_size
    end = size
    while end:
        begin = max(0, end - _TAIL_BYTES)
        found = os.pread(fd, end - begin, begin).rfind(b"\n")
        if found >= 0:
            end = begin + found + 1
            break
        end = begin
    if end < size:
        os.ftruncate(fd, end)
    return end


def _sync_folder(folder: Path) -> None:
    """A new name is on disk when its folder is."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
