"""Schemathesis reads our own OpenAPI document and tries to break the door and the schema routes."""

import asyncio
import sys
from pathlib import Path

import pytest

from fluxa.postgres.pool import Database
from making.door import open_door

# Without positive_data_acceptance: a JSON Schema cannot say that a digest fits, or that a time is not ahead of now.
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
    "allow_header_conformance",
    "ignored_auth",
)


@pytest.mark.req("PIPE-1", "PIPE-2")
async def test_schemathesis_finds_nothing_in_our_own_openapi(database: Database, tmp_path: Path) -> None:
    async with open_door(database, tmp_path / "objects") as stand:
        program = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "schemathesis.cli",
            "run",
            f"{str(stand.client.base_url).rstrip('/')}/openapi.json",
            "--header=Authorization: Bearer key-acme",
            f"--checks={','.join(CHECKS)}",
            "--phases=examples,coverage,fuzzing",
            "--max-examples=30",
            "--seed=7",
            "--max-time=30",
            "--no-color",
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await program.communicate()
        assert program.returncode == 0, output.decode()
        assert "Traceback" not in stand.log.getvalue()
