"""`fluxa alarm`: the alarms there are."""

from typing import Any

import typer

from fluxa.apps.operations.alarms import alarm_rules
from fluxa.cli import output
from fluxa.operations.alarms.rule import Rule
from fluxa.operations.alarms.rules import prometheus

app = typer.Typer(no_args_is_help=True, add_completion=False, help="See what needs somebody, and why.")


@app.callback()
def group() -> None:
    """See what needs somebody, and why."""


@app.command()
def rules(
    context: typer.Context,
    as_json: output.AsJson = False,
    as_prometheus: bool = typer.Option(False, "--prometheus", help="As a rules file for Prometheus."),
) -> None:
    """Show which alarms there are, when each fires, and what to do first."""
    settings = output.effective(context).settings
    found = alarm_rules(settings)
    if as_prometheus:
        # JSON is YAML, and a rules file is YAML.
        output.print_json(prometheus(found, runbook_url=settings.runbook_url))
        return
    if as_json:
        for rule in found:
            output.print_json(_facts(rule))
        return
    output.print_table(
        ("alarm", "severity", "fires when", "for", "runbook", "first action"),
        (
            (
                rule.name if rule.enabled else f"{rule.name} (off)",
                rule.severity,
                f"{rule.measure} {rule.comparison} {rule.threshold:g}",
                f"{rule.for_s:g} s",
                rule.runbook,
                rule.first_action,
            )
            for rule in found
        ),
        empty="There are no alarms.",
    )


def _facts(rule: Rule) -> dict[str, Any]:
    names = (
        *("name", "title", "measure", "per", "comparison", "threshold", "clear_at", "for_s", "clear_after_s"),
        *("window_s", "count_min", "unknown_after_s", "severity", "cause", "first_action", "runbook", "enabled"),
    )
    return {name: getattr(rule, name) for name in names}
