"""What commands about queues stand on: the database, the engines, the registry, and who gives the order."""

import contextlib
import getpass
from collections.abc import AsyncIterator
from dataclasses import dataclass

from fluxa.apps.application import application
from fluxa.apps.database import migrated, open_wakeups
from fluxa.apps.engines import open_queues
from fluxa.apps.settings import Settings
from fluxa.auth.audit import Act
from fluxa.kernel.ids import Tenant
from fluxa.kernel.lifecycle import Lifetime
from fluxa.operations.ledger import Ledger
from fluxa.postgres.listen import Listener
from fluxa.postgres.pool import Database
from fluxa.postgres.transaction import Also
from fluxa.queue.backend import QueueBackend
from fluxa.queue.registry import Registry


@dataclass(frozen=True, slots=True)
class Ground:
    """The way to the queues.

    Attributes:
        database: the pool.
        backend: all queues.
        registry: those that Fluxa or the user's application declares.
        listener: hears of new work.
    """

    database: Database
    backend: QueueBackend
    registry: Registry
    listener: Listener


@contextlib.asynccontextmanager
async def opened(settings: Settings, command: str) -> AsyncIterator[Ground]:
    """Open what a command of that name needs; it ends with the block.

    Raises:
        FluxaError: an outage, or a schema that does not fit.
    """
    life = Lifetime()
    async with migrated(settings, command) as database:
        try:
            listener, notifier = await open_wakeups(life, settings, database)
            registry = application(settings).registry
            backend = await open_queues(
                life, settings, database, listener=listener, notifier=notifier, registry=registry
            )
            yield Ground(database, backend, registry, listener)
        finally:
            await life.stop()


def noted(settings: Settings, database: Database, action: str, subject: str, **detail: object) -> Also:
    """What writes down, in the transaction of a verb, that it was asked for here."""
    act = Act(Tenant(settings.default_tenant), actor(), action, subject, detail)
    return lambda tx: Ledger(database).record(tx, act)


async def note(settings: Settings, database: Database, action: str, subject: str, **detail: object) -> None:
    """Write down now what is done in many transactions, or in none."""
    async with database.transaction() as tx:
        await noted(settings, database, action, subject, **detail)(tx)


def whoami() -> str:
    """Who gives an order on the command line."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a user id without a name, as in a container
        return "command line"


def actor() -> str:
    """The same as the audit log names who acted."""
    return f"cli:{whoami()}"
