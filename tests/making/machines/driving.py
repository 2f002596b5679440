"""Takes random steps with a machine, on one loop and on a database of its own. Not: the machines."""

import asyncio
import contextlib
import uuid
from collections.abc import Callable, Iterator
from typing import cast

import asyncpg
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from fluxa.postgres.pool import Database, PoolConfig


@contextlib.contextmanager
def own_database(postgres_server: str) -> Iterator[tuple[asyncio.Runner, Database]]:
    """A loop, and on it a fresh database, started; both end with the block. Its name is the database's."""
    name = f"machine_{uuid.uuid4().hex[:12]}"
    with asyncio.Runner() as runner:
        admin = runner.run(asyncpg.connect(postgres_server.format("postgres")))
        runner.run(admin.execute(f"create database {name} template fluxa_template"))
        database = Database(PoolConfig(url=postgres_server.format(name)))
        runner.run(database.start())
        try:
            yield runner, database
        finally:
            runner.run(database.stop())
            runner.run(admin.execute(f"drop database {name} with (force)"))
            runner.run(admin.close())


def drive(machine: Callable[[], RuleBasedStateMachine], *, examples: int, steps: int) -> None:
    """Take random steps with so many fresh machines; a failure is told with the fewest steps that lead there."""
    run_state_machine_as_test(
        # Hypothesis calls what it is given, and says it wants a class.
        cast("type[RuleBasedStateMachine]", machine),
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
