"""`Fluxa`: where a user's program says which queues it has and who works on them. Not: running them (fluxa.apps)."""

from collections.abc import Callable
from typing import TypeVar

from fluxa.kernel.errors import ErrorCode, FluxaError
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
    """

    def __init__(self, registry: Registry | None = None) -> None:
        self.registry = registry or built_in()
        self.handlers = Handlers()

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
