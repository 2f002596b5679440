"""`fluxa doctor`: what is wrong with this installation, and what to do. Not: how it is found out."""

import asyncio
from typing import Annotated

import typer

from fluxa.apps.operations.doctor import State, rounds, worst
from fluxa.cli import output
from fluxa.cli.errors import FAILED
from fluxa.kernel.clock import SystemClock

app = typer.Typer(add_completion=False)


@app.command()
def doctor(
    context: typer.Context,
    timeout_s: Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds that each check may take.")] = 10.0,
    as_json: output.AsJson = False,
) -> None:
    """Look at secrets, database, queues, stores, endpoints, clocks and disk; exit code 1 if anything fails.

    Secrets are checked for presence and form; their values are never shown.
    """
    findings = asyncio.run(rounds(output.unasked(context), SystemClock(), timeout_s=timeout_s))
    state = worst(findings)
    if as_json:
        output.print_json({"state": state, "checks": findings})
    else:
        output.print_table(
            ("", "check", "found", "what to do"),
            ((finding.state, finding.check, finding.said, finding.action) for finding in findings),
            empty="There was nothing to look at.",
        )
    if state in {State.FAIL, State.UNKNOWN}:
        raise typer.Exit(FAILED)
