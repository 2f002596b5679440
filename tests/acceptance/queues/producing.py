"""A producer with a ledger of its own: plain sends, sends in transactions that commit, and in some that roll back."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from acceptance.ledger import ClientLedger
from acceptance.queues.jobs import Job
from fluxa.kernel.errors import FluxaError
from fluxa.postgres.pool import Database
from fluxa.queue.producer import Producer

_ORDER = "insert into public.chaos_orders (job) select unnest($1::text[])"

_SLEEPS_ONE_IN, _STALLS_ONE_IN = 300, 450


class _ChangedMindError(Exception):
    """The caller's transaction fails after the jobs were sent in it."""


@dataclass
class Client:
    """Sends jobs until it is enough.

    Attributes:
        name: begins the names of its jobs.
        queue: where to.
        producer: how.
        database: for transactions of its own.
        ledger: its account.
        chance: decides what it does.
        slow: the most seconds that a handler awaits, and that it stalls.
        in_transactions: whether some sends are part of a transaction of its own.
        never: jobs whose transaction was rolled back: nobody may ever see them.
        ordered: jobs that were sent together with a row, whether or not the commit was heard of.
        unheard: sends whose end is not known.
    """

    name: str
    queue: str
    producer: Producer
    database: Database
    ledger: ClientLedger
    chance: random.Random
    slow: tuple[float, float]
    in_transactions: bool
    never: set[str] = field(default_factory=set)
    ordered: set[str] = field(default_factory=set)
    unheard: int = 0
    made: int = 0

    async def run(self, jobs: int, enough: Callable[[], bool]) -> None:
        """Send at least so many, and go on slowly until it is enough."""
        while self.made < jobs or not enough():
            late = self.made >= jobs
            batch = self._jobs(self.chance.choice((1, 1, 2, 5, 20) if late else (1, 1, 5, 20, 60)))
            kind = self.chance.random() if self.in_transactions else 1.0
            try:
                if kind < 0.15:
                    await self._roll_back(batch)
                elif kind < 0.5:
                    await self._in_transaction(batch)
                else:
                    await self._plain(batch)
            except FluxaError:
                self.unheard += 1
                await asyncio.sleep(self.chance.uniform(0.05, 0.3))
            await asyncio.sleep(self.chance.uniform(0.1, 0.4) if late else self.chance.uniform(0.0, 0.04))

    def _jobs(self, count: int) -> list[Job]:
        found = []
        for _ in range(count):
            self.made += 1
            sleep_s = 0.0 if self.made % _SLEEPS_ONE_IN else self.chance.uniform(0.5, 1.0) * self.slow[0]
            stall_s = 0.0 if self.made % _STALLS_ONE_IN else self.chance.uniform(0.6, 1.0) * self.slow[1]
            found.append(Job(f"{self.name}-{self.made}", sleep_s, stall_s))
        return found

    async def _plain(self, batch: list[Job]) -> None:
        names = [job.name for job in batch]
        self.ledger.sends(names)
        await self.producer.send(self.queue, batch, ids=names)
        self.ledger.acknowledged(names)

    async def _in_transaction(self, batch: list[Job]) -> None:
        names = [job.name for job in batch]
        self.ledger.sends(names)
        self.ordered.update(names)
        async with self.database.transaction() as tx:
            await tx.execute(_ORDER, names)
            await self.producer.send(self.queue, batch, ids=names, tx=tx)
        self.ledger.acknowledged(names)

    async def _roll_back(self, batch: list[Job]) -> None:
        names = [job.name for job in batch]
        self.never.update(names)
        try:
            async with self.database.transaction() as tx:
                await tx.execute(_ORDER, names)
                await self.producer.send(self.queue, batch, ids=names, tx=tx)
                raise _ChangedMindError  # noqa: TRY301 - that is how a transaction is rolled back
        except _ChangedMindError:
            return
