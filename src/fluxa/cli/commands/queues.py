"""`fluxa queue`: look at the queues."""

import asyncio

import typer

from fluxa.apps.database import migrated
from fluxa.apps.engines import queue_backend
from fluxa.apps.settings import Settings
from fluxa.cli import output
from fluxa.queue.backend import QueueMetrics
from fluxa.queue.registry import built_in

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Look at the queues.")


@app.callback()
def _group() -> None:
    """Keep the one command of this group a command of its own."""


@app.command("list")
def list_queues(context: typer.Context, as_json: output.AsJson = False) -> None:
    """Show what each queue holds."""
    found = asyncio.run(_metrics(output.effective(context).settings))
    if as_json:
        for name, held in found.items():
            output.print_json(
                {
                    "queue": name,
                    "depth": held.depth,
                    "ready": held.ready,
                    "oldest_age_s": held.oldest_age_s,
                    "dead": held.dead,
                }
            )
        return
    output.print_table(
        ("queue", "messages", "ready", "oldest", "dead letters"),
        (
            (
                name,
                held.depth,
                held.ready,
                "unknown" if held.oldest_age_s is None else f"{held.oldest_age_s:.1f} s",
                held.dead,
            )
            for name, held in found.items()
        ),
        empty="There are no queues.",
    )


async def _metrics(settings: Settings) -> dict[str, QueueMetrics]:
    async with migrated(settings, "queue") as database:
        backend = queue_backend(database)
        names = [spec.name for spec in built_in()]
        for name in names:
            await backend.create(name)
        return {name: await backend.metrics(name) for name in names}
