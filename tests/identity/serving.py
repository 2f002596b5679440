"""Runs whole processes for tests: each as its command does, in this program, on the test's database."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import httpx

from fluxa.apps import settings
from fluxa.apps.ingest import ingest
from fluxa.apps.processor import process
from fluxa.apps.query import query
from fluxa.apps.serving.process import Tie
from fluxa.apps.settings import Settings
from fluxa.apps.station import station
from fluxa.apps.worker import work
from fluxa.postgres.pool import Database
from identity.tokens import SECRET

Main = Callable[[Settings, asyncio.Event, Tie], Awaitable[None]]

PROCESSES: dict[str, Main] = {
    "ingest": ingest,
    "processor": process,
    "query": query,
    "station": station,
    "worker": work,
}
"""Every process that serves HTTP, as its command runs it."""


@contextlib.asynccontextmanager
async def served(
    name: str, database: Database, folder: Path, port: int, **more: object
) -> AsyncIterator[httpx.AsyncClient]:
    """A process of this name, ready; a client without credentials on it."""
    given = {"home": str(folder), "database_url": database.config.url, "secret_key": SECRET.decode()}
    chosen = settings.load({**given, f"{name}_port": port, **more}, environment={}, working_folder=folder).settings
    stopping = asyncio.Event()
    running = asyncio.ensure_future(PROCESSES[name](chosen, stopping, Tie()))
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as client:
            await _ready(client, running)
            yield client
    finally:
        stopping.set()
        await asyncio.wait_for(running, 60)


async def _ready(client: httpx.AsyncClient, running: "asyncio.Future[None]") -> None:
    async with asyncio.timeout(30):
        while not running.done():
            try:
                if (await client.get("/api/ready")).status_code == httpx.codes.OK:
                    return
            except httpx.TransportError:
                await asyncio.sleep(0.05)
    await running
