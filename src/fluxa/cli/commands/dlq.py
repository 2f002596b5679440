"""`fluxa dlq`: look at dead letters, send them again, delete them."""

import asyncio
import base64
from typing import Annotated, Any

import typer

from fluxa.apps.database import migrated, open_wakeups
from fluxa.apps.engines import queue_backend
from fluxa.apps.settings import Settings
from fluxa.cli import output
from fluxa.cli.errors import CommandError, stderr
from fluxa.kernel.errors import ErrorCode
from fluxa.kernel.lifecycle import Lifetime
from fluxa.queue.backend import DeadLetterFilter
from fluxa.queue.dead_letters import redrive as redriving
from fluxa.queue.record import DeadLetter
from fluxa.queue.registry import built_in

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Look at dead letters, send them again, delete them."
)


def _known(name: str) -> str:
    """Refuse the name of a queue that does not exist, since looking at one would make it."""
    known = built_in()
    if name not in known:
        raise typer.BadParameter(f"{name!r} is no queue; there is: {', '.join(spec.name for spec in known)}")
    return name


Queue = Annotated[str, typer.Option("--queue", callback=_known, help="Whose dead letters.")]
Codes = Annotated[list[str] | None, typer.Option("--code", help="Only this error code; repeatable.")]
Ids = Annotated[list[str] | None, typer.Option("--id", help="Only this dead letter; repeatable.")]


@app.command("list")
def list_letters(
    context: typer.Context,
    queue_name: Queue = "events",
    code: Codes = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="Letters at most.")] = 100,
    as_json: output.AsJson = False,
) -> None:
    """List dead letters, oldest first."""
    which = DeadLetterFilter(codes=tuple(code or ()))
    letters = asyncio.run(_letters(output.effective(context).settings, queue_name, which, limit))
    if as_json:
        for letter in letters:
            output.print_json(_as_json(letter))
        return
    output.print_table(
        ("id", "event", "code", "class", "attempts", "last failure", "reason"),
        (
            (
                letter.message_id,
                letter.record.id,
                letter.code,
                redriving.class_of(letter),
                letter.attempts,
                output.moment(letter.last_failed_at),
                letter.reason,
            )
            for letter in letters
        ),
        empty=f"There are no such dead letters in {queue_name}_dlq.",
    )


@app.command()
def show(
    context: typer.Context,
    message_id: Annotated[str, typer.Argument(help="As fluxa dlq list shows it.")],
    queue_name: Queue = "events",
    as_json: output.AsJson = False,
) -> None:
    """Show one dead letter whole: why it failed, and its body."""
    which = DeadLetterFilter(message_ids=(message_id,))
    letters = asyncio.run(_letters(output.effective(context).settings, queue_name, which, 1))
    if not letters:
        raise CommandError(
            ErrorCode.NOT_FOUND,
            f"There is no dead letter {message_id} in {queue_name}_dlq.",
            action="See fluxa dlq list; it may have been sent again or deleted.",
        )
    facts = _as_json(letters[0])
    if as_json:
        output.print_json(facts)
        return
    body = facts.pop("body", None) or f"base64: {facts.pop('body_base64')}"
    output.print_table(("", ""), facts.items(), empty="")
    output.stdout().print(body, markup=False, soft_wrap=True)


@app.command()
def redrive(
    context: typer.Context,
    queue_name: Queue = "events",
    code: Codes = None,
    message_id: Ids = None,
    everything: Annotated[bool, typer.Option("--all", help="All that may be sent again.")] = False,
    force: Annotated[
        list[str] | None, typer.Option("--force", help="Also this permanent or security code; repeatable.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be sent.")] = False,
    as_json: output.AsJson = False,
) -> None:
    """Send dead letters back to their queue; never permanent or security failures unless forced by code."""
    which = _chosen(code, message_id, everything=everything)
    settings = output.effective(context).settings
    report = asyncio.run(_redrive(settings, queue_name, which, frozenset(force or ()), dry_run=dry_run))
    refused = dict(report.plan.refused_by_code)
    if as_json:
        facts = {"dry_run": dry_run, "planned": report.plan.by_code, "moved": report.moved, "refused": refused}
        output.print_json(facts)
    else:
        verb = "would be sent again" if dry_run else "sent again"
        count = len(report.plan.to_move) if dry_run else report.moved
        stderr().print(f"{count} {verb}{_by_code(report.plan.by_code)}.", markup=False)
    if refused and not report.plan.to_move:
        raise CommandError(
            ErrorCode.REFUSED,
            f"{sum(refused.values())} stay{_by_code(refused)}: the same work would fail again, or was tampered with.",
            action="Mend the cause first; if you have, name the code: "
            + " ".join(f"--force {name}" for name in refused),
        )
    if refused and not as_json:
        stderr().print(f"{sum(refused.values())} stay{_by_code(refused)}; --force CODE sends them too.", markup=False)


@app.command()
def purge(
    context: typer.Context,
    queue_name: Queue = "events",
    code: Codes = None,
    message_id: Ids = None,
    everything: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete dead letters for good."""
    which = _chosen(code, message_id, everything=everything)
    settings = output.effective(context).settings
    ids = asyncio.run(_ids(settings, queue_name, which))
    if not ids:
        stderr().print(f"There are no such dead letters in {queue_name}_dlq.", markup=False)
        return
    if not yes:
        typer.confirm(f"Delete {len(ids)} dead letters of {queue_name} for good?", abort=True, err=True)
    deleted = asyncio.run(_purge(settings, queue_name, ids))
    stderr().print(f"{deleted} deleted.", markup=False)


def _chosen(codes: list[str] | None, ids: list[str] | None, *, everything: bool) -> DeadLetterFilter:
    if not codes and not ids and not everything:
        raise CommandError(
            ErrorCode.INVALID_REQUEST,
            "Nothing says which dead letters are meant.",
            action="Name them with --code or --id, or say --all.",
        )
    return DeadLetterFilter(codes=tuple(codes or ()), message_ids=tuple(ids or ()))


def _by_code(counts: Any) -> str:  # noqa: ANN401 - a mapping of code to count
    return f" ({', '.join(f'{name}: {count}' for name, count in counts.items())})" if counts else ""


def _as_json(letter: DeadLetter) -> dict[str, Any]:
    record = letter.record
    facts: dict[str, Any] = {
        "id": letter.message_id,
        "queue": letter.queue,
        "event_id": record.id,
        "correlation_id": record.correlation_id,
        "error_code": letter.code,
        "class": redriving.class_of(letter),
        "reason": letter.reason,
        "attempts": letter.attempts,
        "redrives": record.redrives,
        "first_failed_at": letter.first_failed_at,
        "last_failed_at": letter.last_failed_at,
        "readable": letter.readable,
        "headers": record.headers,
    }
    try:
        return {**facts, "body": record.body.decode()}
    except UnicodeDecodeError:
        return {**facts, "body_base64": base64.b64encode(record.body).decode()}


async def _letters(settings: Settings, name: str, which: DeadLetterFilter, limit: int) -> list[DeadLetter]:
    async with migrated(settings, "dlq") as database:
        backend = queue_backend(database)
        await backend.create(name)
        found: list[DeadLetter] = []
        while len(found) < limit:
            size = min(redriving.BATCH, limit - len(found))
            page = await backend.dead_letters(name, which, limit=size, after=found[-1].message_id if found else None)
            found += page
            if len(page) < size:
                break
        return found


async def _redrive(
    settings: Settings, name: str, which: DeadLetterFilter, forced: frozenset[str], *, dry_run: bool
) -> redriving.RedriveReport:
    life = Lifetime()
    async with migrated(settings, "dlq") as database:
        try:
            _, notifier = await open_wakeups(life, settings, database)
            backend = queue_backend(database, notifier=notifier)
            await backend.create(name)
            return await redriving.redrive(backend, name, which, forced=forced, dry_run=dry_run)
        finally:
            await life.stop()


async def _ids(settings: Settings, name: str, which: DeadLetterFilter) -> list[str]:
    letters = await _letters(settings, name, which, 10_000_000)
    return [letter.message_id for letter in letters]


async def _purge(settings: Settings, name: str, ids: list[str]) -> int:
    async with migrated(settings, "dlq") as database:
        backend = queue_backend(database)
        deleted = 0
        for start in range(0, len(ids), redriving.BATCH):
            deleted += await backend.purge(name, ids[start : start + redriving.BATCH])
        return deleted
