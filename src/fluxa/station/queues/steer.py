"""Pausing and resuming queues over HTTP."""

from dataclasses import dataclass

from fluxa.auth.audit import Audit
from fluxa.queue.health.controls import Control, Controls
from fluxa.queue.registry import Registry
from fluxa.station.queues.given import caller, noted, queue_of
from fluxa.station.queues.schemas import ControlView, PauseRequest
from fluxa.station.queues.terms import RUN
from fluxa.web.bodies import Bodies, body_of
from fluxa.web.responses import json_response, send_response
from fluxa.web.routes import Auth, Call, Operation, Receive, Route, Scope, Send


@dataclass(frozen=True, slots=True)
class Steering:
    """What these rows need.

    Attributes:
        registry: the queues there are.
        controls: where the word of operators is kept.
        bodies: reads bodies.
        audit: is told who asked.
    """

    registry: Registry
    controls: Controls
    bodies: Bodies
    audit: Audit

    async def pause(self, call: Call, scope: Scope, receive: Receive, send: Send) -> None:
        """Claim no more from a queue."""
        queue = queue_of(call, self.registry).name
        asked = await body_of(self.bodies, scope, receive, PauseRequest)
        also = noted(self.audit, call, "queue.paused", f"queue:{queue}", reason=asked.reason)
        await _answer(send, await self.controls.pause(queue, caller(call), asked.reason, also=also))

    async def resume(self, call: Call, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Claim from a queue again."""
        queue = queue_of(call, self.registry).name
        also = noted(self.audit, call, "queue.resumed", f"queue:{queue}")
        await _answer(send, await self.controls.resume(queue, caller(call), also=also))

    def routes(self) -> tuple[Route, ...]:
        """The rows."""
        path = "/api/queues/{queue}"
        return (
            Route("queues_pause", f"{path}/pause", ("POST",), Auth.BEARER, self.pause, _PAUSE, RUN),
            Route("queues_resume", f"{path}/resume", ("POST",), Auth.BEARER, self.resume, _RESUME, RUN),
        )


async def _answer(send: Send, control: Control) -> None:
    view = ControlView(
        queue=control.queue,
        paused=control.paused,
        by=control.by,
        reason=control.reason,
        changed_at=control.changed_at,
    )
    await send_response(send, json_response(view))


_PAUSE = Operation(
    "Claim nothing from a queue, on any machine, within two seconds; what was begun is finished",
    request={"application/json": PauseRequest},
    responses={200: ("It is paused.", ControlView), 404: ("There is no such queue.", None)},
)
_RESUME = Operation(
    "Claim from a queue again",
    responses={200: ("It is not paused.", ControlView), 404: ("There is no such queue.", None)},
)
