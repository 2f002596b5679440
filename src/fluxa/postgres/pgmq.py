"""Brings PGMQ into a database: the extension where the server has it, else the SQL of the `pgmq` package."""

import importlib.resources

from fluxa.postgres.transaction import Transaction

_PRESENT = "select to_regprocedure('pgmq.create(text)') is not null"
_AVAILABLE = "select exists (select from pg_available_extensions where name = 'pgmq')"


async def install(handle: Transaction) -> None:
    """Make sure that `pgmq.create` and its family exist; does nothing where they do."""
    if await handle.fetch_value(_PRESENT):
        return
    if await handle.fetch_value(_AVAILABLE):
        await handle.execute("create extension pgmq")
        return
    text = importlib.resources.files("pgmq").joinpath("sql", "pgmq.sql").read_text("utf-8")
    await handle.execute(text)
