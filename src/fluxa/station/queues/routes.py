"""All rows of the queue slice, put together from its verbs."""

from dataclasses import dataclass, field

from fluxa.queue.backend import QueueBackend
from fluxa.queue.health.controls import Controls
from fluxa.queue.registry import Registry
from fluxa.station.queues.letters import Letters
from fluxa.station.queues.steer import Steering
from fluxa.web.bodies import MIB, Bodies
from fluxa.web.routes import Route


@dataclass(frozen=True, slots=True)
class QueueDoor:
    """What the rows need.

    Attributes:
        registry: the queues there are.
        backend: their engines.
        controls: where the word of operators is kept.
        bodies: reads bodies.
    """

    registry: Registry
    backend: QueueBackend
    controls: Controls
    bodies: Bodies = field(default_factory=lambda: Bodies(max_bytes=MIB))


def routes(door: QueueDoor) -> tuple[Route, ...]:
    """The rows of this slice."""
    return (
        *Letters(door.registry, door.backend).routes(),
        *Steering(door.registry, door.controls, door.bodies).routes(),
    )
