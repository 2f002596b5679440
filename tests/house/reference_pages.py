"""Writes what repeats the code: pages under docs/reference, and under deploy files for Prometheus and Grafana."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import typer
import yaml

from fluxa.apps.operations.metrics import local_targets
from fluxa.apps.settings import Settings
from fluxa.apps.settings import text as settings_text
from fluxa.cli import main as cli
from fluxa.kernel.errors import ERRORS
from fluxa.operations.monitoring.dashboard import dashboard
from fluxa.operations.monitoring.rules import RULES_FILE, alertmanager_config, prometheus_config, rule_file
from fluxa.operations.secrets import KEPT, KINDS, REGISTER
from fluxa.telemetry import catalogue
from fluxa.telemetry.catalogue.spans import SPANS
from house.tree import ROOT

REFERENCE = ROOT / "docs" / "reference"
_WRITTEN = "Written by `make docs` from the code. Do not edit.\n"


def errors() -> str:
    """The table of error codes."""
    lines = [
        "# Errors\n",
        _WRITTEN,
        "A code is stable; programs may rely on it. Its class says what Fluxa does with work that failed so:",
        "*transient* work is retried with backoff, *permanent* work is parked in the dead letters, *security* work is",
        "parked too and is never sent again unless it is forced by name.\n",
        "| code | class | status | meaning | what to do |",
        "|---|---|---|---|---|",
    ]
    lines += [f"| `{code}` | {row.retry} | {row.status} | {row.title} | {row.action} |" for code, row in ERRORS.items()]
    return "\n".join(lines) + "\n"


def metrics() -> str:
    """The metrics, signals and log fields of the catalogue."""
    lines = [
        "# Metrics and logs\n",
        _WRITTEN,
        "## Metrics\n",
        "| name | kind | labels | meaning |",
        "|---|---|---|---|",
    ]
    for metric in (*catalogue.METRICS, *catalogue.PROCESS):
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        lines.append(f"| `{metric.name}` | {metric.kind} | {labels} | {metric.help} |")
    lines += [
        "\n## Fields of a log line\n",
        "Each line is one JSON object on standard error. These fields are stable:\n",
    ]
    lines += [", ".join(f"`{field}`" for field in catalogue.LOG_FIELDS) + "."]
    lines += ["\nThe stages of an event are " + ", ".join(f"`{stage}`" for stage in catalogue.Stage) + "."]
    lines += [
        "\n## Spans\n",
        "What a trace is made of, where tracing is on; named after what is done and to what: `send events`.\n",
        "| span | kind | told when |",
        "|---|---|---|",
        *(f"| `{name}` | {kind} | {text} |" for name, (kind, text) in SPANS.items()),
    ]
    return "\n".join(lines) + "\n"


def commands() -> Iterator[tuple[str, Any, Any]]:
    """Every command that does something: its full name, its context and itself."""
    root: Any = typer.main.get_command(cli.app)
    context = root.context_class(root, info_name="fluxa")
    yield from _below("fluxa", context, root)


def _below(name: str, context: Any, command: Any) -> Iterator[tuple[str, Any, Any]]:  # noqa: ANN401 - typer's types
    if not hasattr(command, "list_commands"):
        yield name, context, command
        return
    for word in command.list_commands(context):
        _, found, _ = command.resolve_command(context, [word])
        full = f"{name} {word}"
        yield from _below(full, found.context_class(found, info_name=word, parent=context), found)


def command_line() -> str:
    """The commands with their arguments and options."""
    lines = ["# Commands\n", _WRITTEN, "`--home FOLDER` and `--set NAME=VALUE` stand before the command.\n"]
    for name, context, command in commands():
        lines += [f"## {name}\n", _paragraph(command.help), ""]
        rows = [_row(parameter, context) for parameter in command.params if not getattr(parameter, "hidden", False)]
        if rows:
            lines += ["| argument or option | meaning |", "|---|---|", *rows, ""]
    return "\n".join(lines).rstrip() + "\n"


def _paragraph(text: str | None) -> str:
    return " ".join((text or "").split())


def _row(parameter: Any, context: Any) -> str:  # noqa: ANN401 - typer's type
    names = ", ".join([*parameter.opts, *parameter.secondary_opts])
    if parameter.param_type_name == "argument":
        names = " ".join(parameter.get_usage_pieces(context))
    return f"| `{names.replace('|', ' or ')}` | {_paragraph(getattr(parameter, 'help', ''))} |"


def secrets() -> str:
    """Every kind of secret: what it is for, and how it is replaced."""
    lines = [
        "# Secrets\n",
        _WRITTEN,
        "How they come into a process, and the doctor: [secrets and the doctor](../operating/secrets.md).\n",
        "## Settings that are secret\n",
        "| setting | what it is for | where it comes from | without it |",
        "|---|---|---|---|",
        *(f"| `{row.setting}` | {row.why} | {row.origin} | {row.without} |" for row in REGISTER),
        "\n## How each kind is replaced while everything runs\n",
        "*Write* means: into its file, or into the secret manager.\n",
        "| kind | steps | the former one |",
        "|---|---|---|",
        *(f"| {_kind(kind.name)} | {kind.steps} | {kind.former} |" for kind in KINDS),
    ]
    return "\n".join(lines) + "\n"


def _kind(name: str) -> str:
    return name if name in KEPT else f"`{name}`"


PAGES: Mapping[str, Callable[[], str]] = {
    "errors.md": errors,
    "metrics.md": metrics,
    "settings.md": settings_text.markdown,
    "commands.md": command_line,
    "secrets.md": secrets,
}
"""The generated pages and how each is made."""


DEPLOY: Mapping[str, Callable[[], str]] = {
    f"prometheus/{RULES_FILE}": lambda: _yaml(rule_file()),
    "prometheus/prometheus.yml": lambda: _yaml(prometheus_config(local_targets(Settings()))),
    "alertmanager/alertmanager.yml": lambda: _yaml(alertmanager_config("http://127.0.0.1:5001/alerts")),
    "grafana/fluxa.json": lambda: json.dumps(dashboard(), indent=1) + "\n",
}
"""The generated files for those who watch, below `deploy`, and how each is made."""


def _yaml(content: Mapping[str, Any]) -> str:
    head = "# Written by `make docs` from the code. Do not edit; `fluxa metrics files` writes it for your settings.\n"
    text: str = yaml.safe_dump(dict(content), sort_keys=False, width=120, allow_unicode=True)
    return head + text


def main() -> int:
    """Write every page."""
    for file, write in PAGES.items():
        (REFERENCE / file).write_text(write(), "utf-8")
    for file, write in DEPLOY.items():
        (ROOT / "deploy" / file).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / "deploy" / file).write_text(write(), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
