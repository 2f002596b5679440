"""`fluxa session`: who is logged in, and an end to it. Works on the store of sessions itself."""

import asyncio
from typing import Annotated

import typer

from fluxa.apps.settings import Settings
from fluxa.auth.sessions import Session
from fluxa.cli import output
from fluxa.cli.commands.ground import actor
from fluxa.cli.commands.identity.people import people
from fluxa.cli.errors import CommandError, stderr
from fluxa.kernel.errors import ErrorCode

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Show and end the sessions of users.")

Name = Annotated[str, typer.Argument(help="The user's e-mail address.")]


@app.command("list")
def list_sessions(context: typer.Context, name: Name, as_json: output.AsJson = False) -> None:
    """Show the live sessions of a user, newest first."""
    sessions = asyncio.run(_list(output.effective(context).settings, name))
    output.print_list(
        sessions,
        ("session", "from", "client", "begun", "used", "ends"),
        lambda session: (
            session.session_id,
            session.address,
            session.agent,
            output.moment(session.created_at),
            output.moment(session.seen_at),
            output.moment(session.expires_at),
        ),
        empty=f"{name} has no live session.",
        as_json=as_json,
    )


async def _list(settings: Settings, name: str) -> list[Session]:
    async with people(settings) as at:
        return await at.sessions.list_of((await at.users.find(name)).user_id)


@app.command()
def delete(
    context: typer.Context, session_id: Annotated[str, typer.Argument(help="As fluxa session list shows it.")]
) -> None:
    """End one session, effective with the next request."""
    if not asyncio.run(_delete(output.effective(context).settings, session_id)):
        raise CommandError(
            ErrorCode.NOT_FOUND,
            "There is no live session of this id.",
            action="See fluxa session list for the ids; one that has ended stays ended.",
        )
    stderr().print("The session has ended.", markup=False)


async def _delete(settings: Settings, session_id: str) -> bool:
    async with people(settings) as at:
        return await at.users.end_session(session_id, by=actor())


@app.command("delete-user")
def delete_user(context: typer.Context, name: Name) -> None:
    """End all sessions of a user, effective with the next request."""
    ended = asyncio.run(_delete_user(output.effective(context).settings, name))
    stderr().print(f"{ended} sessions of {name} have ended.", markup=False)


async def _delete_user(settings: Settings, name: str) -> int:
    async with people(settings) as at:
        return await at.users.end_sessions((await at.users.find(name)).user_id, by=actor())
