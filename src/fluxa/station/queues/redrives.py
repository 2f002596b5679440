"""Redrives over HTTP: order one or ask what it would do, look, pause, resume, cancel. Not: carrying them out."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from fluxa.auth.audit import Audit
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.postgres.transaction import Also
from fluxa.queue.dead_letters.tasks import RedriveState, RedriveTask, RedriveTasks, new_redrive_id
from fluxa.queue.registry import Registry
from fluxa.station.queues.given import caller, noted, queue_of
from fluxa.station.queues.rules import is_same_order, meant, plan_view
from fluxa.station.queues.schemas import RedriveList, RedrivePlanView, RedriveRequest
from fluxa.station.queues.terms import RUN, SEE
from fluxa.web.bodies import Bodies, body_of
from fluxa.web.queries import Query, invalid, parameter
from fluxa.web.responses import json_response, send_response
from fluxa.web.routes import Auth, Call, Endpoint, Operation, Receive, Route, Scope, Send

LIMIT_DEFAULT, LIMIT_MAX = 100, 1000

_LIMIT = {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT}
_STATES = [str(state) for state in RedriveState]
_PARAMETERS = (
    parameter("queue", "Only redrives of this queue."),
    parameter("state", "Only redrives in this state.", {"type": "string", "enum": _STATES}),
    parameter("limit", "Redrives at most.", _LIMIT),
)
_NAMES = frozenset(str(one["name"]) for one in _PARAMETERS)


@dataclass(frozen=True, slots=True)
class Redrives:
    """What these rows need.

    Attributes:
        registry: the queues there are.
        tasks: orders and looks up redrives.
        bodies: reads bodies.
        audit: is told who asked.
    """

    registry: Registry
    tasks: RedriveTasks
    bodies: Bodies
    audit: Audit

    async def create(self, call: Call, scope: Scope, receive: Receive, send: Send) -> None:
        """Order a redrive, or say what it would do."""
        queue = queue_of(call, self.registry).name
        asked = await body_of(self.bodies, scope, receive, RedriveRequest)
        which = meant(asked)
        if asked.dry_run:
            plan = await self.tasks.plan(queue, which, asked.force, redrives_max=asked.redrives_max)
            await send_response(send, json_response(plan_view(plan)))
            return
        name = asked.redrive_id or new_redrive_id()
        task = await self.tasks.create(
            queue,
            which,
            asked.force,
            asked.rate_per_s,
            caller(call),
            redrives_max=asked.redrives_max,
            redrive_id=name,
            also=noted(self.audit, call, "redrive.ordered", f"redrive:{name}", queue=queue, forced=asked.force),
        )
        if not is_same_order(task, queue, which, asked):
            raise FluxaError(
                ErrorCode.IDEMPOTENCY_MISMATCH,
                f"The redrive {task.redrive_id} was ordered with other words; take another name.",
                pointer="/redrive_id",
            )
        location = (b"location", f"/api/redrives/{task.redrive_id}".encode())
        await send_response(send, json_response(task, status=201, headers=(location,)))

    async def list(self, _call: Call, scope: Scope, _receive: Receive, send: Send) -> None:
        """The newest redrives."""
        query = Query(scope, _NAMES)
        queue, state = query.text("queue"), query.text("state")
        if queue is not None:
            self.registry.get(queue)
        if state is not None and state not in _STATES:
            raise invalid("state", f"must be one of {', '.join(_STATES)}")
        limit = query.integer("limit", default=LIMIT_DEFAULT, minimum=1, maximum=LIMIT_MAX)
        found = await self.tasks.list(queue, () if state is None else (RedriveState(state),), limit=limit)
        await send_response(send, json_response(RedriveList(found)))

    async def get(self, call: Call, _scope: Scope, _receive: Receive, send: Send) -> None:
        """One redrive."""
        await send_response(send, json_response(await self.tasks.get(_named(call))))

    def _on(self, verb: Callable[[str, Also], Awaitable[RedriveTask]], action: str) -> Endpoint:
        """An endpoint that does one thing to the redrive that the path names."""

        async def endpoint(call: Call, _scope: Scope, _receive: Receive, send: Send) -> None:
            name = _named(call)
            also = noted(self.audit, call, action, f"redrive:{name}")
            await send_response(send, json_response(await verb(name, also)))

        return endpoint

    def routes(self) -> tuple[Route, ...]:
        """The rows."""
        of_queue, one = "/api/queues/{queue}/redrives", "/api/redrives/{id}"
        return (
            Route("redrives_create", of_queue, ("POST",), Auth.BEARER, self.create, _CREATE, RUN),
            Route("redrives_list", "/api/redrives", ("GET",), Auth.BEARER, self.list, _LIST, SEE),
            Route("redrives_get", one, ("GET",), Auth.BEARER, self.get, _GET, SEE),
            Route(
                "redrives_pause",
                f"{one}/pause",
                ("POST",),
                Auth.BEARER,
                self._on(self.tasks.pause, "redrive.paused"),
                _PAUSE,
                RUN,
            ),
            Route(
                "redrives_resume",
                f"{one}/resume",
                ("POST",),
                Auth.BEARER,
                self._on(self.tasks.resume, "redrive.resumed"),
                _RESUME,
                RUN,
            ),
            Route(
                "redrives_cancel",
                f"{one}/cancel",
                ("POST",),
                Auth.BEARER,
                self._on(self.tasks.cancel, "redrive.cancelled"),
                _CANCEL,
                RUN,
            ),
        )


def _named(call: Call) -> str:
    """The redrive that the path names."""
    redrive_id = call.path_params["id"]
    if "\x00" in redrive_id:  # which Postgres could not look for
        raise FluxaError(ErrorCode.NOT_FOUND, "There is no such redrive.")
    return redrive_id


def _verb(summary: str, done: str, refused: str) -> Operation:
    responses = {
        200: (done, RedriveTask),
        404: ("There is no such redrive.", None),
        409: (refused, None),
    }
    return Operation(summary, responses=responses)


_CREATE = Operation(
    "Send dead letters back to their queue: those that are there now and may go back. Worker processes carry it out",
    request={"application/json": RedriveRequest},
    responses={
        200: ("What it would do (`dry_run`).", RedrivePlanView),
        201: ("It is ordered; `Location` is where it tells how far it is.", RedriveTask),
        404: ("There is no such queue.", None),
        422: ("The name belongs to another redrive.", None),
    },
)
_LIST = Operation(
    "Redrives, the newest first",
    _PARAMETERS,
    responses={200: ("The redrives.", RedriveList), 404: ("There is no such queue.", None)},
)
_GET = Operation(
    "How far a redrive is", responses={200: ("It.", RedriveTask), 404: ("There is no such redrive.", None)}
)
_PAUSE = _verb("Stop a redrive until it is resumed", "It moves nothing more.", "It has ended.")
_RESUME = _verb("Let a redrive that is paused or failed go on where it was", "It goes on.", "It has ended.")
_CANCEL = _verb("End a redrive; what it has moved stays moved", "It has ended.", "It has ended otherwise.")
