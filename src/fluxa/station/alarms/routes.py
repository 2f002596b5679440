"""The rows of alarms: list, show, acknowledge, silence, test."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from fluxa.auth.roles import OPERATORS, WATCHERS
from fluxa.auth.scopes import Scope as KeyScope
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.operations.alarms.rule import Rule
from fluxa.operations.alarms.rules import rule_named
from fluxa.operations.alarms.store import AlarmStore, Silence
from fluxa.station.alarms.schemas import (
    AckRequest,
    AlarmHistory,
    AlarmsView,
    AlarmView,
    RuleView,
    Sent,
    SilenceRequest,
    Subjects,
)
from fluxa.web.bodies import MIB, Bodies, body_of
from fluxa.web.responses import json_response, send_response
from fluxa.web.routes import Auth, Bucket, Call, Operation, Receive, Route, Scope, Send, Terms

SEE = Terms(Bucket.OPERATION, WATCHERS, platform=True, scope=KeyScope.ALARMS_READ)
RUN = Terms(Bucket.OPERATION, OPERATORS, platform=True, scope=KeyScope.ALARMS_WRITE)


@dataclass(frozen=True, slots=True)
class AlarmDoor:
    """What the rows need.

    Attributes:
        store: where alarms are kept.
        rules: which there are.
        test: sends a marked message to all targets; the ids of its records.
        runbook_url: where runbooks are read.
        bodies: reads bodies.
    """

    store: AlarmStore
    rules: Sequence[Rule]
    test: Callable[[], Awaitable[list[str]]]
    runbook_url: str = ""
    bodies: Bodies = field(default_factory=lambda: Bodies(max_bytes=MIB))

    async def all(self, _call: Call, _scope: Scope, _receive: Receive, send: Send) -> None:
        """All that are not well."""
        turn = await self.store.turn()
        name, age_s = turn or (None, None)
        await _answer(send, AlarmsView(await self._views(), name, age_s))

    async def one(self, call: Call, _scope: Scope, _receive: Receive, send: Send) -> None:
        """One whole."""
        rule = rule_named(self.rules, call.path_params["alarm"])
        views = [view for view in await self._views() if view.alarm == rule.name]
        history = await self.store.history(rule.name)
        await _answer(send, AlarmHistory(RuleView.of(rule, self.runbook_url), views, history))

    async def table(self, _call: Call, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Which there are."""
        await _answer(send, [RuleView.of(rule, self.runbook_url) for rule in self.rules])

    async def ack(self, call: Call, scope: Scope, receive: Receive, send: Send) -> None:
        """Take on."""
        rule = rule_named(self.rules, call.path_params["alarm"])
        asked = await body_of(self.bodies, scope, receive, AckRequest, empty=AckRequest())
        subjects = await self.store.ack(rule.name, asked.subject, by=call.caller.name, note=asked.note)
        await _answer(send, Subjects(rule.name, subjects))

    async def unack(self, call: Call, scope: Scope, receive: Receive, send: Send) -> None:
        """Give back."""
        rule = rule_named(self.rules, call.path_params["alarm"])
        asked = await body_of(self.bodies, scope, receive, AckRequest, empty=AckRequest())
        await _answer(send, Subjects(rule.name, await self.store.unack(rule.name, asked.subject, by=call.caller.name)))

    async def silences(self, _call: Call, _scope: Scope, _receive: Receive, send: Send) -> None:
        """What is silenced."""
        await _answer(send, await self.store.silences())

    async def silence(self, call: Call, scope: Scope, receive: Receive, send: Send) -> None:
        """Tell nothing for a while."""
        asked = await body_of(self.bodies, scope, receive, SilenceRequest)
        name = None if asked.alarm is None else rule_named(self.rules, asked.alarm).name
        made = await self.store.silence(
            name, asked.subject, by=call.caller.name, reason=asked.reason, for_s=asked.for_s
        )
        await _answer(send, made, status=201)

    async def unsilence(self, call: Call, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Tell again."""
        text = call.path_params["silence_id"]
        if not text.isascii() or not text.isdigit() or len(text) > 18:  # noqa: PLR2004 - what a bigint holds for sure
            raise FluxaError(ErrorCode.NOT_FOUND, f"There is no silence {text[:40]}.")
        await _answer(send, await self.store.unsilence(int(text), by=call.caller.name))

    async def send_test(self, _call: Call, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Show that messages arrive."""
        await _answer(send, Sent(await self.test()), status=202)

    def routes(self) -> tuple[Route, ...]:
        """The rows."""
        path, silences = "/api/alarms", "/api/alarm-silences"
        bearer = Auth.BEARER
        return (
            Route("alarms_list", path, ("GET",), bearer, self.all, _ALL, SEE),
            Route("alarms_rules", "/api/alarm-rules", ("GET",), bearer, self.table, _RULES, SEE),
            Route("alarms_test", "/api/alarm-test", ("POST",), bearer, self.send_test, _TEST, RUN),
            Route("alarms_get", f"{path}/{{alarm}}", ("GET",), bearer, self.one, _ONE, SEE),
            Route("alarms_ack", f"{path}/{{alarm}}/ack", ("POST",), bearer, self.ack, _ACK, RUN),
            Route("alarms_unack", f"{path}/{{alarm}}/unack", ("POST",), bearer, self.unack, _UNACK, RUN),
            Route("silences_list", silences, ("GET",), bearer, self.silences, _SILENCES, SEE),
            Route("silences_create", silences, ("POST",), bearer, self.silence, _SILENCE, RUN),
            Route("silences_end", f"{silences}/{{silence_id}}/end", ("POST",), bearer, self.unsilence, _END, RUN),
        )

    async def _views(self) -> list[AlarmView]:
        silences = await self.store.silences()
        rules = {rule.name: rule for rule in self.rules}
        alarms = await self.store.all()
        return [AlarmView.of(one, rules.get(one.alarm), silences, self.runbook_url) for one in alarms]


async def _answer(send: Send, value: object, *, status: int = 200) -> None:
    await send_response(send, json_response(value, status=status))


_NO_ALARM: dict[int, tuple[str, Any]] = {404: ("There is no such alarm.", None)}
_REFUSED: dict[int, tuple[str, Any]] = {**_NO_ALARM, 409: ("There is nothing of it to take on or give back.", None)}
_ASKED = {"application/json": AckRequest}
_ALL = Operation(
    "Which alarms are not well, and who looks at them",
    responses={200: ("Firing ones first.", AlarmsView)},
)
_RULES = Operation("Which alarms there are", responses={200: ("All of them.", list[RuleView])})
_ONE = Operation(
    "One alarm: when it fires, where it does, what happened", responses={200: ("It.", AlarmHistory), **_NO_ALARM}
)
_ACK = Operation(
    "Take on an alarm that fires: it is told no more until it is over",
    request=_ASKED,
    request_optional=True,
    responses={200: ("What was taken on.", Subjects), **_REFUSED},
)
_UNACK = Operation(
    "Give an alarm back: it is told again",
    request=_ASKED,
    request_optional=True,
    responses={200: ("What was given back.", Subjects), **_REFUSED},
)
_SILENCES = Operation("What is silenced now", responses={200: ("Latest first.", list[Silence])})
_SILENCE = Operation(
    "Tell nothing of an alarm for a while; it is looked at all the same",
    request={"application/json": SilenceRequest},
    responses={201: ("The silence.", Silence), **_NO_ALARM},
)
_END = Operation(
    "End a silence now", responses={200: ("The silence.", Silence), 404: ("There is none that has not ended.", None)}
)
_TEST = Operation(
    "Send a marked message to everybody who is told of alarms",
    responses={202: ("The messages are in their queue.", Sent)},
)
