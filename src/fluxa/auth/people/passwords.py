"""Hashes passwords with Argon2id, off the event loop and few at a time. Not: whose they are (users)."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from argon2 import Parameters, PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.profiles import RFC_9106_LOW_MEMORY

from fluxa.auth.people.rules import PASSWORD_MAX, WRITTEN_MAX, prepared
from fluxa.kernel.errors import ErrorCode, FluxaError

PARAMETERS: Final = RFC_9106_LOW_MEMORY
"""RFC 9106's second recommendation: 64 MiB, 3 passes. The one place; hashes made otherwise are renewed at login."""

T = TypeVar("T")
_THREADS: Final = 2
"""Each holds as much memory as `PARAMETERS` says while it works."""
_WAITING_MAX: Final = 64


class Passwords:
    """Hashes and checks the passwords of one process."""

    def __init__(self, parameters: Parameters = PARAMETERS) -> None:
        self._hasher = PasswordHasher.from_parameters(parameters)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="passwords")
        self._waiting = 0
        self._nobodys: str | None = None

    async def hash(self, password: str) -> str:
        """What is stored of a password.

        Raises:
            FluxaError: `Overloaded`, if too many wait.
        """
        text = prepared(password)
        return await self._in_thread(lambda: self._hasher.hash(text))

    async def is_right(self, stored: str | None, password: str) -> bool:
        """Whether it is the password; without a stored one the work is the same and the answer no.

        Raises:
            FluxaError: `Overloaded`, if too many wait.
        """
        if self._nobodys is None:
            self._nobodys = await self._in_thread(lambda: self._hasher.hash("nobody's"))
        against = stored or self._nobodys
        text = prepared(password[: WRITTEN_MAX + 1])[: PASSWORD_MAX + 1]
        matches = await self._in_thread(lambda: self._matches(against, text))
        return matches and stored is not None and len(text) <= PASSWORD_MAX

    def is_outdated(self, stored: str) -> bool:
        """Whether it was made with other parameters than those of today."""
        return self._hasher.check_needs_rehash(stored)

    def _matches(self, stored: str, password: str) -> bool:
        try:
            return self._hasher.verify(stored, password)
        except (VerificationError, InvalidHashError):
            return False

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self._waiting >= _WAITING_MAX:
            raise FluxaError(ErrorCode.OVERLOADED, "Too many log in at once.", retry_after_s=1.0)
        self._waiting += 1
        # Counted until the thread is done, though whoever asked may have left: leaving must not let more in.
        future = asyncio.get_running_loop().run_in_executor(self._threads, work)
        future.add_done_callback(self._done)
        return await asyncio.shield(future)

    def _done(self, future: "asyncio.Future[T]") -> None:
        self._waiting -= 1
        if not future.cancelled():
            future.exception()  # taken here, so that one whose asker has left is not reported as lost
