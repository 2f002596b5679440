"""The GET routes against schemathesis, from our own OpenAPI document, over real HTTP."""

import asyncio
import sys
from pathlib import Path

import pytest

from fluxa.events.query.follow import StreamLimits
from fluxa.postgres.pool import Database
from making.querying import failed, make_stand, running, stored

SHORT = StreamLimits(heartbeat_s=0.02, longest_s=0.05)


@pytest.mark.req("PIPE-2", "PIPE-8")
async def test_every_get_route_keeps_what_the_document_promises(database: Database, tmp_path: Path) -> None:
    async with running(make_stand(database, stream=SHORT)) as stand:
        await stand.write(*(stored(number, correlation="story") for number in range(20)))
        await stand.fail(failed("x", correlation="story", parked=True))
        process = await asyncio.create_subprocess_exec(
            *(Path(sys.executable).with_name("schemathesis"), "run", f"{stand.url}/openapi.json"),
            *("--header", f"Authorization: Bearer {stand.keys['acme']}"),
            *("--checks", "all", "--max-examples", "8", "--seed", "1", "--generation-database", "none"),
            *("--phases", "examples,coverage,fuzzing", "--request-timeout", "10", "--no-color"),
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        out, _ = await process.communicate()
    text = out.decode()
    assert process.returncode == 0, text
    assert f"{len(stand.app.routes) - 1} selected" in text, text  # all but the document itself
