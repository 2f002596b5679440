"""Real services in one process, their secrets in files, and callers who never pause while those are exchanged."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import httpx
import pytest

from fluxa.apps import settings
from fluxa.apps.serving.process import Tie
from fluxa.apps.settings import Settings

T = TypeVar("T")

Service = Callable[[Settings, asyncio.Event, Tie], Awaitable[None]]


def rotates(*_kinds: str) -> Callable[[T], T]:
    """Marks a test under load as the one of these kinds of secret; a test of the register reads the marks."""
    return lambda test: test


@dataclass
class Files:
    """Files that hold secrets, exchanged as Kubernetes does: the whole of one at once."""

    folder: Path
    names: dict[str, str] = field(default_factory=dict)

    def write(self, name: str, value: object) -> None:
        """Give a setting this value: text, or a table as JSON."""
        file = self.folder / name
        fresh = file.with_suffix(".new")
        fresh.write_text(value if isinstance(value, str) else json.dumps(value), "utf-8")
        fresh.chmod(0o600)
        fresh.replace(file)
        self.names[name] = str(file)

    def settings(self, **given: object) -> Settings:
        """Settings with these files and values."""
        chosen = {"home": str(self.folder), "secrets_reload_s": 0.1, "log_level": "info", **given}
        chosen["secret_files"] = json.dumps(self.names)
        tables = {name: json.dumps(value) if isinstance(value, dict) else value for name, value in chosen.items()}
        return settings.load(tables, environment={}, working_folder=self.folder).settings


@dataclass
class Heard:
    """The log of the services of a test."""

    capfd: pytest.CaptureFixture[str]
    lines: list[dict[str, object]] = field(default_factory=list)

    async def until(self, event: str, name: str, *, times: int = 1, **fields: str) -> None:
        """Wait for a line about a secret, with these fields; then it and what came before are forgotten."""
        deadline = time.monotonic() + 40
        while times:
            self._read()
            assert time.monotonic() < deadline, self.lines[-20:]
            places = [
                place
                for place, line in enumerate(self.lines)
                if line["event"] == event and name in str(line.get("names")) and fields.items() <= line.items()
            ]
            if not places:
                await asyncio.sleep(0.02)
                continue
            del self.lines[: places[0] + 1]
            times -= 1

    async def taken_up(self, name: str, *, times: int = 1) -> None:
        """Wait until so many parts work with the new value."""
        await self.until("secrets taken up", name, times=times)

    async def refused(self, name: str) -> None:
        """Wait until a part could not work with the new value yet."""
        await self.until("secrets not taken up", name)

    def _read(self) -> None:
        for line in self.capfd.readouterr().err.splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                self.lines.append(json.loads(line))


@contextlib.asynccontextmanager
async def running(service: Service, chosen: Settings, port: int) -> AsyncIterator[str]:
    """A service of the real thing, ready; its URL."""
    stopping = asyncio.Event()
    task = asyncio.ensure_future(service(chosen, stopping, Tie()))
    url = f"http://127.0.0.1:{port}"
    try:
        async with asyncio.timeout(60), httpx.AsyncClient(trust_env=False) as client:
            while not task.done():
                with contextlib.suppress(httpx.TransportError):
                    if (await client.get(f"{url}/api/ready")).status_code == httpx.codes.OK:
                        break
                await asyncio.sleep(0.05)
        if task.done():
            await task
        yield url
    finally:
        stopping.set()
        await asyncio.wait_for(task, 60)


@dataclass
class Load:
    """Callers side by side that call again and again.

    Attributes:
        wrong: what was answered to them that should not have been.
        served: how many calls were right.
    """

    wrong: list[str] = field(default_factory=list)
    served: int = 0
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _done: asyncio.Event = field(default_factory=asyncio.Event)

    def begin(self, call: Callable[[], Awaitable[str]], callers: int = 3) -> None:
        """Let more callers begin; a call says what was wrong, or nothing."""
        self._tasks += [asyncio.create_task(self._call(call)) for _ in range(callers)]

    async def more(self, calls: int = 10) -> None:
        """Wait until so many more calls were right."""
        goal = self.served + calls
        async with asyncio.timeout(60):
            while self.served < goal and not self.wrong:  # noqa: ASYNC110 - a count, which tells nobody
                await asyncio.sleep(0.01)
        assert not self.wrong, self.wrong[:3]

    async def end(self) -> None:
        """Let nobody call any more."""
        self._done.set()
        await asyncio.gather(*self._tasks)

    async def _call(self, call: Callable[[], Awaitable[str]]) -> None:
        while not self._done.is_set():
            wrong = await call()
            if wrong:
                self.wrong.append(wrong)
                return
            self.served += 1


@contextlib.asynccontextmanager
async def load() -> AsyncIterator[Load]:
    """Load for as long as the block runs; at its end nothing may have been wrong."""
    made = Load()
    try:
        yield made
    finally:
        await made.end()
    assert not made.wrong, made.wrong[:3]
    assert made.served


def getting(
    client: httpx.AsyncClient, path: str, *, expect: int = 200, headers: dict[str, str] | None = None
) -> Callable[[], Awaitable[str]]:
    """Calls that must be answered so."""

    async def call() -> str:
        answer = await client.get(path, headers=headers)
        return "" if answer.status_code == expect else f"{answer.status_code}: {answer.text[:300]}"

    return call


def posting(
    client: httpx.AsyncClient, path: str, body: Callable[[], object], *, expect: int
) -> Callable[[], Awaitable[str]]:
    """Calls with a body each that must be answered so."""

    async def call() -> str:
        answer = await client.post(path, json=body())
        return "" if answer.status_code == expect else f"{answer.status_code}: {answer.text[:300]}"

    return call
