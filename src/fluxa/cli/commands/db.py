"""`fluxa db`: start, stop, look at and migrate the database. Not: how it is done (fluxa.postgres)."""

import asyncio
from typing import Annotated

import typer

from fluxa.apps.database import pool_config
from fluxa.apps.settings import Settings
from fluxa.apps.settings.text import masked
from fluxa.cli import output
from fluxa.cli.errors import CommandError, stderr
from fluxa.kernel.errors import ErrorCode
from fluxa.postgres import migrate as migrations
from fluxa.postgres.embedded import EmbeddedPostgres, ServerStatus
from fluxa.postgres.pool import Database

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Start, stop, migrate and locate the database.")


def _embedded(settings: Settings) -> EmbeddedPostgres:
    if settings.database_url is not None:
        raise CommandError(
            ErrorCode.REFUSED,
            f"database_url is set ({masked('database_url', settings.database_url)}): that server is not Fluxa's.",
            action="Start and stop it with its own tools, or unset FLUXA_DATABASE_URL to use the embedded one.",
        )
    return EmbeddedPostgres(settings.home_folder)


@app.command()
def start(context: typer.Context) -> None:
    """Start the embedded Postgres; it stays until fluxa db stop."""
    server = _embedded(output.effective(context).settings)
    print(asyncio.run(_start(server)))
    stderr().print("The embedded Postgres runs and stays until: fluxa db stop")


async def _start(server: EmbeddedPostgres) -> str:
    await server.start(stay=True)
    url = server.url
    await server.stop()
    return url


@app.command()
def stop(context: typer.Context) -> None:
    """Stop the embedded Postgres, even if services use it."""
    server = _embedded(output.effective(context).settings)
    ran = asyncio.run(server.force_stop())
    stderr().print("The embedded Postgres is stopped." if ran else "The embedded Postgres was not running.")


@app.command()
def url(context: typer.Context) -> None:
    """Print the database's URL, with its password if it has one, for psql and others."""
    settings = output.effective(context).settings
    if settings.database_url is not None:
        print(settings.database_url)
        return
    status = _embedded(settings).status()
    if status.url is None:
        raise CommandError(
            ErrorCode.NOT_FOUND, "The embedded Postgres does not run.", action="Start it: fluxa up, or fluxa db start"
        )
    print(status.url)


@app.command()
def status(context: typer.Context, as_json: output.AsJson = False) -> None:
    """Show where the database is, whether it answers, and which migrations it has."""
    settings = output.effective(context).settings
    server = None if settings.database_url is not None else _embedded(settings).status()
    address = settings.database_url or (server.url if server else None)
    schema = asyncio.run(_schema(settings, address)) if address else None
    facts = {**_server_facts(settings, server), **_schema_facts(schema)}
    if as_json:
        output.print_json(facts)
    else:
        output.print_table(("", ""), facts.items(), empty="")
    if schema is not None:
        migrations.refuse_unknown(schema)


def _server_facts(settings: Settings, server: ServerStatus | None) -> dict[str, object]:
    if server is None:
        return {"kind": "external", "url": masked("database_url", settings.database_url), "running": True}
    return {
        "kind": "embedded",
        "url": server.url,
        "running": server.running,
        "pid": server.pid,
        "postgres": server.version,
        "programs": str(server.programs or ""),
        "data": str(server.data),
        "size_bytes": server.size_bytes,
        "log": str(server.log),
        "stays": server.stays,
    }


def _schema_facts(schema: migrations.Status | None) -> dict[str, object]:
    if schema is None:
        return {"applied": "unknown", "pending": "unknown"}
    return {"applied": len(schema.applied), "pending": ", ".join(step.name for step in schema.pending) or 0}


async def _schema(settings: Settings, address: str) -> migrations.Status:
    database = Database(pool_config(settings, address, "db"))
    await database.start()
    try:
        return await migrations.status(database)
    finally:
        await database.stop()


@app.command()
def migrate(
    context: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be applied.")] = False,
) -> None:
    """Bring the database's schema to this version; safe to repeat, and from several places at once."""
    settings = output.effective(context).settings
    applied = asyncio.run(_migrate(settings, dry_run=dry_run))
    console = stderr()
    for step in applied:
        console.print(f"{'would apply' if dry_run else 'applied'} {step.number:04} {step.name}", markup=False)
    if not applied:
        console.print("The schema is up to date.")


async def _migrate(settings: Settings, *, dry_run: bool) -> tuple[migrations.Migration, ...]:
    server = None if settings.database_url is not None else _embedded(settings)
    if server is not None:
        await server.start()
    database = Database(pool_config(settings, settings.database_url or (server.url if server else ""), "migrate"))
    try:
        await database.start()
        if not dry_run:
            return await migrations.migrate(database)
        state = await migrations.status(database)
        migrations.refuse_unknown(state)
        return state.pending
    finally:
        await database.stop()
        if server is not None:
            await server.stop()
