"""What the commands for dead letters share: their options, the filter these make, and the way to the letters."""

import contextlib
import datetime as dt
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Annotated

import typer

from fluxa.apps.settings import Settings
from fluxa.cli.commands import ground
from fluxa.cli.errors import CommandError
from fluxa.kernel.clock import SystemClock
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.postgres.listen import Listener
from fluxa.postgres.pool import Database
from fluxa.queue.backend import DeadLetterFilter, QueueBackend
from fluxa.queue.dead_letters.tasks import RedriveTasks
from fluxa.queue.registry import QueueSpec, Registry

Queue = Annotated[str, typer.Option("--queue", help="Whose dead letters.")]
Codes = Annotated[list[str] | None, typer.Option("--code", help="Only this error code; repeatable.")]
Ids = Annotated[list[str] | None, typer.Option("--id", help="Only this dead letter; repeatable.")]
Records = Annotated[list[str] | None, typer.Option("--record", help="Only the record (event, job) of this id.")]
Keys = Annotated[list[str] | None, typer.Option("--key", help="Only records of this key; repeatable.")]
Since = Annotated[
    str | None, typer.Option("--since", metavar="TIME", help="Failed last at this time or later: ISO 8601, or 2h ago.")
]
Until = Annotated[str | None, typer.Option("--until", metavar="TIME", help="Failed last before this time.")]

_AGO = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])(?:\s*ago)?\Z")
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


@dataclass(frozen=True, slots=True)
class Desk:
    """What a command works with."""

    database: Database
    backend: QueueBackend
    registry: Registry
    tasks: RedriveTasks
    listener: Listener


@contextlib.asynccontextmanager
async def opened(settings: Settings, queue: str | None = None) -> AsyncIterator[Desk]:
    """The way to dead letters; with a queue, one that exists.

    Raises:
        FluxaError: `NotFound` for a queue that does not exist; an outage.
    """
    async with ground.opened(settings, "dlq") as on:
        if queue is not None:
            await _find(on.backend, on.registry, queue)
        tasks = RedriveTasks(on.database, on.backend, registry=on.registry)
        yield Desk(on.database, on.backend, on.registry, tasks, on.listener)


async def _find(backend: QueueBackend, registry: Registry, queue: str) -> None:
    """A queue of Fluxa's own is made if need be; one of the user's is known by its tables."""
    if queue in registry:
        await backend.create(queue)
        return
    try:
        await backend.summarize_dead(queue, DeadLetterFilter(up_to="0"))
    except FluxaError as error:
        if error.code in {ErrorCode.DB_REJECTED, ErrorCode.CONFIGURATION}:
            registry.get(queue)  # says that there is none, and which name is near
        raise
    registry.add(QueueSpec(queue))


def moment(text: str, now: dt.datetime) -> dt.datetime:
    """A time as people write it: ISO 8601 (UTC if it names no zone), or so long ago.

    Raises:
        typer.BadParameter: for anything else.
    """
    if match := _AGO.match(text.strip()):
        return now - dt.timedelta(seconds=float(match[1]) * _UNITS_S[match[2]])
    try:
        found = dt.datetime.fromisoformat(text.strip())
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no time: say 2026-01-31T12:00:00Z, or 90s, 15m, 2h, 3d ago") from None
    return found if found.tzinfo is not None else found.replace(tzinfo=dt.UTC)


def chosen(
    codes: list[str] | None = None,
    ids: list[str] | None = None,
    records: list[str] | None = None,
    keys: list[str] | None = None,
    since: str | None = None,
    until: str | None = None,
) -> DeadLetterFilter:
    """The filter that options make."""
    now = SystemClock().now()
    return DeadLetterFilter(
        codes=tuple(codes or ()),
        message_ids=tuple(ids or ()),
        record_ids=tuple(records or ()),
        keys=tuple(keys or ()),
        failed_from=moment(since, now) if since else None,
        failed_before=moment(until, now) if until else None,
    )


def must_choose(which: DeadLetterFilter, *, everything: bool) -> DeadLetterFilter:
    """The filter, unless nothing says which letters are meant.

    Raises:
        FluxaError: `InvalidRequest`.
    """
    if which == DeadLetterFilter() and not everything:
        raise CommandError(
            ErrorCode.INVALID_REQUEST,
            "Nothing says which dead letters are meant.",
            action="Name them with --code, --id, --record, --key, --since or --until, or say --all.",
        )
    return which


def counted(counts: Mapping[str, int]) -> str:
    """Counts by code in brackets; nothing for none."""
    return f" ({', '.join(f'{name}: {count}' for name, count in counts.items())})" if counts else ""
