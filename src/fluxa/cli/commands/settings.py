"""`fluxa settings`: what is in force, and the reference page. Not: where settings are read."""

import sys
from typing import Annotated

import typer

from fluxa.apps.settings import text as settings_text
from fluxa.cli import output
from fluxa.cli.errors import stderr

app = typer.Typer(add_completion=False)


@app.command()
def settings(
    context: typer.Context,
    as_json: output.AsJson = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the reference page instead.")] = False,
) -> None:
    """Show the settings in force and where each came from; secrets are masked."""
    if markdown:
        sys.stdout.write(settings_text.markdown())
        return
    found = output.unasked(context)
    rows = settings_text.rows(found)
    if as_json:
        output.print_json({"file": str(found.file) if found.file else None, "settings": rows})
        return
    output.print_table(
        ("setting", "value", "source"),
        ((row["name"], row["value"], row["source"]) for row in rows),
        empty="There are no settings.",
    )
    console = stderr()
    console.print(f"Settings file: {found.file or 'none'}. What each means: fluxa settings --markdown", markup=False)
