"""File locks that end with the processes that hold them, however those end."""

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

from fluxa.kernel.errors import ErrorCode, FluxaError

if sys.platform != "win32":
    import fcntl

_POLL_S = 0.02


class FileLock:
    """One `flock` on one file; several instances exclude each other, also inside one process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None

    @property
    def held(self) -> bool:
        """Whether this instance has the lock."""
        return self._fd is not None

    @property
    def fd(self) -> int:
        """The open file; a child that inherits it keeps the lock after us."""
        if self._fd is None:
            raise ValueError(f"the lock {self._path} is not held")
        return self._fd

    def try_take(self, *, shared: bool = False) -> bool:
        """Take the lock if it is free, or change a held one to exclusive or shared; never waits."""
        fd = self._fd
        if fd is None:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            if self._fd is None:
                os.close(fd)
            return False
        except BaseException:
            if self._fd is None:
                os.close(fd)
            raise
        self._fd = fd
        return True

    def release(self) -> None:
        """Let go; a child that inherited the file keeps the lock."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    async def take(self, timeout_s: float, *, shared: bool = False) -> None:
        """Wait for the lock.

        Raises:
            FluxaError: `EmbeddedPostgres`, if it stays taken.
        """
        deadline = time.monotonic() + timeout_s
        while not self.try_take(shared=shared):
            if time.monotonic() > deadline:
                raise FluxaError(
                    ErrorCode.EMBEDDED_POSTGRES,
                    f"Another process has held {self._path} for more than {timeout_s:.0f} s. "
                    "It is starting or stopping the server; wait for it, or end it, then try again.",
                )
            await asyncio.sleep(_POLL_S)

    def is_free(self) -> bool:
        """Whether nobody holds the lock exclusively; does not keep it, and does not disturb another who asks."""
        if not self.try_take(shared=True):
            return False
        self.release()
        return True

    @contextlib.asynccontextmanager
    async def holding(self, timeout_s: float) -> AsyncIterator[None]:
        """An `async with` block under the exclusive lock. Raises as `take` does."""
        await self.take(timeout_s)
        try:
            yield
        finally:
            self.release()
