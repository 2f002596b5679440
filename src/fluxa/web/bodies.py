"""Reads request bodies within limits of bytes, time and memory, those of JSON as what they must be."""

import asyncio
import contextlib
from types import TracebackType
from typing import TypeVar

import msgspec

from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.web.routes import Receive, Scope

T = TypeVar("T")
MIB = 1024 * 1024


class ClientDisconnectedError(Exception):
    """The client went away before its request was read; there is nobody to answer."""


class BodyBudget:
    """How many bytes of bodies may be under way in this process at once.

    Args:
        capacity_bytes: the most; a request beyond it is refused and may be repeated.
    """

    def __init__(self, capacity_bytes: int = 64 * MIB) -> None:
        self.capacity_bytes = capacity_bytes
        self.taken_bytes = 0

    def take(self, size: int) -> None:
        """Take bytes.

        Raises:
            FluxaError: `Overloaded` when there are not so many left.
        """
        if self.taken_bytes + size > self.capacity_bytes:
            raise FluxaError(
                ErrorCode.OVERLOADED,
                f"The requests under way fill the memory set aside for them ({self.capacity_bytes} bytes).",
                retry_after_s=1,
            )
        self.taken_bytes += size

    def give_back(self, size: int) -> None:
        """Give bytes back."""
        self.taken_bytes -= size


class Deadlines:
    """Interrupts tasks that take too long, with one timer for all of them.

    A timer for each request, as `asyncio.timeout` sets one, costs more than all else that reading a
    body does.
    """

    def __init__(self) -> None:
        self._due: dict[asyncio.Task[object], float] = {}
        self._expired: set[asyncio.Task[object]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, task: "asyncio.Task[object]", timeout_s: float) -> None:
        """Cancel the task after so many seconds, unless it is taken out before."""
        loop = task.get_loop()
        self._due[task] = loop.time() + timeout_s
        if self._timer is None:
            self._timer = loop.call_later(timeout_s, self._expire, loop)

    def remove(self, task: "asyncio.Task[object]") -> None:
        """The task is done with what it was given time for."""
        self._due.pop(task, None)
        self._expired.discard(task)

    def expired(self, task: "asyncio.Task[object]") -> bool:
        """Whether the task's cancellation is this deadline's and nobody else's; takes it back if it is ours."""
        if task not in self._expired:
            return False
        self._expired.discard(task)
        return task.uncancel() == 0

    def _expire(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        now = loop.time()
        for task in [task for task, due in self._due.items() if due <= now]:
            del self._due[task]
            self._expired.add(task)
            task.cancel()
        if self._due:
            self._timer = loop.call_at(min(self._due.values()), self._expire, loop)


class Bodies:
    """Reads bodies for the endpoints of one process.

    Args:
        max_bytes: the longest body.
        timeout_s: seconds in which the whole body must arrive.
        budget: the memory that all of them share.
    """

    def __init__(self, *, max_bytes: int = 10 * MIB, timeout_s: float = 30.0, budget: BodyBudget | None = None) -> None:
        self.max_bytes = max_bytes
        self.timeout_s = timeout_s
        self.budget = budget or BodyBudget()
        self.deadlines = Deadlines()

    def read(self, scope: Scope, receive: Receive) -> "BodyInUse":
        """An `async with` block that has the body; its memory counts until the block ends.

        Entering raises `FluxaError`: `UnsupportedMediaType` for a compressed body, `RequestTooLarge`,
        `RequestTimeout`, `Overloaded`, `InvalidRequest`; and `ClientDisconnectedError`.
        """
        return BodyInUse(self, scope, receive)


class BodyInUse:
    """One body, from its first byte until the endpoint is done with it."""

    __slots__ = ("_bodies", "_receive", "_scope", "_taken")

    def __init__(self, bodies: Bodies, scope: Scope, receive: Receive) -> None:
        self._bodies = bodies
        self._scope = scope
        self._receive = receive
        self._taken = 0

    async def __aenter__(self) -> bytes:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a body is read inside a task")
        bodies = self._bodies
        bodies.deadlines.add(task, bodies.timeout_s)
        try:
            length = _announced_length(self._scope)
            if length is not None:
                self._reserve(length)
            return await self._collect()
        except asyncio.CancelledError:
            self._give_back()
            if not bodies.deadlines.expired(task):
                raise
            raise FluxaError(
                ErrorCode.REQUEST_TIMEOUT, f"The body did not arrive within {bodies.timeout_s:g} seconds."
            ) from None
        except BaseException:
            self._give_back()
            raise
        finally:
            bodies.deadlines.remove(task)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._give_back()

    async def _collect(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.request" and not message.get("more_body", False):
            body: bytes = message.get("body", b"")
            self._reserve(len(body))
            return body
        parts: list[bytes] = []
        size = 0
        while True:
            if message["type"] == "http.disconnect":
                raise ClientDisconnectedError
            part: bytes = message.get("body", b"")
            size += len(part)
            self._reserve(size)
            parts.append(part)
            if not message.get("more_body", False):
                return b"".join(parts)
            message = await self._receive()

    def _reserve(self, size: int) -> None:
        """Have so many bytes of the budget in all."""
        if size <= self._taken:
            return
        if size > self._bodies.max_bytes:
            raise FluxaError(
                ErrorCode.REQUEST_TOO_LARGE, f"The body is larger than {self._bodies.max_bytes} bytes; it was not read."
            )
        self._bodies.budget.take(size - self._taken)
        self._taken = size

    def _give_back(self) -> None:
        self._bodies.budget.give_back(self._taken)
        self._taken = 0


async def linger(receive: Receive, *, max_bytes: int = MIB, timeout_s: float = 1.0) -> None:
    """Throw away a little of what a refused client still sends, so that it can read why before the connection ends.

    Closing at once would make its kernel drop the answer (RFC 9112, 9.6).
    """
    left = max_bytes
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            while left > 0:
                message = await receive()
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    return
                left -= len(message.get("body", b""))


def _announced_length(scope: Scope) -> int | None:
    """The Content-Length, once the encoding is known to be one that is read.

    Raises:
        FluxaError: `UnsupportedMediaType` or `InvalidRequest`.
    """
    length = None
    for name, value in scope["headers"]:
        if name == b"content-length":
            if not value.isdigit():
                raise FluxaError(ErrorCode.INVALID_REQUEST, "Content-Length is not a number.")
            length = int(value)
        elif name == b"content-encoding" and value.strip().lower() not in {b"", b"identity"}:
            raise FluxaError(
                ErrorCode.UNSUPPORTED_MEDIA_TYPE,
                "Content-Encoding is not supported: a small compressed body can hide a huge one. Send it as it is.",
            )
    return length


async def body_of(bodies: Bodies, scope: Scope, receive: Receive, kind: type[T], *, empty: T | None = None) -> T:
    """The JSON body of a request.

    Args:
        bodies: reads it within limits.
        scope: the request.
        receive: gives the body.
        kind: what the body must be.
        empty: what no body means; None, if there must be one.

    Raises:
        FluxaError: `MalformedJson`, or `InvalidRequest` with a pointer; what reading may end with.
    """
    async with bodies.read(scope, receive) as content:
        if empty is not None and not content.strip():
            return empty
        try:
            return msgspec.json.decode(content, type=kind)
        except msgspec.ValidationError as error:
            text, _, path = str(error).partition(" - at `$")
            steps = path.rstrip("`").replace("[", ".").replace("]", "").split(".")
            pointer = "".join(f"/{step}" for step in steps if step)
            raise FluxaError(ErrorCode.INVALID_REQUEST, f"{text}.", pointer=pointer or None) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise FluxaError(ErrorCode.MALFORMED_JSON, str(error)) from None
