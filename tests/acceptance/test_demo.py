"""`make demo`, smaller: the whole stack from nothing, with mischief, ends in an audit that agrees."""

import asyncio
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.req("PIPE-1", "PIPE-3", "PIPE-4", "PIPE-6", "PIPE-7", "PIPE-9", "PIPE-11")
async def test_the_demonstration_finds_every_event_where_it_belongs(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "demo", "--events", "3000", "--output", str(tmp_path)),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    shown = out.decode()
    assert process.returncode == 0, shown
    assert "✘" not in shown
    assert "Everything agrees" in shown
    assert (tmp_path / "flow.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (tmp_path / "demo.svg").read_text("utf-8")
