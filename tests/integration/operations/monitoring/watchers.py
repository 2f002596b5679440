"""A real Prometheus and a real Alertmanager on loopback, told by files of ours, and somebody whom they tell."""

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from integration.process.traces.tap import free_port
from integration.providers.receivers import Receiver, answering, receiver
from making.stack import until

PACKAGES = ("prometheus", "prometheus-alertmanager")
_WITHIN_S = 60.0


def program(name: str) -> str:
    """Where a program is; skips where it is not installed."""
    found = shutil.which(name, path=f"{os.defpath}:/usr/sbin:/usr/local/bin")
    if found is None:
        pytest.skip(f"{name} is not installed; on Debian: apt-get install {' '.join(PACKAGES)}")
    return found


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the two will listen, and the receiver does."""

    prometheus: int
    alertmanager: int
    receiver: Receiver


@dataclass(frozen=True, slots=True)
class Watchers:
    """Both, running.

    Attributes:
        client: asks Prometheus.
        told: the receiver of Alertmanager's webhooks.
    """

    client: httpx.AsyncClient
    told: Receiver

    async def ask(self, expression: str) -> list[dict[str, Any]]:
        """What Prometheus answers to a query now."""
        answer = await self.client.post("/api/v1/query", data={"query": expression})
        assert answer.status_code == httpx.codes.OK, (expression, answer.text)
        found: list[dict[str, Any]] = answer.json()["data"]["result"]
        return found

    async def until(self, expression: str, met: Callable[[list[dict[str, Any]]], bool] = bool) -> list[dict[str, Any]]:
        """What Prometheus answers, once it is such.

        Raises:
            AssertionError: if it does not become so.
        """
        found: list[dict[str, Any]] = []

        async def such() -> bool:
            found[:] = await self.ask(expression)
            return met(found)

        try:
            await until(such, timeout_s=_WITHIN_S)
        except TimeoutError:
            raise AssertionError(f"{expression} stayed {found}") from None
        return found

    def alerts(self, name: str, status: str) -> list[dict[str, Any]]:
        """The alerts of this name and status that the receiver was told of."""
        bodies = [json.loads(one.body) for one in self.told.received]
        return [
            alert
            for body in bodies
            for alert in body["alerts"]
            if alert["labels"]["alertname"] == name and alert["status"] == status
        ]

    async def hears(self, name: str, status: str) -> dict[str, Any]:
        """The first alert of this name and status, once it has arrived.

        Raises:
            AssertionError: if none arrives.
        """
        try:
            await until(lambda: bool(self.alerts(name, status)), timeout_s=_WITHIN_S)
        except TimeoutError:
            raise AssertionError(f"{name} was never {status}: {await self.ask('ALERTS')}") from None
        return self.alerts(name, status)[0]


@contextlib.asynccontextmanager
async def ports() -> AsyncIterator[Ports]:
    """Free ports for both, and the receiver."""
    for name in ("prometheus", "promtool", "prometheus-alertmanager", "amtool"):
        program(name)
    async with receiver(answering("200 OK")) as told:
        yield Ports(free_port(), free_port(), told)


@contextlib.asynccontextmanager
async def watchers(folder: Path, at: Ports) -> AsyncIterator[Watchers]:
    """Both, ready, with the files that `fluxa metrics files` wrote into the folder."""
    prometheus = [
        program("prometheus"),
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/series",
        f"--web.listen-address=127.0.0.1:{at.prometheus}",
    ]
    alertmanager = [
        program("prometheus-alertmanager"),
        f"--config.file={folder}/alertmanager.yml",
        f"--storage.path={folder}/alerts",
        f"--web.listen-address=127.0.0.1:{at.alertmanager}",
        "--cluster.listen-address=",
    ]
    async with contextlib.AsyncExitStack() as running:
        for command, port in ((alertmanager, at.alertmanager), (prometheus, at.prometheus)):
            await running.enter_async_context(_running(command, folder / f"{port}.log", port))
        client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{at.prometheus}", trust_env=False, timeout=30)
        yield Watchers(await running.enter_async_context(client), at.receiver)


@contextlib.asynccontextmanager
async def _running(command: list[str], log: Path, port: int) -> AsyncIterator[None]:
    """A program that answers on its port; ended when the block is."""
    with log.open("wb") as stream:
        process = await asyncio.create_subprocess_exec(*command, stdout=stream, stderr=subprocess.STDOUT)

    async def answers() -> bool:
        if process.returncode is not None:
            pytest.fail(f"{command[0]} ended:\n{await asyncio.to_thread(log.read_text)}")
        with contextlib.suppress(httpx.HTTPError):
            return (await client.get(f"http://127.0.0.1:{port}/-/ready")).is_success
        return False

    try:
        async with httpx.AsyncClient(trust_env=False) as client:
            await until(answers, timeout_s=_WITHIN_S)
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        async with asyncio.timeout(_WITHIN_S):
            await process.wait()
