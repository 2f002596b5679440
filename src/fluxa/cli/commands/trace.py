"""`fluxa trace ID`: the story of a correlation id as a tree with a timeline. Not: how the story is known."""

import asyncio
import datetime as dt
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.markup import escape
from rich.tree import Tree

from fluxa.cli import output
from fluxa.cli.client.connection import find_target, get

app = typer.Typer(add_completion=False)

_MARKS = {"success": "[green]✓[/]", "failure": "[red]✗[/]"}
_STATES = {"stored": "[green]stored[/]", "retrying": "[yellow]retrying[/]", "parked": "[red]parked[/]"}


@app.command()
def trace(
    context: typer.Context,
    correlation_id: Annotated[str, typer.Argument(metavar="ID", help="The correlation id; events list shows it.")],
    event_id: Annotated[str | None, typer.Option("--event", help="Only this event of the story.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Events at most.")] = 100,
    as_json: output.AsJson = False,
) -> None:
    """Tell the story of a correlation id: every stage of every event, with times, attempts and errors."""
    target = find_target(output.effective(context).settings)
    params: dict[str, str | int] = {"limit": limit, **({"event_id": event_id} if event_id else {})}
    story = asyncio.run(get(target, f"/v1/traces/{quote(correlation_id, safe='')}", params))
    if as_json:
        output.print_json(story)
        return
    tree = Tree(f"[bold]{escape(story['correlation_id'])}[/]")
    for event in story["events"]:
        _add(tree, event)
    console = output.stdout()
    console.print(tree)
    if story["truncated"]:
        console.print("There are more events in this story; ask for one with --event.", style="dim")
    console.print(story["note"], style="dim", markup=False)


def _add(tree: Tree, event: dict[str, Any]) -> None:
    again = event["acknowledged"]
    repeated = f", sent {again} times" if again is not None and again > 1 else ""
    kind = event["type"] or "an event"
    branch = tree.add(
        f"{escape(kind)} [bold]{escape(event['id'])}[/] from {escape(event['source'] or 'unknown')}: "
        f"{_STATES.get(event['state'], event['state'])} after {event['attempts']} "
        f"attempt{'s' if event['attempts'] != 1 else ''}{repeated}"
    )
    began: dt.datetime | None = None
    for stage in event["stages"]:
        at = dt.datetime.fromisoformat(stage["at"])
        began = began or at
        branch.add(_stage(stage, at, at - began))


def _stage(stage: dict[str, Any], at: dt.datetime, since: dt.timedelta) -> str:
    took = "" if stage["latency_ms"] is None else f" took {stage['latency_ms']:.1f} ms"
    attempt = "" if stage["attempt"] is None else f" attempt {stage['attempt']}"
    failure = (
        ""
        if stage["error_code"] is None
        else f" [red]{escape(stage['error_code'])}[/]: {escape(stage['detail'] or '')}"
    )
    return (
        f"{_MARKS.get(stage['status'], '·')} [dim]{at:%H:%M:%S.%f}[/] [dim]+{since.total_seconds() * 1000:.1f} ms[/] "
        f"{escape(stage['stage'])}[dim]{attempt}{took}[/]{failure}"
    )
