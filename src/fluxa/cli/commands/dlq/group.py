"""`fluxa dlq`: which commands it has."""

import typer

from fluxa.cli.commands.dlq import carrying, letters, quarantine, redrive

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Look at dead letters, send them again, delete them."
)
app.command("list")(letters.list_letters)
app.command("show")(letters.show)
app.command("redrive")(redrive.redrive)
app.command("purge")(letters.purge)
app.command("export")(carrying.export)
app.command("import")(carrying.read_in)
app.add_typer(quarantine.app, name="quarantine")
