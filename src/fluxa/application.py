"""`Fluxa`: where a user's program says which queues it has and who works on them. Not: running them (fluxa.apps)."""

from collections.abc import Callable
from typing import TypeVar

from fluxa.kernel import json
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.operations.cron import Missed, Schedule
from fluxa.queue.registry import QueueSpec, Registry, built_in
from fluxa.queue.worker.handlers import Handler, Handlers

F = TypeVar("F", bound=Handler)


class Fluxa:
    """Queues and their handlers. `fluxa worker --app module:attribute` serves them.

    Usage::

        app = Fluxa()
        app.queue(QueueSpec("thumbnails", concurrency=4))


        @app.handler("thumbnails")
        async def resize(job: Resize, info: JobInfo) -> None: ...

    Attributes:
        registry: the queues; those of Fluxa itself are there from the beginning.
        handlers: who works on them.
        schedules: what is sent to them at set times.
    """

    def __init__(self, registry: Registry | None = None) -> None:
        self.registry = registry or built_in()
        self.handlers = Handlers()
        self.schedules: dict[str, Schedule] = {}

    def queue(self, spec: QueueSpec) -> QueueSpec:
        """Make a queue known, in the place of the one of its name if there is one."""
        if spec.name in self.registry:
            self.registry.replace(spec)
        else:
            self.registry.add(spec)
        return spec

    def handler(self, queue: str) -> Callable[[F], F]:
        """Register the function below as the one that works on a queue's records.

        Raises:
            FluxaError: `Configuration`, if there is no such queue, it has a handler, or the signature fits no form.
        """
        try:
            self.registry.get(queue)
        except FluxaError as error:
            raise FluxaError(
                ErrorCode.CONFIGURATION, f"{error.detail} Name a queue of your own with app.queue(QueueSpec(…)) first."
            ) from None

        def register(function: F) -> F:
            self.handlers.add(queue, function)
            return function

        return register

    def cron(
        self,
        name: str,
        expression: str,
        *,
        queue: str,
        body: object = None,
        timezone: str = "UTC",
        key: str | None = None,
        missed: Missed = Missed.ONCE,
    ) -> Schedule:
        """Send a record to a queue at set times, once across all machines. Operators may change or stop it.

        Args:
            name: names the schedule: a-z, 0-9, _ and -.
            expression: five fields as in crontab, or @hourly, @daily, @weekly, @monthly, @yearly.
            queue: where the record goes; a queue that is known here.
            body: what it holds: bytes as they are, anything else as JSON; None is an empty object.
            timezone: where the expression's hours are, as in `Europe/Vienna`.
            key: what records of the queue are kept in order or apart by.
            missed: what becomes of due times that passed while no worker was there.

        Raises:
            FluxaError: `Configuration`, if the name is taken, there is no such queue, or it is never due.
        """
        content = body if isinstance(body, bytes) else json.encode({} if body is None else body)
        schedule = Schedule(name, expression, queue, content, timezone=timezone, key=key, missed=missed)
        try:
            self.registry.get(queue)
            schedule.check()
        except FluxaError as error:
            raise FluxaError(ErrorCode.CONFIGURATION, f"The schedule {name}: {error.detail}") from None
        if name in self.schedules:
            raise FluxaError(ErrorCode.CONFIGURATION, f"There are two schedules named {name}.")
        self.schedules[name] = schedule
        return schedule
