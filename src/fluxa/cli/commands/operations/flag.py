"""`fluxa flag`: switch new or risky logic off, and on again, while everything runs. Works on the database itself."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import typer

from fluxa.apps.database import migrated
from fluxa.apps.settings import Settings
from fluxa.cli import output
from fluxa.cli.commands.ground import actor
from fluxa.cli.errors import stderr
from fluxa.kernel.ids import Tenant
from fluxa.operations.flags import Flags, FlagView
from fluxa.operations.ledger import Ledger

T = TypeVar("T")

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Switch new or risky logic off, and on again.")

Name = Annotated[str, typer.Argument(metavar="FLAG", help="Its name.")]
Reason = Annotated[str, typer.Option(help="Why; it is shown beside the flag.")]


@app.command("list")
def list_flags(context: typer.Context, as_json: output.AsJson = False) -> None:
    """List Fluxa's own flags, and those that somebody has set."""
    found = _run(output.effective(context).settings, lambda flags: flags.all())
    output.print_list(
        found,
        ("flag", "is", "set by", "at", "why", "what it does"),
        lambda one: (one.name, _word(one), one.changed_by, output.moment(one.changed_at), one.reason, one.about),
        empty="There are no flags.",
        as_json=as_json,
    )


@app.command("on")
def turn_on(context: typer.Context, flag: Name, reason: Reason = "", as_json: output.AsJson = False) -> None:
    """Turn a flag on; every process follows at once."""
    _turn(context, flag, reason, is_on=True, as_json=as_json)


@app.command("off")
def turn_off(context: typer.Context, flag: Name, reason: Reason = "", as_json: output.AsJson = False) -> None:
    """Turn a flag off; every process follows at once."""
    _turn(context, flag, reason, is_on=False, as_json=as_json)


@app.command()
def reset(context: typer.Context, flag: Name) -> None:
    """Let what the code says hold again."""
    _run(output.effective(context).settings, lambda flags: flags.reset(flag, by=actor()))
    stderr().print(f"{flag} is as the code has it.", markup=False)


def _turn(context: typer.Context, flag: str, reason: str, *, is_on: bool, as_json: bool) -> None:
    settings = output.effective(context).settings
    found = _run(settings, lambda flags: flags.put(flag, is_on=is_on, by=actor(), reason=reason))
    if as_json:
        output.print_json(found)
        return
    stderr().print(f"{flag} is {_word(found)} from now on, everywhere.", markup=False)


def _word(flag: FlagView) -> str:
    return "on" if flag.is_on else "off"


def _run(settings: Settings, work: Callable[[Flags], Awaitable[T]]) -> T:
    async def run() -> T:
        async with migrated(settings, "flag") as database:
            return await work(Flags(database, Ledger(database), Tenant(settings.default_tenant)))

    return asyncio.run(run())
