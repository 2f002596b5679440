"""`fluxa tenants`: whether tenants are kept apart, and how to mend it. Not: how that is found out."""

import asyncio
from typing import Annotated

import typer

from fluxa.apps.database import migrated
from fluxa.apps.settings import Settings
from fluxa.cli import output
from fluxa.cli.commands.ground import actor
from fluxa.cli.errors import FAILED, stderr
from fluxa.kernel.ids import Tenant
from fluxa.operations.ledger import Ledger
from fluxa.operations.tenants.check import check as found_by
from fluxa.operations.tenants.repair import Repair
from fluxa.operations.tenants.repair import plan as planned_by
from fluxa.operations.tenants.repair import repair as repaired_by
from fluxa.operations.tenants.rules import Finding

app = typer.Typer(no_args_is_help=True, add_completion=False, help="See whether tenants are kept apart; mend it.")


@app.callback()
def group() -> None:
    """See whether tenants are kept apart; mend it."""


@app.command()
def check(context: typer.Context, as_json: output.AsJson = False) -> None:
    """Say what lets a tenant see another's rows, and what shuts one out; try it with rows that are rolled back.

    Exit code 1 if anything is found.
    """
    found = asyncio.run(_check(output.effective(context).settings))
    output.print_list(
        found,
        ("kind", "what", "detail", "what to do"),
        lambda one: (one.kind, one.what, one.detail, one.action),
        empty="Tenants are kept apart, and none is locked out.",
        as_json=as_json,
    )
    if found:
        stderr().print(f"{len(found)} found.")
        raise typer.Exit(FAILED)


@app.command()
def repair(
    context: typer.Context,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without this it is only shown.")] = False,
    as_json: output.AsJson = False,
) -> None:
    """Mend role, grants and policies; show what would be done, unless --yes.

    Exit code 1 if anything is wrong still.
    """
    settings = output.effective(context).settings
    done = asyncio.run(_repair(settings, yes=yes))
    if as_json:
        output.print_json(done)
    else:
        output.print_table(
            ("statement", "", "why not"),
            ((one.statement, one.ending, one.detail) for one in done.mended),
            empty="There is nothing that a statement mends.",
        )
        output.print_table(
            ("kind", "what", "detail", "what to do"),
            ((one.kind, one.what, one.detail, one.action) for one in done.left),
            empty="Tenants are kept apart, and none is locked out.",
        )
    if done.left:
        stderr().print(f"{len(done.left)} left." if yes else f"{len(done.left)} found. Mend it with --yes.")
        raise typer.Exit(FAILED)


async def _repair(settings: Settings, *, yes: bool) -> Repair:
    async with migrated(settings, "tenants") as database:
        if not yes:
            return await planned_by(database)
        tenant = Tenant(settings.default_tenant)
        return await repaired_by(database, Ledger(database), tenant=tenant, by=actor())


async def _check(settings: Settings) -> list[Finding]:
    async with migrated(settings, "tenants") as database:
        return await found_by(database)
