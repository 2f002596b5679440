"""The station against schemathesis, from our own OpenAPI document, over real HTTP."""

import asyncio
import sys
from pathlib import Path

import pytest

from fluxa.postgres.pool import Database
from making.callers.calls import OVERRIDE
from making.station import open_station, record

# Without positive_data_acceptance: a JSON Schema cannot say that a request must name some letters, or all.
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
    "allow_header_conformance",
)


@pytest.mark.req("QUEUE-10", "QUEUE-12")
async def test_schemathesis_finds_nothing_in_our_own_openapi(database: Database, tmp_path: Path) -> None:
    async with open_station(database) as stand:
        await stand.bury("jobs", *((record(number), "HandlerError") for number in range(5)))
        program = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{stand.url}/openapi.json"),
            *("--header", f"Authorization: Bearer {stand.keys['default']}"),
            *("--header", f"X-Fluxa-Override: {OVERRIDE}"),
            f"--checks={','.join(CHECKS)}",
            *("--phases=examples,coverage,fuzzing", "--max-examples=8", "--seed=7", "--max-time=40", "--no-color"),
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await program.communicate()
        assert program.returncode == 0, output.decode()
        assert "Traceback" not in stand.log.getvalue()
