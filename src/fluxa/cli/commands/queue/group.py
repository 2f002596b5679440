"""Puts the commands of `fluxa queue` together."""

import typer

from fluxa.cli.commands.queue import listing, messages, process, steering, top

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Look at the queues, pause them, put work in.")
app.command("list")(listing.list_queues)
app.command("show")(listing.show)
app.command("pause")(steering.pause)
app.command("resume")(steering.resume)
app.command("peek")(messages.peek)
app.command("send")(messages.send)
app.command("top")(top.top)
app.command("process")(process.process)
