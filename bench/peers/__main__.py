"""One process of one peer: `python -m bench.peers NAME install|produce|work URL …`; speaks over its pipes."""

import asyncio
import datetime as dt
import importlib
import sys

import asyncpg
import uvloop

from bench.rows import load


async def _produce(peer: str, url: str, count: int) -> None:
    module = importlib.import_module(f"bench.peers.{peer}")
    lines = load(count, dt.datetime.now(dt.UTC)).lines
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    await module.produce(url, lines)
    connection = await asyncpg.connect(url)  # fresh statistics: without them a peer's claim may take a bad plan
    await connection.execute("analyze")
    await connection.close()
    print("done", flush=True)


def main() -> None:
    """Run the verb that the arguments name."""
    peer, verb, url, *rest = sys.argv[1:]
    module = importlib.import_module(f"bench.peers.{peer}")
    if verb == "install":
        uvloop.run(module.install(url))
    elif verb == "produce":
        uvloop.run(_produce(peer, url, int(rest[0])))
    else:
        uvloop.run(module.work(url, rest[0]))


if __name__ == "__main__":
    main()
