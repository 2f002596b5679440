"""`fluxa synthetic`: ask all processes and send an event as a user would; and what stations found by themselves."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, TypeVar

import typer

from fluxa.apps.database import migrated
from fluxa.apps.operations.synthetic import check_now
from fluxa.apps.settings import Settings
from fluxa.cli import output
from fluxa.cli.errors import FAILED, stderr
from fluxa.operations.synthetic.check import Outcome, Result, named
from fluxa.operations.synthetic.store import SyntheticStore
from fluxa.station.synthetic.schemas import CheckView, PastView

T = TypeVar("T")

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Ask all processes and send an event, as users do.")

_MANY = "api_health, api_ready, health, metrics, canary. Without: all."


@app.command()
def run(
    context: typer.Context,
    checks: Annotated[list[str] | None, typer.Argument(metavar="CHECK", help=_MANY)] = None,
    timeout_s: Annotated[
        float | None, typer.Option("--timeout", min=0.1, max=60.0, help="Seconds that one answer may take.")
    ] = None,
    deadline_s: Annotated[
        float | None,
        typer.Option("--deadline", min=0.5, max=600.0, help="Seconds until the event must be stored and found."),
    ] = None,
    as_json: output.AsJson = False,
) -> None:
    """Do the checks once, from this machine; exit code 1 if one failed or is not known."""
    settings = output.effective(context, synthetic_timeout_s=timeout_s, synthetic_deadline_s=deadline_s).settings
    outcomes = asyncio.run(check_now(settings, checks or ()))
    if as_json:
        output.print_json({"result": _worst(outcomes), "checks": outcomes})
    else:
        output.print_table(
            ("", "check", "target", "took", "legs", "found"),
            (
                (one.result, one.check, one.target, _milliseconds(one.duration_s), _legs(one.legs), one.detail)
                for one in sorted(outcomes, key=lambda one: one.target)
            ),
            empty="There was nothing to ask.",
        )
    if _worst(outcomes) is not Result.OK:
        raise typer.Exit(FAILED)


@app.command("list")
def list_checks(context: typer.Context, as_json: output.AsJson = False) -> None:
    """Show how the checks stand that stations do by themselves."""
    settings = output.effective(context).settings
    found = [CheckView.of(one) for one in _with_store(settings, lambda store: store.all())]
    output.print_list(
        found,
        ("", "check", "target", "since", "done", "took", "legs", "found"),
        lambda one: (
            one.state,
            one.check,
            one.target,
            output.moment(one.since),
            f"{one.age_s:.0f} s ago",
            _milliseconds(one.duration_s),
            _legs(one.legs),
            one.detail,
        ),
        empty="No station has done any.",
        as_json=as_json,
    )
    if not settings.synthetic_every_s:
        stderr().print("They are off here: synthetic_every_s is 0.")


@app.command()
def history(
    context: typer.Context,
    check: Annotated[str | None, typer.Argument(metavar="CHECK", help="Only this one.")] = None,
    target: Annotated[str | None, typer.Option(help="Only at this target.")] = None,
    bad: Annotated[bool, typer.Option("--bad", help="Only what was not well.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="So many at most.")] = 50,
    as_json: output.AsJson = False,
) -> None:
    """Show what the checks found before, latest first."""
    only = None if check is None else named([check])[0]
    past = _with_store(
        output.effective(context).settings, lambda store: store.history(only, target, bad=bad, limit=limit)
    )
    output.print_list(
        [PastView.of(one) for one in past],
        ("at", "", "check", "target", "took", "legs", "found"),
        lambda one: (
            output.moment(one.at),
            one.result,
            one.check,
            one.target,
            _milliseconds(one.duration_s),
            _legs(one.legs),
            one.detail,
        ),
        empty="Nothing of it is remembered.",
        as_json=as_json,
    )


def _worst(outcomes: Sequence[Outcome]) -> Result:
    """Nothing that was asked is nothing that is known."""
    order = (Result.FAILED, Result.UNKNOWN)
    fallback = Result.OK if outcomes else Result.UNKNOWN
    return next((one for one in order if any(of.result is one for of in outcomes)), fallback)


def _milliseconds(duration_s: float | None) -> str:
    return "" if duration_s is None else f"{1000 * duration_s:.0f} ms"


def _legs(legs: Mapping[str, float]) -> str:
    return ", ".join(f"{leg} {_milliseconds(seconds)}" for leg, seconds in legs.items())


def _with_store(settings: Settings, work: Callable[[SyntheticStore], Awaitable[T]]) -> T:
    async def read() -> T:
        async with migrated(settings, "synthetic") as database:
            return await work(SyntheticStore(database))

    return asyncio.run(read())
