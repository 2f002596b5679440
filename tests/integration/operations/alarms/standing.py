"""Alarms on a real database, with short times: what they look at, and what was told. Not: the tests."""

import contextlib
import dataclasses
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

from fluxa.auth.audit import Act
from fluxa.kernel.clock import SystemClock
from fluxa.kernel.ids import Tenant
from fluxa.operations.alarms.evaluator import Evaluator, EvaluatorConfig
from fluxa.operations.alarms.load import DatabaseLoad
from fluxa.operations.alarms.measuring import Measures
from fluxa.operations.alarms.notices import QUEUE, Delivery, Target
from fluxa.operations.alarms.rule import Rule, Severity
from fluxa.operations.alarms.rules import RULES
from fluxa.operations.alarms.samples import Sampler, Samples
from fluxa.operations.alarms.store import Alarm, AlarmStore
from fluxa.operations.cron.schedules import Schedules
from fluxa.operations.ledger.sinks.cursors import Cursors
from fluxa.postgres.pool import Database
from fluxa.postgres.transaction import Transaction
from fluxa.queue.backend import Settlement
from fluxa.queue.backends.pgmq import PgmqBackend, PgmqInsight
from fluxa.queue.health.snapshot import HealthReader
from fluxa.queue.outcome import DONE, Dead
from fluxa.queue.producer import Producer
from fluxa.queue.registry import QueueSpec, Registry, Watermarks, built_in
from fluxa.queue.worker.dispatcher import Dispatcher, DispatcherConfig
from fluxa.queue.worker.handlers import Handlers
from fluxa.telemetry.catalogue import silent
from fluxa.testing.signals import Signals
from making.stack import until

CLOCK = SystemClock()
CHAT_AND_PAGER = {"chat": Severity.WARNING, "pager": Severity.CRITICAL}


class Recorder:
    """An `Audit` that remembers."""

    def __init__(self) -> None:
        self.acts: list[Act] = []

    async def record(self, _tx: Transaction, act: Act) -> None:
        self.acts.append(act)


_SPEC = built_in().get(QUEUE)
SOON = dataclasses.replace(_SPEC, retry=dataclasses.replace(_SPEC.retry, attempts_max=8, base_s=0.05, cap_s=0.2))
"""The queue of messages, with what is repeated repeated soon."""


class Stand:
    """An evaluator with short times, and what it looks at."""

    def __init__(self, database: Database, rules: Sequence[Rule] = RULES) -> None:
        self.database = database
        self.signals = Signals()
        self.registry = Registry([QueueSpec("jobs", watermarks=Watermarks(depth=2)), SOON])
        self.backend = PgmqBackend(database, listener=None, notifier=None, clock=CLOCK, keys=self.registry.key_rules)
        self.rules = [dataclasses.replace(rule, for_s=0.0, clear_after_s=0.0, unknown_after_s=0.0) for rule in rules]
        self.sinks: list[str] = []
        self.recorder = Recorder()
        self.store = AlarmStore(database, tenant=Tenant("default"), audit=self.recorder)
        self.producer = Producer(self.backend, self.registry, CLOCK)

    def look_at(self, *names: str) -> None:
        """Evaluate no other alarms than these."""
        self.rules = [rule for rule in self.rules if rule.name in names]

    def evaluator(
        self,
        name: str = "one",
        *,
        repeat_s: float = 3600.0,
        period_s: float = 5.0,
        targets: Mapping[str, Severity] = CHAT_AND_PAGER,
        beats: Mapping[str, Callable[[], Awaitable[None]]] | None = None,
    ) -> Evaluator:
        reader = HealthReader(
            database=self.database,
            backend=self.backend,
            insight=PgmqInsight(self.database),
            registry=self.registry,
            clock=CLOCK,
            hook=silent,
        )
        measures = Measures(
            samples=Samples(self.database),
            reader=reader,
            registry=self.registry,
            schedules=Schedules(self.database),
            load=DatabaseLoad(self.database, clock=CLOCK),
            now=CLOCK.now,
            cursors=Cursors(self.database),
            sinks=self.sinks,
        )
        config = EvaluatorConfig(
            rules=self.rules,
            targets=targets,
            period_s=period_s,
            repeat_s=repeat_s,
            runbook_url="https://books.example",
        )
        return Evaluator(
            self.database,
            measures,
            self.producer,
            config,
            clock=CLOCK,
            hook=self.signals.hear,
            name=name,
            beats=beats,
        )

    async def alarm(self, name: str, subject: str = "") -> Alarm | None:
        return next((one for one in await self.store.all() if (one.alarm, one.subject) == (name, subject)), None)

    async def messages(self) -> list[dict[str, Any]]:
        found = []
        while deliveries := await self.backend.claim(QUEUE, limit=10, lease_s=30):
            found += [json.loads(record.body) for one in deliveries for record in one.records]
            await self.backend.settle([Settlement(one, (DONE,) * len(one.records)) for one in deliveries])
        return found

    async def bury(self, code: str) -> None:
        await self.producer.send("jobs", [b"{}"])
        (one,) = await self.backend.claim("jobs", limit=1, lease_s=30)
        await self.backend.settle([Settlement(one, (Dead(code, "it broke"),))])

    async def count(self, process: str, service: str, counters: Mapping[str, float], *, ended: bool = False) -> None:
        sampler = Sampler(self.database, process, service, lambda: (counters, {}), clock=CLOCK, hook=silent)
        await sampler.write(ended=ended)

    @contextlib.asynccontextmanager
    async def delivering(self, targets: Sequence[Target]) -> AsyncIterator[None]:
        """A process that delivers messages."""
        handlers = Handlers()
        handlers.add(QUEUE, Delivery(targets, CLOCK).__call__)
        dispatcher = Dispatcher(
            backend=self.backend,
            registry=self.registry,
            handlers=handlers,
            database=None,
            clock=CLOCK,
            hook=self.signals.hear,
            randomness=random.Random(7),  # noqa: S311 - spreads retries
            config=DispatcherConfig(wait_s=0.05, stop_within_s=5.0),
        )
        await dispatcher.start()
        try:
            yield
        finally:
            await dispatcher.stop()

    async def delivered(self) -> None:
        """Wait until no message is on its way any more."""

        async def empty() -> bool:
            return (await self.backend.metrics(QUEUE)).depth == 0

        await until(empty)
