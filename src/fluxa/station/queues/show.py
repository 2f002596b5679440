"""How queues are, over HTTP: all of them, one with why it is slow, and the verdict that monitors ask for."""

from dataclasses import dataclass

from fluxa.queue.health.facts import QueueHealth, Snapshot
from fluxa.queue.health.monitor import QueueMonitor
from fluxa.queue.health.snapshot import HealthReader
from fluxa.queue.registry import Registry
from fluxa.station.queues.given import queue_of
from fluxa.station.queues.rules import verdict
from fluxa.station.queues.schemas import QueuesVerdict, Verdict
from fluxa.station.queues.terms import SEE
from fluxa.web.responses import json_response, send_response
from fluxa.web.routes import UNCOUNTED, Auth, Call, Operation, Receive, Route, Scope, Send


@dataclass(frozen=True, slots=True)
class Showing:
    """What these rows need.

    Attributes:
        registry: the queues there are.
        reader: takes a snapshot.
        monitor: has a recent one of all queues.
    """

    registry: Registry
    reader: HealthReader
    monitor: QueueMonitor

    async def all(self, _call: Call, _scope: Scope, _receive: Receive, send: Send) -> None:
        """All queues."""
        await send_response(send, json_response(await self.monitor.snapshot()))

    async def one(self, call: Call, _scope: Scope, _receive: Receive, send: Send) -> None:
        """One queue, with why it is slow; another program's too, where it is in the database."""
        name = call.path_params["queue"]
        if name not in (health.queue for health in (await self.monitor.recent()).queues):
            queue_of(call, self.registry)
        found = await self.reader.read([name], why_slow=True)
        await send_response(send, json_response(found.queues[0]))

    async def judge(self, _call: Call, _scope: Scope, _receive: Receive, send: Send) -> None:
        """The verdict; from a snapshot that others may have asked for, since anybody may ask for this."""
        found = verdict(await self.monitor.recent())
        await send_response(send, json_response(found, status=503 if found.status is Verdict.UNHEALTHY else 200))

    def routes(self) -> tuple[Route, ...]:
        """The rows."""
        get = ("GET",)
        return (
            Route("queues_list", "/api/queues", get, Auth.BEARER, self.all, _ALL, SEE),
            Route("queues_get", "/api/queues/{queue}", get, Auth.BEARER, self.one, _ONE, SEE),
            Route("queues_health", "/health/queues", get, Auth.OPEN, self.judge, _JUDGE, UNCOUNTED),
        )


_ALL = Operation(
    "How all queues are; what could not be found out is null, and `unknown` says why",
    responses={200: ("The queues, most urgent first; then those of other programs.", Snapshot)},
)
_ONE = Operation(
    "How one queue is, and what makes it slow",
    responses={200: ("The queue.", QueueHealth), 404: ("There is no such queue.", None)},
)
_JUDGE = Operation(
    "Whether the queues are well, for monitors and load balancers; names and states only",
    responses={
        200: ("Nothing is over its watermark for depth or age; `degraded` names what to look at.", QueuesVerdict),
        503: ("A queue is too deep or too old, or nothing is known of any of them.", QueuesVerdict),
    },
)
