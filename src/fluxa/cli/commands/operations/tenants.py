"""`fluxa tenants`: whether tenants are kept apart. Not: how that is found out (fluxa.operations.tenants)."""

import asyncio

import typer

from fluxa.apps.database import migrated
from fluxa.apps.settings import Settings
from fluxa.cli import output
from fluxa.cli.errors import FAILED, stderr
from fluxa.operations.tenants.check import check as found_by
from fluxa.operations.tenants.rules import Finding

app = typer.Typer(no_args_is_help=True, add_completion=False, help="See whether tenants are kept apart.")


@app.callback()
def group() -> None:
    """See whether tenants are kept apart."""


@app.command()
def check(context: typer.Context, as_json: output.AsJson = False) -> None:
    """Say what lets a tenant see another's rows, and what shuts one out; try it with rows that are rolled back.

    Exit code 1 if anything is found.
    """
    found = asyncio.run(_check(output.effective(context).settings))
    if as_json:
        for one in found:
            output.print_json(one)
    else:
        output.print_table(
            ("kind", "what", "detail", "what to do"),
            ((one.kind, one.what, one.detail, one.action) for one in found),
            empty="Tenants are kept apart, and none is locked out.",
        )
    if found:
        stderr().print(f"{len(found)} found.")
        raise typer.Exit(FAILED)


async def _check(settings: Settings) -> list[Finding]:
    async with migrated(settings, "tenants") as database:
        return await found_by(database)
