"""`fluxa up` and the commands of single processes, such as `fluxa worker`. Not: what they do (fluxa.apps)."""

import asyncio
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any

import msgspec
import typer
from rich.markup import escape

from fluxa.apps.ingest import ingest as run_ingest
from fluxa.apps.processor import process
from fluxa.apps.query import query as run_query
from fluxa.apps.serving.observe import observe
from fluxa.apps.serving.process import Tie, run
from fluxa.apps.settings import Settings
from fluxa.apps.stack import home
from fluxa.apps.stack.home import RunState
from fluxa.apps.stack.up import Stack
from fluxa.apps.station import station as run_station
from fluxa.apps.worker import work
from fluxa.cli import output
from fluxa.cli.errors import stderr
from fluxa.kernel.clock import Clock, SystemClock

app = typer.Typer()

ListenFd = Annotated[int | None, typer.Option("--listen-fd", hidden=True)]
ReadyFd = Annotated[int | None, typer.Option("--ready-fd", hidden=True)]
LifelineFd = Annotated[int | None, typer.Option("--lifeline-fd", hidden=True)]
Restarts = Annotated[int, typer.Option("--restarts", hidden=True)]
Host = Annotated[str | None, typer.Option(help="Address to listen on.")]
Port = Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.")]


def _add(name: str, work: Callable[[Settings, asyncio.Event, Tie], Awaitable[None]], text: str) -> None:
    """A command that runs one service; its host and port are settings named after it."""

    def command(
        context: typer.Context,
        host: Host = None,
        port: Port = None,
        listen_fd: ListenFd = None,
        ready_fd: ReadyFd = None,
        lifeline_fd: LifelineFd = None,
        restarts: Restarts = 0,
    ) -> None:
        settings = output.effective(context, **{f"{name}_host": host, f"{name}_port": port}).settings
        run(lambda stopping, tie: work(settings, stopping, tie), Tie(listen_fd, ready_fd, lifeline_fd, restarts))

    app.command(name, help=text)(command)


_add("ingest", run_ingest, "Run the service that takes events in, until SIGTERM or Ctrl-C.")
_add(
    "processor",
    process,
    "Run a process that stores events, until SIGTERM or Ctrl-C; any number may run side by side.",
)
_add("query", run_query, "Run the service that answers questions about events, until SIGTERM or Ctrl-C.")
_add("station", run_station, "Run the service that shows and steers the queues over HTTP, until SIGTERM or Ctrl-C.")


@app.command()
def worker(
    context: typer.Context,
    application: Annotated[
        str | None, typer.Option("--app", help="Your application, as module:attribute.", metavar="PLACE")
    ] = None,
    queues: Annotated[
        str | None, typer.Option(help="Queues to serve, with commas between; all with a handler if not given.")
    ] = None,
    concurrency: Annotated[
        int | None, typer.Option(min=0, help="Calls at once, all queues together; 0 for each queue's own number.")
    ] = None,
    host: Host = None,
    port: Port = None,
    listen_fd: ListenFd = None,
    ready_fd: ReadyFd = None,
    lifeline_fd: LifelineFd = None,
    restarts: Restarts = 0,
) -> None:
    """Run a process that works on queues with your handlers, until SIGTERM or Ctrl-C; any number may run."""
    settings = output.effective(
        context,
        app=application,
        worker_queues=queues,
        worker_concurrency=concurrency,
        worker_host=host,
        worker_port=port,
    ).settings
    run(lambda stopping, tie: work(settings, stopping, tie), Tie(listen_fd, ready_fd, lifeline_fd, restarts))


@app.command()
def up(
    context: typer.Context,
    port: Annotated[
        int | None,
        typer.Option(
            help="Port of ingest; query and processors take the next ones, station and worker those 20 and 40 above. "
            "0: free ones."
        ),
    ] = None,
    processors: Annotated[int, typer.Option(min=1, max=64, help="How many processors.")] = 1,
    application: Annotated[
        str | None,
        typer.Option("--app", help="Your application, as module:attribute: its worker runs too.", metavar="PLACE"),
    ] = None,
    raw: Annotated[bool, typer.Option("--raw", help="Print log lines as JSON, as they come.")] = False,
) -> None:
    """Run everything on this machine until Ctrl-C: Postgres, ingest, processor, query, station, your worker."""
    settings = output.effective(context, app=application, **_ports(port)).settings
    lines = _Lines(raw=raw or not sys.stderr.isatty(), clock=SystemClock())
    told = observe("up", settings.log_level, on_line=lambda line: lines.show("up", line))
    stack = Stack(
        settings,
        processors=processors,
        told=told,
        clock=SystemClock(),
        on_line=lines.show,
        on_ready=lambda state: _banner(settings, state),
    )
    asyncio.run(stack.run())


_PLACES: Mapping[str, int] = {
    "ingest_port": 0,
    "query_port": 1,
    "processor_port": 2,
    "station_port": 20,
    "worker_port": 40,
}
"""Where services listen, from the first port on; as the settings' own defaults do."""


def _ports(port: int | None) -> dict[str, int]:
    if port is None:
        return {}
    return {name: port + place if port else 0 for name, place in _PLACES.items()}


def _banner(settings: Settings, state: RunState) -> None:
    folder = settings.home_folder
    here = "" if folder == Settings().home_folder else f"--home {folder} "
    console = stderr()
    worker = f"  worker     {state.worker_url}\n" if state.worker_url else ""
    console.print(
        f"\n[bold green]Fluxa is up.[/]\n"
        f"  ingest     {state.ingest_url}\n"
        f"  query      {state.query_url}\n"
        f"  processors {' '.join(state.processor_urls)}\n"
        f"  station    {state.station_url}\n"
        f"{worker}"
        f"  API key    {escape(str(folder / home.CREDENTIALS))} (the commands below find it there)\n\n"
        f"In another terminal:\n"
        f"  fluxa {escape(here)}events send --type hello --source me --data '{{\"n\": 1}}'\n"
        f"  fluxa {escape(here)}events list\n"
        f"  fluxa {escape(here)}events tail\n"
        f"Stop with Ctrl-C.\n"
    )


class _Lines:
    """Shows the processes' log lines: as they are, or in a form for people."""

    _STYLES = {"warning": "yellow", "error": "bold red", "critical": "bold red", "debug": "dim"}  # noqa: RUF012 - fixed
    _SUCCESSES_PER_S = 2
    """Of each process: on a screen, more would bury the lines that matter."""
    _HIDDEN = frozenset({"timestamp", "level", "event", "service", "exception"})

    def __init__(self, *, raw: bool, clock: Clock) -> None:
        self._raw = raw
        self._clock = clock
        self._console = stderr()
        self._second = 0
        self._shown: Counter[str] = Counter()

    def show(self, name: str, line: str) -> None:
        """Show one line of a process."""
        if not line:
            return
        if self._raw:
            sys.stderr.write(line + "\n")
            sys.stderr.flush()
            return
        try:
            fields: dict[str, Any] = msgspec.json.decode(line, type=dict[str, Any])
        except msgspec.DecodeError:
            self._console.print(f"[dim]         {name:<11}[/] {escape(line)}")
            return
        if fields.get("status") == "success" and not self._may_show(name):
            return
        level = str(fields.get("level", "info"))
        rest = " ".join(f"{key}={value}" for key, value in fields.items() if key not in self._HIDDEN)
        style = self._STYLES.get(level, "default")
        self._console.print(
            f"[dim]{str(fields.get('timestamp', ''))[11:19]} {name:<11}[/] "
            f"[{style}]{escape(str(fields.get('event', '')))}[/] [dim]{escape(rest)}[/]"
        )
        if "exception" in fields:
            self._console.print(escape(str(fields["exception"])), style="red")

    def _may_show(self, name: str) -> bool:
        second = int(self._clock.monotonic())
        if second != self._second:
            self._second = second
            self._shown.clear()
        self._shown[name] += 1
        return self._shown[name] <= self._SUCCESSES_PER_S
