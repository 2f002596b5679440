"""What commands about people stand on: the database, the sessions, the audit log. Not: the commands."""

import contextlib
import getpass
import sys
from collections.abc import AsyncIterator

from fluxa.apps.database import migrated, open_valkey
from fluxa.apps.serving.people import People, know_people
from fluxa.apps.serving.sessions import keep_sessions
from fluxa.apps.settings import Settings
from fluxa.cli.errors import CommandError
from fluxa.kernel.clock import SystemClock
from fluxa.kernel.errors import ErrorCode
from fluxa.kernel.lifecycle import Lifetime
from fluxa.operations.ledger import Ledger


@contextlib.asynccontextmanager
async def people(settings: Settings) -> AsyncIterator[People]:
    """Open what a command needs; it ends with the block.

    Raises:
        FluxaError: an outage, or settings that do not fit.
    """
    life, clock = Lifetime(), SystemClock()
    async with migrated(settings, "people") as database:
        try:
            sessions = keep_sessions(settings, database, await open_valkey(life, settings), clock)
            yield know_people(database, sessions, Ledger(database), clock)
        finally:
            await life.stop()


def new_password() -> str:
    """A password from the terminal, asked twice; else the first line of standard input. Never an argument.

    Raises:
        CommandError: if the two differ.
    """
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    password = getpass.getpass("Password: ")
    if getpass.getpass("Again: ") != password:
        raise CommandError(ErrorCode.INVALID_REQUEST, "The two are not the same.", action="Type it again.")
    return password
