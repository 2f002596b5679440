"""`fluxa metrics`: the routine checks of all processes, and files for Prometheus, Alertmanager and Grafana."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from fluxa.apps.operations.alarms import alarm_rules
from fluxa.apps.operations.metrics import check_bounds, look, pages_of, running_targets
from fluxa.cli import output
from fluxa.cli.errors import FAILED, CommandError, stderr
from fluxa.kernel import json
from fluxa.kernel.clock import SystemClock
from fluxa.kernel.errors import ErrorCode
from fluxa.operations.alarms.rule import Comparison
from fluxa.operations.monitoring.check import Verdict, judged, worst
from fluxa.operations.monitoring.checks import CHECKS
from fluxa.operations.monitoring.dashboard import dashboard
from fluxa.operations.monitoring.rules import RULES_FILE, alertmanager_config, prometheus_config, rule_file

app = typer.Typer(no_args_is_help=True, add_completion=False, help="See how all processes do, as Prometheus sees it.")


@app.command()
def check(
    context: typer.Context,
    targets: Annotated[
        list[str] | None,
        typer.Argument(metavar="TARGET", help="URL of a metrics page, or host:port. Without: all processes here."),
    ] = None,
    over_s: Annotated[
        float,
        typer.Option("--over", min=0.0, max=3600.0, help="Count what happens in so many seconds; 0: since each began."),
    ] = 0.0,
    timeout_s: Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds that one answer may take.")] = 5.0,
    warn: Annotated[
        list[str] | None, typer.Option("--warn", metavar="CHECK=VALUE", help="Warn beyond this; repeatable.")
    ] = None,
    fail: Annotated[
        list[str] | None, typer.Option("--fail", metavar="CHECK=VALUE", help="Fail beyond this; repeatable.")
    ] = None,
    as_json: output.AsJson = False,
) -> None:
    """Look at errors, refusals, latency, slow SQL, caches, dead letters, traces; exit code 1 for failed or unknown."""
    settings = output.effective(context).settings
    bounds = check_bounds(settings, _given("--warn", warn), _given("--fail", fail))
    seen = asyncio.run(look(pages_of(settings, targets or ()), SystemClock(), over_s=over_s, timeout_s=timeout_s))
    outcomes = judged(CHECKS, seen, bounds)
    verdict = worst(outcomes)
    if as_json:
        output.print_json({"verdict": verdict, "over_s": over_s, "checks": outcomes})
    else:
        output.print_table(
            ("", "check", "value", "warns", "fails", "where", "found", "what to do"),
            (
                (
                    one.verdict,
                    one.check,
                    "" if one.value is None else f"{one.value:.4g} {one.unit}",
                    _bound(one.warning, one.comparison),
                    _bound(one.failed, one.comparison),
                    one.subject,
                    one.said,
                    one.action,
                )
                for one in outcomes
            ),
            empty="There was nothing to look at.",
        )
    if verdict in {Verdict.FAILED, Verdict.UNKNOWN}:
        raise typer.Exit(FAILED)


@app.command()
def files(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where they go; it is made if it is not there.")],
    alertmanager: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where Prometheus finds the Alertmanager.")
    ] = "127.0.0.1:9093",
    receiver: Annotated[
        str, typer.Option(metavar="URL", help="Takes Alertmanager's webhooks.")
    ] = "http://127.0.0.1:5001/alerts",
    every_s: Annotated[float, typer.Option("--every", min=0.1, max=3600.0, help="Seconds between two scrapes.")] = 15.0,
    wait_s: Annotated[
        float, typer.Option("--wait", min=0.1, max=3600.0, help="Seconds for which alerts of a kind are gathered.")
    ] = 30.0,
    hold_s: Annotated[
        float | None,
        typer.Option("--hold", min=0.0, help="For rehearsals: seconds before an alert fires, instead of its own."),
    ] = None,
) -> None:
    """Write files for Prometheus, Alertmanager and Grafana: these processes, the alarms as the settings have them."""
    settings = output.effective(context).settings
    found: Mapping[str, object] = {
        "prometheus.yml": prometheus_config(running_targets(settings), alertmanager=alertmanager, every_s=every_s),
        RULES_FILE: rule_file(alarm_rules(settings), runbook_url=settings.runbook_url, hold_s=hold_s),
        "alertmanager.yml": alertmanager_config(receiver, wait_s=wait_s),
        "grafana.json": dashboard(),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in found.items():
            # JSON is YAML as well.
            (folder / name).write_bytes(msgspec.json.format(json.encode(content), indent=2) + b"\n")
    except OSError as error:
        raise CommandError(
            ErrorCode.CONFIGURATION, f"{folder} cannot be written: {error.strerror}.", action="Name another folder."
        ) from None
    stderr().print(f"{len(found)} files are in {folder}: {', '.join(found)}.", markup=False)


def _given(option: str, texts: Sequence[str] | None) -> dict[str, float]:
    found = {}
    for text in texts or ():
        name, mark, value = text.partition("=")
        try:
            found[name.strip()] = float(value)
        except ValueError:
            mark = ""
        if not mark:
            raise typer.BadParameter(f"{text!r} is not CHECK=VALUE", param_hint=option)
    return found


def _bound(value: float | None, comparison: Comparison) -> str:
    return "never" if value is None else f"{comparison} {value:g}"
