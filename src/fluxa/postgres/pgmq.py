"""Brings PGMQ into a database: the extension where the server has it, else the SQL of the `pgmq` package."""

import importlib.resources

from fluxa.postgres import sql
from fluxa.postgres.transaction import Transaction

_SQL = sql.load("fluxa.postgres", "server.sql")


async def install(handle: Transaction) -> None:
    """Make sure that `pgmq.create` and its family exist; does nothing where they do."""
    if await handle.fetch_value(_SQL["find_pgmq"]):
        return
    if await handle.fetch_value(_SQL["offers_pgmq"]):
        await handle.execute(_SQL["create_pgmq"])
        return
    text = importlib.resources.files("pgmq").joinpath("sql", "pgmq.sql").read_text("utf-8")
    await handle.execute(text)
