"""`fluxa jwt`: the keys that sign access tokens: list them, succeed them, end them. Works on the database itself."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import msgspec
import typer

from fluxa.apps.database import migrated
from fluxa.apps.serving.identity import signing_keys
from fluxa.apps.settings import Settings
from fluxa.apps.stack import home
from fluxa.auth.tokens import SigningKeys
from fluxa.auth.tokens.signing_keys import OVERLAP_S
from fluxa.cli import output
from fluxa.cli.commands.ground import actor
from fluxa.cli.errors import CommandError, stderr
from fluxa.kernel.errors import ErrorCode
from fluxa.operations.ledger import Ledger

T = TypeVar("T")

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Keys that sign access tokens.")


@app.command("list")
def list_keys(context: typer.Context, as_json: output.AsJson = False) -> None:
    """Show all keys: the next, the active, those retiring and those retired."""
    keys = _run(output.effective(context).settings, lambda keys: keys.all())
    output.print_list(
        keys,
        ("key", "state", "algorithm", "signs from", "signs until", "verifies until"),
        lambda key: (
            key.kid,
            key.state,
            key.algorithm,
            output.moment(key.signs_from),
            output.moment(key.signs_until),
            output.moment(key.retired_at or key.verifies_until),
        ),
        empty="There are no keys yet: the first is made with the first access token, or by fluxa jwt rotate",
        as_json=as_json,
    )


@app.command()
def rotate(
    context: typer.Context,
    overlap_s: Annotated[
        float, typer.Option(min=0, max=86400, help="Seconds for which the new key is published before it signs.")
    ] = OVERLAP_S,
    as_json: output.AsJson = False,
) -> None:
    """Make a new key; it is published at once, signs after the overlap, and no token of the old one fails."""
    made = _run(output.effective(context).settings, lambda keys: keys.rotate(overlap_s=overlap_s, by=actor()))
    if as_json:
        output.print_json(made)
        return
    stderr().print(f"Key {made.kid} signs from {output.moment(made.signs_from)} on.", markup=False)


@app.command()
def retire(context: typer.Context, kid: Annotated[str, typer.Argument(help="As fluxa jwt list shows it.")]) -> None:
    """End a key at once, and every token it signed: for a key that somebody else may have."""
    ended = _run(output.effective(context).settings, lambda keys: keys.retire(kid, by=actor()))
    if ended is None:
        raise CommandError(
            ErrorCode.NOT_FOUND, f"There is no key {kid} to retire.", action="See fluxa jwt list for the keys."
        )
    stderr().print(f"Key {kid} is retired; who has a token of it refreshes it or logs in again.", markup=False)


@app.command()
def reseal(context: typer.Context) -> None:
    """Seal the keys with the first secret of secret_key, so that the older ones can be taken out of the setting."""
    count = _run(output.effective(context).settings, lambda keys: keys.reseal(by=actor()))
    said = f"{count} sealed anew" if count else "All were sealed with the newest secret already"
    stderr().print(f"{said}; the older secrets of secret_key are not needed any more.", markup=False)


def _run(settings: Settings, work: Callable[[SigningKeys], Awaitable[T]]) -> T:
    """Do this with the keys; where the settings name no secret_key, the one that `fluxa up` made in the home counts."""
    kept = None if settings.secret_key else home.read_credentials(settings.home_folder)
    if kept is not None and kept.secret_key:
        settings = msgspec.structs.replace(settings, secret_key=kept.secret_key)

    async def run() -> T:
        async with migrated(settings, "jwt") as database:
            return await work(signing_keys(settings, database, audit=Ledger(database)))

    return asyncio.run(run())
