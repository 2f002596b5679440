"""A program that uses the embedded server until a line comes in; tests run many of them and kill some."""

import asyncio
import json
import sys
from pathlib import Path

import asyncpg

from fluxa.kernel.errors import FluxaError
from fluxa.postgres.embedded import EmbeddedPostgres


async def _use(home: Path) -> None:
    server = EmbeddedPostgres(home, settings={"fsync": "off"}, timeout_s=30)
    await server.start()
    connection = await asyncpg.connect(server.url)
    version = await connection.fetchval("show server_version")
    await connection.close()
    _say(url=server.url, pid=server.status().pid, version=version)
    await asyncio.to_thread(sys.stdin.readline)
    await server.stop()
    _say(stopped=True)


def _say(**values: object) -> None:
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


try:
    asyncio.run(_use(Path(sys.argv[1])))
except FluxaError as error:
    _say(code=error.code, detail=error.detail)
    sys.exit(1)
