"""`fluxa apikey`: make, list, rotate and revoke the keys that name a tenant. Works on the database itself."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Annotated

import typer

from fluxa.apps.database import migrated
from fluxa.apps.settings import Settings
from fluxa.auth.keys.api_keys import OVERLAP_S, ApiKey, ApiKeys, NewApiKey
from fluxa.auth.roles import Role
from fluxa.auth.scopes import GRANTED
from fluxa.cli import output
from fluxa.cli.commands.ground import actor
from fluxa.cli.errors import CommandError, stderr
from fluxa.kernel.errors import ErrorCode
from fluxa.operations.ledger import Ledger

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Make, list, rotate and revoke API keys.")

Tenant = Annotated[str | None, typer.Option(help="Whose key; default_tenant if not given.")]
KeyId = Annotated[str, typer.Argument(help="As fluxa apikey list shows it.")]
Days = Annotated[float | None, typer.Option(help="Days after which the key ends by itself; it does not, if not given.")]
_DAY_S = 86_400.0


@contextlib.asynccontextmanager
async def _keys(settings: Settings) -> AsyncIterator[ApiKeys]:
    async with migrated(settings, "apikey") as database:
        yield ApiKeys(database, Ledger(database))


@app.command()
def create(
    context: typer.Context,
    tenant: Tenant = None,
    name: Annotated[str, typer.Option(help="What you call it.")] = "made by fluxa apikey create",
    role: Annotated[
        Role | None, typer.Option(help="What its bearer may do; integration, or that of its service account.")
    ] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option(help=f"Narrow it to this much of its role; repeatable: {', '.join(sorted(GRANTED))}."),
    ] = None,
    service_account: Annotated[str | None, typer.Option(help="The service account that owns it.")] = None,
    expires_in_days: Days = None,
    as_json: output.AsJson = False,
) -> None:
    """Make a key and print it; it cannot be shown again."""
    settings = output.effective(context).settings
    chosen = Role.INTEGRATION if role is None and service_account is None else role

    async def make() -> NewApiKey:
        async with _keys(settings) as keys:
            return await keys.create(
                tenant or settings.default_tenant,
                name,
                role=chosen,
                narrowed=scope or (),
                expires_in_s=_seconds(expires_in_days),
                account=service_account,
                by=actor(),
            )

    made = asyncio.run(make())
    key = made.key
    if as_json:
        shown = {"key_id": key.key_id, "tenant": key.tenant, "role": key.role, "api_key": made.token}
        output.print_json({**shown, "scopes": key.scopes, "account": key.account, "expires_at": key.expires_at})
        return
    print(made.token)
    end = "" if key.expires_at is None else f" It ends at {output.moment(key.expires_at)}."
    stderr().print(
        f"Key {key.key_id} of tenant {key.tenant}, role {key.role}.{end} Keep it now: only its hash is stored. "
        "Use it as FLUXA_API_KEY, or in the header Authorization: Bearer <key>.",
        markup=False,
    )


@app.command("list")
def list_keys(
    context: typer.Context,
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's keys.")] = None,
    as_json: output.AsJson = False,
) -> None:
    """Show all keys, without their secrets."""
    settings = output.effective(context).settings

    async def find() -> list[ApiKey]:
        async with _keys(settings) as keys:
            return await keys.list(tenant)

    columns = ("key", "tenant", "role", "scopes", "account", "name", "made", "used", "expires", "overlap", "revoked")
    empty = "There are no keys. Make one: fluxa apikey create"
    output.print_list(asyncio.run(find()), columns, _cells, empty=empty, as_json=as_json)


def _cells(key: ApiKey) -> tuple[object, ...]:
    return (
        key.key_id,
        key.tenant,
        key.role,
        "all" if key.scopes is None else " ".join(key.scopes),
        key.account,
        key.name,
        output.moment(key.created_at),
        output.moment(key.last_used_at),
        output.moment(key.expires_at),
        output.moment(key.old_until),
        output.moment(key.revoked_at),
    )


@app.command()
def rotate(
    context: typer.Context,
    key_id: KeyId,
    overlap_s: Annotated[
        float, typer.Option(help="Seconds for which the old secret is taken too; 0 ends all older ones at once.")
    ] = OVERLAP_S,
    expires_in_days: Annotated[
        float | None, typer.Option(help="Days after which the key is to end now; as before, if not given.")
    ] = None,
    as_json: output.AsJson = False,
) -> None:
    """Give a key another secret and print it; the old one is taken for the overlap, a day if not said otherwise."""
    settings = output.effective(context).settings

    async def change() -> tuple[str, dict[str, object]]:
        async with _keys(settings) as keys:
            done = await keys.rotate(key_id, overlap_s=overlap_s, expires_in_s=_seconds(expires_in_days), by=actor())
        until = output.moment(done.old_until)
        return until, {
            "key_id": done.key_id,
            "tenant": done.tenant,
            "api_key": done.token,
            "old_until": done.old_until,
            "expires_at": done.expires_at,
        }

    until, shown = asyncio.run(change())
    if as_json:
        output.print_json(shown)
        return
    print(shown["api_key"])
    stderr().print(
        f"Key {key_id} has this secret from now on; the one before it is taken until {until}. Keep it now: only its "
        "hash is stored.",
        markup=False,
    )


@app.command()
def revoke(context: typer.Context, key_id: KeyId) -> None:
    """End a key; running services are told at once, one that hears nothing notices within two seconds."""
    settings = output.effective(context).settings

    async def end() -> bool:
        async with _keys(settings) as keys:
            return await keys.revoke(key_id, by=actor())

    if not asyncio.run(end()):
        raise CommandError(
            ErrorCode.NOT_FOUND,
            f"There is no valid key {key_id}.",
            action="See fluxa apikey list for the ids; one that was revoked stays revoked.",
        )
    stderr().print(f"Key {key_id} is revoked.", markup=False)


def _seconds(days: float | None) -> float | None:
    return None if days is None else days * _DAY_S
