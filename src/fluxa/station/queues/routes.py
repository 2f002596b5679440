"""All rows of the queue slice, put together from its verbs."""

from dataclasses import dataclass, field

from fluxa.queue.backend import QueueBackend
from fluxa.queue.dead_letters.quarantine import Quarantine
from fluxa.queue.dead_letters.tasks import RedriveTasks
from fluxa.queue.health.controls import Controls
from fluxa.queue.health.monitor import QueueMonitor
from fluxa.queue.health.snapshot import HealthReader
from fluxa.queue.registry import Registry
from fluxa.station.queues.letters import Letters
from fluxa.station.queues.quarantined import QuarantineRows
from fluxa.station.queues.redrives import Redrives
from fluxa.station.queues.show import Showing
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
        tasks: orders redrives.
        quarantine: where altered messages are.
        reader: takes snapshots of queues.
        monitor: has a recent one of all.
        bodies: reads bodies.
    """

    registry: Registry
    backend: QueueBackend
    controls: Controls
    tasks: RedriveTasks
    quarantine: Quarantine
    reader: HealthReader
    monitor: QueueMonitor
    bodies: Bodies = field(default_factory=lambda: Bodies(max_bytes=MIB))


def routes(door: QueueDoor) -> tuple[Route, ...]:
    """The rows of this slice."""
    return (
        *Showing(door.registry, door.reader, door.monitor).routes(),
        *Letters(door.registry, door.backend).routes(),
        *QuarantineRows(door.registry, door.quarantine).routes(),
        *Steering(door.registry, door.controls, door.bodies).routes(),
        *Redrives(door.registry, door.tasks, door.bodies).routes(),
    )
