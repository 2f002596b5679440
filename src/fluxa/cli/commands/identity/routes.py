"""`fluxa routes`: what every process serves on what terms, and who may call it. Works on the database itself."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import typer

from fluxa.apps.database import migrated
from fluxa.apps.settings import Settings
from fluxa.auth.roles import Role
from fluxa.cli import output
from fluxa.cli.commands.ground import actor
from fluxa.cli.errors import stderr
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.kernel.ids import Tenant
from fluxa.operations.ledger import Ledger
from fluxa.web.identity.bindings import Bindings, RouteView

T = TypeVar("T")

app = typer.Typer(add_completion=False, help="Show all routes, and say which roles may call one.")

Name = Annotated[str, typer.Argument(metavar="ROUTE", help="As fluxa routes list shows it.")]


@app.callback(invoke_without_command=True)
def group(context: typer.Context, as_json: output.AsJson = False) -> None:
    """Show all routes, and say which roles may call one."""
    if context.invoked_subcommand is None:
        _show(context, None, as_json=as_json)


@app.command("list")
def list_routes(
    context: typer.Context,
    process: Annotated[str | None, typer.Option(help="Only what this process serves.")] = None,
    as_json: output.AsJson = False,
) -> None:
    """Show every route of every process, as each told when it last began to serve; `fluxa routes` alone does too."""
    _show(context, process, as_json=as_json)


def _show(context: typer.Context, process: str | None, *, as_json: bool) -> None:
    table = _run(output.effective(context).settings, lambda bindings: bindings.table())
    found = [route for route in table.routes if process is None or process in route.processes]
    if as_json:
        for route in found:
            output.print_json(route)
        return
    output.print_table(
        ("name", "path", "methods", "auth", "roles", "scope", "bucket", "platform", "body", "seconds", "processes"),
        ((*_facts(route), " ".join(route.processes)) for route in found),
        empty="No process has told yet which routes it has; each does when it starts: fluxa up",
    )
    for lost in table.lost:
        stderr().print(
            f"{lost.route} is bound to {_words(lost.roles)}, and no process has such a route. If it is gone for good: "
            f"fluxa routes unbind {lost.route}",
            markup=False,
        )


@app.command()
def bind(
    context: typer.Context,
    route: Name,
    role: Annotated[list[Role] | None, typer.Option(help="Who may call it; repeatable.")] = None,
    nobody: Annotated[bool, typer.Option("--nobody", help="Let nobody call it.")] = False,
    reason: Annotated[str, typer.Option(help="Why; it is shown beside the route.")] = "",
    as_json: output.AsJson = False,
) -> None:
    """Let these roles call a route, and no others; every process follows at once."""
    if bool(role) == nobody:
        raise FluxaError(ErrorCode.INVALID_REQUEST, "Name the roles, each with --role; or --nobody to close the route.")
    bound = _run(
        output.effective(context).settings,
        lambda bindings: bindings.bind(route, role or (), by=actor(), reason=reason),
    )
    if as_json:
        output.print_json(bound)
        return
    stderr().print(f"From now on {bound.route} can be called by: {_words(bound.roles)}.", markup=False)
    if bound.beyond_row:
        stderr().print(
            f"That is wider than the route was built for: its own row does not let in {_words(bound.beyond_row)}. "
            f"To take it back: fluxa routes unbind {bound.route}",
            markup=False,
        )


@app.command()
def unbind(context: typer.Context, route: Name) -> None:
    """Let the roles of a route's own row call it again."""
    _run(output.effective(context).settings, lambda bindings: bindings.unbind(route, by=actor()))
    stderr().print(f"The roles of its row call {route} again.", markup=False)


def _facts(route: RouteView) -> tuple[object, ...]:
    """The cells of a row; bound roles are marked, with those of the row behind them."""
    roles = " ".join(route.roles)
    if route.binding is not None:
        roles = f"* {_words(route.binding.roles)} (row: {roles})"
    return (
        route.name,
        route.path,
        " ".join(route.methods),
        route.auth,
        roles,
        route.scope or "",
        route.bucket,
        "yes" if route.platform else "",
        route.body_max_bytes,
        f"{route.timeout_s:g}",
    )


def _words(roles: list[Role]) -> str:
    return " ".join(roles) or "nobody"


def _run(settings: Settings, work: Callable[[Bindings], Awaitable[T]]) -> T:
    async def run() -> T:
        async with migrated(settings, "routes") as database:
            return await work(Bindings(database, Ledger(database), Tenant(settings.default_tenant)))

    return asyncio.run(run())
