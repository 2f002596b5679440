"""`fluxa apikey`: make, list and revoke the keys that name a tenant. Works on the database itself."""

import asyncio
from typing import Annotated

import typer

from fluxa.apps.database import migrated
from fluxa.apps.settings import Settings
from fluxa.auth.keys.api_keys import ApiKey, ApiKeys, NewApiKey
from fluxa.auth.roles import Role
from fluxa.cli import output
from fluxa.cli.commands.ground import whoami
from fluxa.cli.errors import CommandError, stderr
from fluxa.kernel.errors import ErrorCode
from fluxa.operations.ledger import Ledger

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Make, list and revoke API keys.")

Tenant = Annotated[str | None, typer.Option(help="Whose key; default_tenant if not given.")]


@app.command()
def create(
    context: typer.Context,
    tenant: Tenant = None,
    name: Annotated[str, typer.Option(help="What you call it.")] = "made by fluxa apikey create",
    role: Annotated[Role, typer.Option(help="What its bearer may do.")] = Role.INTEGRATION,
    as_json: output.AsJson = False,
) -> None:
    """Make a key and print it; it cannot be shown again."""
    settings = output.effective(context).settings
    made = asyncio.run(_create(settings, tenant or settings.default_tenant, name, role))
    if as_json:
        output.print_json(
            {"key_id": made.key.key_id, "tenant": made.key.tenant, "role": made.key.role, "api_key": made.token}
        )
        return
    print(made.token)
    stderr().print(
        f"Key {made.key.key_id} of tenant {made.key.tenant}, role {made.key.role}. Keep it now: only its hash is "
        "stored. Use it as FLUXA_API_KEY, or in the header Authorization: Bearer <key>.",
        markup=False,
    )


async def _create(settings: Settings, tenant: str, name: str, role: Role) -> NewApiKey:
    async with migrated(settings, "apikey") as database:
        return await ApiKeys(database, Ledger(database)).create(tenant, name, role=role, by=f"cli:{whoami()}")


@app.command("list")
def list_keys(
    context: typer.Context,
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's keys.")] = None,
    as_json: output.AsJson = False,
) -> None:
    """Show all keys, without their secrets."""
    keys = asyncio.run(_list(output.effective(context).settings, tenant))
    if as_json:
        for key in keys:
            output.print_json(key)
        return
    output.print_table(
        ("key", "tenant", "role", "name", "made", "revoked"),
        (
            (key.key_id, key.tenant, key.role, key.name, output.moment(key.created_at), output.moment(key.revoked_at))
            for key in keys
        ),
        empty="There are no keys. Make one: fluxa apikey create",
    )


async def _list(settings: Settings, tenant: str | None) -> list[ApiKey]:
    async with migrated(settings, "apikey") as database:
        return await ApiKeys(database).list(tenant)


@app.command()
def revoke(
    context: typer.Context, key_id: Annotated[str, typer.Argument(help="As fluxa apikey list shows it.")]
) -> None:
    """End a key; running services notice within 30 seconds."""
    if not asyncio.run(_revoke(output.effective(context).settings, key_id)):
        raise CommandError(
            ErrorCode.NOT_FOUND,
            f"There is no valid key {key_id}.",
            action="See fluxa apikey list for the ids; one that was revoked stays revoked.",
        )
    stderr().print(f"Key {key_id} is revoked.", markup=False)


async def _revoke(settings: Settings, key_id: str) -> bool:
    async with migrated(settings, "apikey") as database:
        return await ApiKeys(database, Ledger(database)).revoke(key_id, by=f"cli:{whoami()}")
