"""All rows of the queue slice, put together from its verbs."""

from dataclasses import dataclass, field

from fluxa.auth.audit import Audit
from fluxa.kernel.clock import Clock
from fluxa.queue.backend import QueueBackend
from fluxa.queue.dead_letters.quarantine import Quarantine
from fluxa.queue.dead_letters.tasks import RedriveTasks
from fluxa.queue.health.controls import Controls
from fluxa.queue.health.monitor import QueueMonitor
from fluxa.queue.health.snapshot import HealthReader
from fluxa.queue.registry import Registry
from fluxa.queue.worker.drain import Drainer
from fluxa.station.queues.drain import Draining
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
        drainer: works on queues that have a handler here.
        budget_max_s: seconds that one drain may work at most.
        clock: the time.
        audit: is told who asked for what.
        bodies: reads bodies.
    """

    registry: Registry
    backend: QueueBackend
    controls: Controls
    tasks: RedriveTasks
    quarantine: Quarantine
    reader: HealthReader
    monitor: QueueMonitor
    drainer: Drainer
    budget_max_s: float
    clock: Clock
    audit: Audit
    bodies: Bodies = field(default_factory=lambda: Bodies(max_bytes=MIB))


def routes(door: QueueDoor) -> tuple[Route, ...]:
    """The rows of this slice."""
    return (
        *Showing(door.registry, door.reader, door.monitor).routes(),
        *Letters(door.registry, door.backend).routes(),
        *QuarantineRows(door.registry, door.quarantine).routes(),
        *Steering(door.registry, door.controls, door.bodies, door.audit).routes(),
        *Draining(door.registry, door.reader, door.drainer, door.bodies, door.clock, door.budget_max_s).routes(),
        *Redrives(door.registry, door.tasks, door.bodies, door.audit).routes(),
    )
