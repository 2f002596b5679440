"""`fluxa user`: make, list and change the people who log in. Works on the database itself."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import typer

from fluxa.apps.serving.people import People
from fluxa.apps.settings import Settings
from fluxa.auth.people.users import User
from fluxa.auth.roles import Role
from fluxa.cli import output
from fluxa.cli.commands.ground import actor
from fluxa.cli.commands.identity.people import new_password, people
from fluxa.cli.errors import stderr
from fluxa.kernel import json
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.kernel.ids import Tenant

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Make, list and change users.")

T = TypeVar("T")
Name = Annotated[str, typer.Argument(help="The user's e-mail address.")]


@app.command()
def create(
    context: typer.Context,
    name: Name,
    role: Annotated[Role, typer.Option(help="What the user may do.")] = Role.ANALYST,
    tenant: Annotated[str | None, typer.Option(help="Whose data; default_tenant if not given.")] = None,
    as_json: output.AsJson = False,
) -> None:
    """Make a user; the password is asked for, or read from standard input."""
    settings = output.effective(context).settings
    password = new_password()

    async def work(at: People) -> User:
        return await at.users.create(tenant or settings.default_tenant, name, password, role=role, by=actor())

    _told(_run(settings, work), "is there", as_json=as_json)


@app.command("list")
def list_users(
    context: typer.Context,
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's users.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Users at most.")] = 1000,
    as_json: output.AsJson = False,
) -> None:
    """Show users, by name."""

    async def work(at: People) -> list[User]:
        return await at.users.list(tenant, limit=limit)

    users = _run(output.effective(context).settings, work)
    output.print_list(
        users,
        ("name", "tenant", "role", "disabled", "made", "last login", "id"),
        lambda user: (
            user.name,
            user.tenant,
            user.role,
            "yes" if user.disabled else "",
            output.moment(user.created_at),
            output.moment(user.login_at),
            user.user_id,
        ),
        empty="There are no users. Make one: fluxa user create NAME --role admin",
        as_json=as_json,
    )


@app.command()
def show(context: typer.Context, name: Name) -> None:
    """Show a user as JSON, with what is held against the name and how many sessions are live."""

    async def work(at: People) -> dict[str, object]:
        user = await at.users.find(name)
        shown: dict[str, object] = json.decode(json.encode(user))
        shown["locked_until"] = await at.attempts.locked_until(user.name)
        shown["sessions"] = len(await at.sessions.list_of(user.user_id))
        return shown

    output.print_json(_run(output.effective(context).settings, work))


@app.command()
def disable(context: typer.Context, name: Name, as_json: output.AsJson = False) -> None:
    """Refuse a user's logins and end all sessions, at once."""
    _change(context, name, disabled=True, done="is disabled; all sessions have ended", as_json=as_json)


@app.command()
def enable(context: typer.Context, name: Name, as_json: output.AsJson = False) -> None:
    """Let a user log in again."""
    _change(context, name, disabled=False, done="may log in", as_json=as_json)


@app.command()
def role(
    context: typer.Context,
    name: Name,
    new: Annotated[Role, typer.Argument(help="What the user may do from now on.")],
    as_json: output.AsJson = False,
) -> None:
    """Give a user another role; the sessions with the old one end."""
    _change(context, name, role=new, done=f"has the role {new}", as_json=as_json)


@app.command()
def passwd(context: typer.Context, name: Name, as_json: output.AsJson = False) -> None:
    """Give a user another password, asked for or read from standard input; all sessions end."""
    settings = output.effective(context).settings
    password = new_password()

    async def work(at: People) -> User:
        return await at.users.set_password((await at.users.find(name)).user_id, password, by=actor())

    _told(_run(settings, work), "has another password; all sessions have ended", as_json=as_json)


@app.command()
def unlock(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="The e-mail address.")] = None,
    address: Annotated[str | None, typer.Option(help="Of an address instead, which many may share.")] = None,
) -> None:
    """End the lock that failed logins have put on a user's name, or on an address."""
    settings = output.effective(context).settings
    if (name is None) == (address is None):
        raise FluxaError(ErrorCode.INVALID_REQUEST, "Name a user, or an address with --address.")

    async def work(at: People) -> bool:
        if address is not None:
            return await at.users.unlock_address(address, tenant=Tenant(settings.default_tenant), by=actor())
        return await at.users.unlock(name or "", by=actor())

    cleared, what = _run(settings, work), name or address
    stderr().print(f"{what} may try again." if cleared else f"Nothing was held against {what}.", markup=False)


@app.command()
def link(
    context: typer.Context,
    name: Name,
    subject: Annotated[str, typer.Argument(help="What the provider of oidc_issuer calls the person: the claim sub.")],
    as_json: output.AsJson = False,
) -> None:
    """Say who a user is at the OpenID provider, where its e-mail addresses do not."""
    settings = output.effective(context).settings
    issuer = settings.oidc_issuer
    if issuer is None:
        raise FluxaError(ErrorCode.CONFIGURATION, "oidc_issuer is not set.")

    async def work(at: People) -> User:
        return await at.links.link(name, issuer, subject, by=actor())

    _told(_run(settings, work), f"is {subject} at {issuer}", as_json=as_json)


@app.command()
def unlink(context: typer.Context, name: Name) -> None:
    """Forget who a user is at the OpenID provider; the next login links anew, and all sessions end."""

    async def work(at: People) -> int:
        return await at.links.unlink(name, by=actor())

    count = _run(output.effective(context).settings, work)
    stderr().print(f"{count} links of {name} are gone; all sessions have ended.", markup=False)


def _change(
    context: typer.Context,
    name: str,
    *,
    done: str,
    as_json: bool,
    role: Role | None = None,
    disabled: bool | None = None,
) -> None:
    async def work(at: People) -> User:
        return await at.users.change((await at.users.find(name)).user_id, by=actor(), role=role, disabled=disabled)

    _told(_run(output.effective(context).settings, work), done, as_json=as_json)


def _told(user: User, done: str, *, as_json: bool) -> None:
    if as_json:
        output.print_json(user)
        return
    stderr().print(f"{user.name} (tenant {user.tenant}, role {user.role}) {done}.", markup=False)


def _run(settings: Settings, work: Callable[[People], Awaitable[T]]) -> T:
    async def whole() -> T:
        async with people(settings) as at:
            return await work(at)

    return asyncio.run(whole())
