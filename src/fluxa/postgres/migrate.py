"""Numbered, checksummed, forward-only migrations under an advisory lock, and PGMQ's own SQL."""

import hashlib
import importlib.resources
import re
from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from fluxa.kernel.errors import DatabaseUnavailableError, ErrorCode, FluxaError
from fluxa.postgres import pgmq, sql
from fluxa.postgres.pool import Database
from fluxa.postgres.transaction import Transaction

_FILE = re.compile(r"(\d{4})_(pre|post)_([a-z0-9_]+)\.sql\Z")
_LOCK = 0x666C757861  # "fluxa": one migration at a time in a database
_PATIENCE_S = 24 * 3600.0
_SQL = sql.load("fluxa.postgres", "server.sql")


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered step.

    Attributes:
        number: its place in the order, from 1, without gaps.
        phase: `pre` may run before the new code starts; `post` only after the old code is gone.
        name: what it does.
        text: the SQL.
    """

    number: int
    phase: str
    name: str
    text: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the SQL, in hexadecimal."""
        return hashlib.sha256(self.text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Status:
    """What a database has and what it lacks.

    Attributes:
        applied: numbers in the database, ascending.
        pending: steps this version would apply.
        newer: numbers that this version does not know.
        changed: numbers whose SQL differs from what was applied.
    """

    applied: tuple[int, ...]
    pending: tuple[Migration, ...]
    newer: tuple[int, ...]
    changed: tuple[int, ...]


def migrations() -> tuple[Migration, ...]:
    """All steps that this version knows, in order."""
    found = (
        Migration(int(match[1]), match[2], match[3], entry.read_text("utf-8"))
        for entry in importlib.resources.files("fluxa.postgres.migrations").iterdir()
        if (match := _FILE.match(entry.name))
    )
    return tuple(sorted(found, key=lambda step: step.number))


async def status(database: Database) -> Status:
    """Compare the database with what this version knows; changes nothing."""
    async with database.connection() as handle:
        return await _status(handle, migrations())


async def _status(handle: Transaction, steps: Sequence[Migration]) -> Status:
    rows = []
    if await handle.fetch_value(_SQL["find_migrations"]):
        rows = list(await handle.fetch(_SQL["list_migrations"]))
    applied = {int(row["number"]): str(row["checksum"]) for row in rows}
    known = {step.number: step for step in steps}
    return Status(
        applied=tuple(applied),
        pending=tuple(step for number, step in known.items() if number not in applied),
        newer=tuple(number for number in applied if number not in known),
        changed=tuple(
            number for number, checksum in applied.items() if number in known and known[number].checksum != checksum
        ),
    )


def refuse_unknown(state: Status) -> None:
    """Stop before an old program touches a newer schema, or one that was altered by hand.

    Raises:
        FluxaError: `SchemaVersion`, with what to do.
    """
    if state.newer:
        raise FluxaError(
            ErrorCode.SCHEMA_VERSION,
            f"The database has migration {max(state.newer)}, this version knows up to "
            f"{len(migrations())}. Update Fluxa; an older version would damage it.",
        )
    if state.changed:
        raise FluxaError(
            ErrorCode.SCHEMA_VERSION,
            f"Migration {state.changed[0]} was applied with other SQL than this version holds. "
            "Restore the file, or the database from backup.",
        )


async def check(database: Database) -> None:
    """Refuse to work on a schema that is older or newer than this version.

    Raises:
        FluxaError: `SchemaVersion`.
    """
    state = await status(database)
    refuse_unknown(state)
    if state.pending:
        raise FluxaError(
            ErrorCode.SCHEMA_VERSION,
            f"The database lacks migration {state.pending[0].number} ({state.pending[0].name}). Run: fluxa db migrate",
        )


async def migrate(database: Database, steps: Sequence[Migration] | None = None) -> tuple[Migration, ...]:
    """Install PGMQ if it is missing, then apply what is pending, each step in its own transaction.

    Several processes may call this at once; one applies, the others wait and find nothing to do. A step
    may take hours on a large table, so neither it nor the wait for it is cut off.

    Args:
        database: where.
        steps: all steps there are; by default those of this version.

    Returns:
        The steps that were applied.

    Raises:
        FluxaError: `SchemaVersion` for a newer or altered schema; `DBRejected` if a statement fails.
    """
    async with database.transaction() as handle:
        await handle.execute(_SQL["take_lock"], _LOCK, timeout_s=_PATIENCE_S)
        await pgmq.install(handle)
    known = migrations() if steps is None else steps
    done: list[Migration] = []
    while True:
        async with database.transaction() as handle:
            await handle.execute(_SQL["take_lock"], _LOCK, timeout_s=_PATIENCE_S)
            state = await _status(handle, known)
            refuse_unknown(state)
            if not state.pending:
                return tuple(done)
            step = state.pending[0]
            await _apply(handle, step)
            done.append(step)


async def _apply(handle: Transaction, step: Migration) -> None:
    try:
        await handle.execute(step.text, timeout_s=_PATIENCE_S)
    except DatabaseUnavailableError:
        raise
    except (FluxaError, asyncpg.IntegrityConstraintViolationError) as error:
        raise FluxaError(
            ErrorCode.DB_REJECTED, f"Migration {step.number} ({step.name}) failed and was undone: {error}"
        ) from error
    await handle.execute(
        _SQL["insert_migration"],
        step.number,
        step.phase,
        step.name,
        step.checksum,
    )
