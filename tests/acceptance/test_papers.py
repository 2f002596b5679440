"""The start page works as it is written: its commands are run, one after the other, by a user with an empty home."""

import asyncio
import contextlib
import re
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from house.tree import ROOT

PAGE = ROOT / "docs" / "start" / "README.md"
BIN = Path(sys.executable).parent
ENDLESS = ("fluxa up", "fluxa events tail")


def _lines() -> list[str]:
    blocks = re.findall(r"^```console\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return [line.removeprefix("$ ") for block in blocks for line in block.splitlines() if line.startswith("$ ")]


async def _start(home: Path, line: str) -> asyncio.subprocess.Process:
    settings = [
        f"FLUXA_HOME={home}",
        *(f"FLUXA_{service}_PORT=0" for service in ("INGEST", "QUERY", "PROCESSOR", "STATION", "WORKER")),
    ]
    return await asyncio.create_subprocess_exec(
        *["env", "-i", f"PATH={BIN}:/usr/bin:/bin", f"HOME={home.parent}", *settings, "bash", "-c", f"exec {line}"],
        cwd=home.parent,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )


async def _run(home: Path, line: str) -> str:
    process = await _start(home, line)
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    text = output.decode()
    assert process.returncode == 0, f"{line} ended with {process.returncode}:\n{text}"
    return text


@contextlib.asynccontextmanager
async def _running(home: Path, line: str) -> AsyncIterator[asyncio.StreamReader]:
    process = await _start(home, line)
    assert process.stdout is not None
    try:
        yield process.stdout
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGINT)
        try:
            await asyncio.wait_for(process.communicate(), 40)
        except TimeoutError:
            process.kill()
            await process.wait()


async def _until(stream: asyncio.StreamReader, words: str) -> str:
    text = ""
    async with asyncio.timeout(60):
        while words not in text:
            line = await stream.readline()
            assert line, f"it ended before it said {words!r}:\n{text}"
            text += line.decode()
    return text


@pytest.mark.req("PIPE-11")
async def test_the_first_five_minutes_go_as_written(tmp_path: Path) -> None:
    home = tmp_path / "home"
    commands = [line for line in _lines() if line.startswith("fluxa")]
    assert set(ENDLESS) <= set(commands)
    async with _running(home, "fluxa up") as said:
        await _until(said, "Fluxa is up")
        for line in commands:
            if line not in ENDLESS:
                await _run(home, line)
        async with _running(home, "fluxa events tail") as tail:
            shown = asyncio.create_task(_until(tail, "hello"))
            while not shown.done():  # the stream shows what comes once it has begun, which it does not announce
                await _run(home, next(line for line in commands if line.startswith("fluxa events send")))
            assert "me" in await shown
        assert "hello" in await _run(home, "fluxa events list")
        made = await _run(home, "fluxa apikey create --name laptop")
        assert any(line.startswith("fx_") for line in made.splitlines())
