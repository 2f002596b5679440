"""`python -m demo`: real departures through a whole Fluxa of its own, checked against the sender's book."""

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from pathlib import Path

from demo import flights, stack, story
from demo.audit import Audit
from demo.screen import Screen
from demo.sender import Sender
from fluxa.postgres.embedded import EmbeddedPostgres
from fluxa.postgres.pool import Database, PoolConfig

TENANT = "default"
_SETTINGS = {**stack.FREE_PORTS, "lease_s": "5", "log_level": "warning"}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--events", type=int, default=flights.ROWS, help="departures to send (default: all)")
    parser.add_argument("--seed", type=int, default=2013, help="of the mischief")
    parser.add_argument("--output", type=Path, default=Path("demo-output"), help="folder for the pictures")
    parser.add_argument("--keep", action="store_true", help="leave the stack running, and say how to look at it")
    return parser.parse_args()


async def _demonstrate(wish: story.Wish, screen: Screen, home: Path, *, keep: bool) -> bool:
    begin = time.monotonic()
    async with stack.running(home, settings=_SETTINGS, arguments=("--processors", "2"), keep=keep) as fluxa:
        postgres = EmbeddedPostgres(home)
        await postgres.start()
        database = Database(PoolConfig(url=postgres.url, application="demo", size_max=2, statement_timeout_s=60))
        await database.start()
        run = story.Run()
        sender = Sender(fluxa.state.ingest_url, fluxa.api_key, run.ledger)
        try:
            screen.step(f"fluxa up: ingest, query and two processors on a Postgres of their own, in {home}")
            screen.step(f"ready after {time.monotonic() - begin:.1f} s; events go to {fluxa.state.ingest_url}")
            audit = Audit(database, TENANT)
            await story.tamper(fluxa, screen, sender, run, home)
            await story.stream(wish, fluxa, screen, sender, audit, run)
            good = await story.report(wish, fluxa, screen, audit, run)
        finally:
            await sender.close()
            await database.stop()
            await postgres.stop()
        if keep:
            screen.chapter("The stack is left running")
            for line in fluxa.ways_to_look():
                screen.console.print(f"  {line}")
    return good


def main() -> int:
    """Run it; 0 if everything agreed."""
    given = _arguments()
    wish = story.Wish(given.events, given.seed, given.output)
    screen = Screen()
    screen.console.rule("[bold]Fluxa: events in, each stored exactly once, found again", style="cyan")
    home = Path(tempfile.mkdtemp(prefix="fluxa-demo-")) / "home"
    good = asyncio.run(_demonstrate(wish, screen, home, keep=given.keep))
    if good and not given.keep:
        shutil.rmtree(home.parent)
    if good:
        text = "Everything agrees: what was acknowledged is stored once or parked once, and nothing else."
    else:
        text = f"Book and database differ: see the lines marked ✘. What the stack logged is in {home / stack.LOG}."
    screen.verdict(good=good, text=f"{text}\nPictures: {wish.output / 'flow.png'}, {wish.output / 'demo.svg'}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
