"""`fluxa service-account`: programs by name, which own API keys. Works on the database itself."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Annotated

import typer

from fluxa.apps.database import migrated
from fluxa.apps.settings import Settings
from fluxa.auth.keys.accounts import ServiceAccount, ServiceAccounts
from fluxa.auth.keys.api_keys import ApiKeys
from fluxa.auth.roles import Role
from fluxa.cli import output
from fluxa.cli.commands.ground import actor
from fluxa.cli.errors import stderr
from fluxa.operations.ledger import Ledger

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Programs by name, which own API keys.")

Name = Annotated[str, typer.Argument(help="What the program is called, once in its tenant.")]
Tenant = Annotated[str | None, typer.Option(help="Whose; default_tenant if not given.")]


@contextlib.asynccontextmanager
async def _accounts(settings: Settings) -> AsyncIterator[ServiceAccounts]:
    async with migrated(settings, "service-account") as database:
        yield ServiceAccounts(database, ApiKeys(database), Ledger(database))


@app.command()
def create(
    context: typer.Context,
    name: Name,
    tenant: Tenant = None,
    role: Annotated[Role, typer.Option(help="What it, and each of its keys, may do.")] = Role.SERVICE,
    as_json: output.AsJson = False,
) -> None:
    """Make a service account; then make keys for it with fluxa apikey create --service-account."""
    settings = output.effective(context).settings

    async def make() -> ServiceAccount:
        async with _accounts(settings) as accounts:
            return await accounts.create(tenant or settings.default_tenant, name, role=role, by=actor())

    made = asyncio.run(make())
    if as_json:
        output.print_json(made)
        return
    stderr().print(f"Service account {made.name} of tenant {made.tenant}, role {made.role}.", markup=False)


@app.command("list")
def list_accounts(
    context: typer.Context,
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's.")] = None,
    as_json: output.AsJson = False,
) -> None:
    """Show all service accounts."""
    settings = output.effective(context).settings

    async def find() -> list[ServiceAccount]:
        async with _accounts(settings) as accounts:
            return await accounts.list(tenant)

    found = asyncio.run(find())
    output.print_list(
        found,
        ("name", "tenant", "role", "disabled", "made", "changed"),
        lambda one: (
            one.name,
            one.tenant,
            one.role,
            "yes" if one.disabled else "",
            output.moment(one.created_at),
            output.moment(one.changed_at),
        ),
        empty="There are none. Make one: fluxa service-account create NAME",
        as_json=as_json,
    )


@app.command()
def disable(context: typer.Context, name: Name, tenant: Tenant = None) -> None:
    """End a service account and all its keys, at once and for good; enabling it gives none of them back."""
    settings = output.effective(context).settings

    async def end() -> int:
        async with _accounts(settings) as accounts:
            return await accounts.disable(tenant or settings.default_tenant, name, by=actor())

    ended = asyncio.run(end())
    stderr().print(f"Service account {name} is disabled; {ended} of its keys have ended.", markup=False)


@app.command()
def enable(context: typer.Context, name: Name, tenant: Tenant = None) -> None:
    """Let a disabled service account have keys again; make new ones, those before stay ended."""
    settings = output.effective(context).settings

    async def begin() -> None:
        async with _accounts(settings) as accounts:
            await accounts.enable(tenant or settings.default_tenant, name, by=actor())

    asyncio.run(begin())
    stderr().print(f"Service account {name} is enabled.", markup=False)
