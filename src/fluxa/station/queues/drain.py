"""`POST /process-queues`: works queues off for a bounded time, for cron, and says what came of each (QUEUE-12)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fluxa.kernel.clock import Clock
from fluxa.queue.health.facts import QueueHealth
from fluxa.queue.health.snapshot import HealthReader
from fluxa.queue.registry import Registry
from fluxa.queue.worker.drain import Drained, Drainer
from fluxa.station.queues.rules import has_work, left_alone, summarize, worked_on
from fluxa.station.queues.schemas import DrainAnswer, DrainRequest, DrainResult, Skipped
from fluxa.web.bodies import Bodies, body_of
from fluxa.web.responses import json_response, send_response
from fluxa.web.routes import Auth, Bucket, Call, Operation, Receive, Route, Scope, Send, Terms

PATH = "/process-queues"


@dataclass(frozen=True, slots=True)
class Draining:
    """What this row needs.

    Attributes:
        registry: the queues there are.
        reader: says how they are.
        drainer: works on those that have a handler here.
        bodies: reads bodies.
        clock: measures the time spent.
        budget_max_s: seconds that a call may ask for at most; also what it gets unasked.
    """

    registry: Registry
    reader: HealthReader
    drainer: Drainer
    bodies: Bodies
    clock: Clock
    budget_max_s: float

    async def process(self, _call: Call, scope: Scope, receive: Receive, send: Send) -> None:
        """Work on the queues that have work, all side by side, the most urgent first where places are short."""
        began_s = self.clock.monotonic()
        asked = await body_of(self.bodies, scope, receive, DrainRequest, empty=DrainRequest())
        budget_s = min(asked.budget_s or self.budget_max_s, self.budget_max_s)
        names = {spec.name for spec in (map(self.registry.get, asked.queues or ()))}
        queues = [spec.name for spec in self.registry if asked.queues is None or spec.name in names]
        before = (await self.reader.read(queues)).queues
        chosen = {health.queue: self._why_not(health) for health in before if has_work(health)}
        drained = await self._drain(
            [queue for queue, skipped in chosen.items() if skipped is None],
            budget_s - (self.clock.monotonic() - began_s),
        )
        results = await self._results([health for health in before if health.queue in chosen], chosen, drained)
        answer = DrainAnswer(
            success=all(result.success for result in results),
            elapsed_seconds=round(self.clock.monotonic() - began_s, 3),
            summary=summarize(before, results),
        )
        await send_response(send, json_response(answer))

    def _why_not(self, health: QueueHealth) -> Skipped | None:
        queue = health.queue
        return left_alone(
            health,
            has_handler=queue in self.drainer.queues,
            is_busy=self.drainer.is_busy(queue),
            is_paused=self.drainer.is_paused(queue),
            is_resting=self.drainer.is_resting(queue),
            now=self.clock.now(),
        )

    async def _drain(self, queues: Sequence[str], budget_s: float) -> Mapping[str, Drained]:
        return await self.drainer.drain(queues, budget_s=budget_s) if queues else {}

    async def _results(
        self, before: Sequence[QueueHealth], chosen: Mapping[str, Skipped | None], drained: Mapping[str, Drained]
    ) -> list[DrainResult]:
        after = {health.queue: health for health in (await self.reader.read(list(drained))).queues} if drained else {}
        results = []
        for health in before:
            skipped = chosen[health.queue]
            if skipped is None:
                results.append(worked_on(health, drained[health.queue], after[health.queue]))
            else:
                success = skipped is not Skipped.BREAKER_OPEN
                length = health.queue_length
                results.append(
                    DrainResult(
                        queue=health.queue, success=success, queue_length=length, remaining=length, skipped=skipped
                    )
                )
        return results

    def routes(self) -> tuple[Route, ...]:
        """The row."""
        return (Route("process_queues", PATH, ("POST",), Auth.CRON, self.process, _PROCESS, _CALLED),)


_CALLED = Terms(Bucket.QUEUE_WORKER, timeout_s=4000.0)  # its own budget, an hour at most, ends it
_PROCESS = Operation(
    "Work queues off for a bounded time; safe beside workers and beside itself",
    request={"application/json": DrainRequest},
    request_optional=True,
    responses={
        200: ("It worked; `success` says whether everything went well.", DrainAnswer),
        404: ("A queue that is named does not exist.", None),
    },
)
