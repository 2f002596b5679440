"""The entry point: which commands exist, and how every error is shown. Groups are imported when they are used."""

import contextlib
import importlib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, NoReturn

import typer
from typer import Context
from typer.core import TyperCommand, TyperGroup
from typing_extensions import override

import fluxa
from fluxa.cli import errors
from fluxa.kernel.errors import FluxaError


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a command is: a module with a Typer `app`, and the command's name in it if it is one of several."""

    module: str
    help: str
    inner: str | None = None


COMMANDS: Mapping[str, _Place] = {
    "up": _Place("run", "Run everything on this machine: Postgres, ingest, processor, query, station.", "up"),
    "ingest": _Place("run", "Run the service that takes events in.", "ingest"),
    "processor": _Place("run", "Run the process that stores events.", "processor"),
    "query": _Place("run", "Run the service that answers questions about events.", "query"),
    "worker": _Place("run", "Run the process that works on queues with your handlers.", "worker"),
    "station": _Place("run", "Run the service that shows and steers the queues over HTTP.", "station"),
    "events": _Place("events", "Send, get, list and follow events."),
    "trace": _Place("trace", "Tell the story of a correlation id: every stage of every event."),
    "schema": _Place("schema", "Register JSON Schemas for event types."),
    "dlq": _Place("dlq.group", "Look at dead letters, send them again, delete them."),
    "redrive": _Place("redrives", "Watch redrives, pause, resume and cancel them."),
    "queue": _Place("queue.group", "Look at the queues, pause them, put work in."),
    "cron": _Place("operations.cron", "Send records at set times: schedules, their history and their next times."),
    "alarm": _Place("operations.alarm", "See what needs somebody, and why."),
    "dashboard": _Place("operations.dashboard.command", "See how everything does, and did."),
    "metrics": _Place("operations.metrics", "Routine checks of all processes; files for Prometheus and Grafana."),
    "synthetic": _Place("operations.synthetic", "Ask all processes and send an event, as a user would."),
    "flag": _Place("operations.flag", "Switch new or risky logic off, and on again, while everything runs."),
    "apikey": _Place("identity.apikey", "Make, list, rotate and revoke API keys."),
    "service-account": _Place("identity.service_account", "Programs by name, which own API keys."),
    "user": _Place("identity.user", "Make, list and change the people who log in."),
    "session": _Place("identity.session", "Show who is logged in, and end sessions."),
    "routes": _Place("identity.routes", "Show all routes, and say which roles may call one."),
    "tenants": _Place("operations.tenants", "See whether tenants are kept apart."),
    "webhook": _Place("identity.webhook", "Sign webhooks as a provider does, and say why one is refused."),
    "audit": _Place("operations.audit", "See who did what, prove that nothing was altered, export it."),
    "jwt": _Place("operations.jwt", "Keys that sign access tokens: list, rotate, retire."),
    "db": _Place("db", "Start, stop, migrate and locate the database."),
    "doctor": _Place("operations.doctor", "Find out what is wrong with this installation, and what to do."),
    "settings": _Place("settings", "Show the settings in force and where each came from."),
}
"""All commands, in the order in which help lists them."""


class _Lazy(TyperGroup):
    """A group that imports a command's module when the command is run, not when help lists it."""

    @override
    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    @override
    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        place = COMMANDS.get(cmd_name)
        return None if place is None else TyperCommand(cmd_name, help=place.help, rich_markup_mode="rich")

    @override
    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        return name, (_load(name) if name and command else command), rest

    @override
    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except FluxaError as error:
            errors.show_error(error)
            ctx.exit(errors.exit_code(error))
        except KeyboardInterrupt:
            ctx.exit(errors.INTERRUPTED)
        except BrokenPipeError:
            # The reader of our output has seen enough (`| head`): that is no error.
            sys.stderr.close()
            ctx.exit(0)


def _load(name: str) -> Any:  # noqa: ANN401 - the command class is typer's own
    place = COMMANDS[name]
    command: Any = typer.main.get_command(importlib.import_module(f"fluxa.cli.commands.{place.module}").app)
    if place.inner is not None:
        command = command.commands[place.inner]
    command.name = name
    return command


app = typer.Typer(
    cls=_Lazy,
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"fluxa {fluxa.__version__}")
        raise typer.Exit


@app.callback()
def root(
    context: Context,
    home: Annotated[str | None, typer.Option(help="Home folder; the same as --set home=…", metavar="FOLDER")] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="A setting for this command; repeatable.", metavar="NAME=VALUE")
    ] = None,
    _version_wanted: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Events in, each processed exactly once, found again.

    Exit codes: 0 done, 1 failed, 2 wrong usage or setting, 3 refused, 4 not found, 5 a service or the database
    cannot be reached, 130 interrupted.
    """
    given: dict[str, str] = {}
    for text in overrides or []:
        name, mark, value = text.partition("=")
        if not mark:
            raise typer.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="--set")
        given[name.strip()] = value
    if home is not None:
        given["home"] = home
    context.obj = given


def main() -> NoReturn:
    """Run the program of this name, and end the process with its exit code.

    The interpreter is not taken apart first: a native thread of the object store that comes back into it at that
    moment would abort the process, after all was done and said.
    """
    code: object = 0
    try:
        typer.main.get_command(app)(prog_name="fluxa")
    except SystemExit as ended:
        code = ended.code
    with contextlib.suppress(BrokenPipeError, ValueError):  # the reader has gone; or it was closed for that reason
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))
