"""Each alarm is made true by a real fault in a real stack, fires in its time, links to its runbook, and resolves."""

import asyncio
import contextlib
import dataclasses
import json
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from svix.webhooks import Webhook

from acceptance.operations.faults import FAULTS, MIRROR_PORT, SINK, SINK_FILE, Fault, Stage
from fluxa.operations.alarms.rule import Measure, Rule
from fluxa.operations.alarms.rules import RULES, Change, changed
from fluxa.operations.alarms.samples import PERIOD_S
from fluxa.testing.serving import serving
from fluxa.web.routes import Receive, Scope, Send

_SECRET = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"  # noqa: S105 - a test's
_LOOK_S = 0.5
_BUSY_S = 45.0
"""What commands, deliveries and a machine with other work may take, beside the time that a rule states."""
_SHORT: Mapping[str, Change] = {
    "ProcessorErrorRate": Change(for_s=1.0, clear_after_s=1.0, window_s=10.0, count_min=5.0),
    "DLQDepth": Change(clear_after_s=1.0),
    "TamperedRecords": Change(clear_after_s=1.0),
    "AuditSinkLag": Change(threshold=16.0, clear_after_s=1.0),
    "QueueDepthHigh": Change(for_s=1.0, clear_after_s=1.0),
    "QueueOldestAge": Change(for_s=1.0, clear_after_s=1.0),
    "QueueUnserved": Change(for_s=2.0),
    "MissedSchedule": Change(threshold=3.0),
    "APIGateway5xx": Change(for_s=1.0, clear_after_s=1.0, window_s=10.0, count_min=5.0),
    "DBHighCPU": Change(for_s=1.0, clear_after_s=1.0, threshold=15.0),
    "ProcessSilent": Change(threshold=16.0),
    "AuthenticationFailures": Change(for_s=1.0, clear_after_s=1.0, window_s=10.0),
}
"""Minutes made seconds, as anybody may in the settings; what is not here is at once as it is."""
_CHECKS = ("FLUXA_AUDIT_VERIFY_PERIOD_S", "FLUXA_AUDIT_VERIFY_WHOLE_S", "FLUXA_TENANTS_CHECK_PERIOD_S")
"""How often the audit log and the tenants' policies are looked at: every second, not every five minutes."""
_RULES = {rule.name: rule for rule in changed(RULES, _SHORT)}


class Receiver:
    """A server that takes signed webhooks, chat messages and heartbeats, and everybody who waits for an alarm."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.paths: set[str] = set()
        self._changed = asyncio.Condition()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        content, more = b"", True
        while more:
            message = await receive()
            content += message.get("body", b"")
            more = message.get("more_body", False)
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        self.paths.add(scope["path"])
        if scope["path"] == "/hook":
            Webhook(_SECRET).verify(content, headers)  # raises if the signature is wrong: then nothing is told
        told = json.loads(content)["data"]["alarms"] if scope["path"] == "/hook" else []
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})
        async with self._changed:
            self.told += told
            self._changed.notify_all()

    def of(self, alarm: str, subject: str) -> list[dict[str, Any]]:
        """What was told of an alarm, in order."""
        return [one for one in self.told if (one["alarm"], one["subject"]) == (alarm, subject)]

    async def notice(self, alarm: str, subject: str, notice: str, *, within_s: float) -> dict[str, Any]:
        """Wait for what is told of an alarm."""
        try:
            async with asyncio.timeout(within_s), self._changed:
                await self._changed.wait_for(lambda: any(one["notice"] == notice for one in self.of(alarm, subject)))
        except TimeoutError:
            told = [(one["alarm"], one["subject"], one["notice"], one["value"]) for one in self.told]
            raise AssertionError(f"{alarm} was not {notice} within {within_s:.0f} s: {told}") from None
        return next(one for one in self.of(alarm, subject) if one["notice"] == notice)


@contextlib.asynccontextmanager
async def _receiving() -> AsyncIterator[tuple[Receiver, str]]:
    receiver = Receiver()
    async with serving(receiver) as url:  # type: ignore[arg-type] # any ASGI application is served alike
        yield receiver, url


def _settings(url: str) -> dict[str, str]:
    alarms = {
        name: {what: value for what, value in dataclasses.asdict(change).items() if value is not None}
        for name, change in _SHORT.items()
    }
    hook = {"kind": "webhook", "url": f"{url}/hook", "secrets": [_SECRET], "allow_private": True}
    chat = {"kind": "discord", "url": f"{url}/chat", "allow_private": True}
    dog = {"kind": "heartbeat", "url": f"{url}/beat", "allow_private": True}
    return {
        "FLUXA_ALARMS": json.dumps(alarms),
        "FLUXA_ALARM_TARGETS": json.dumps({"hook": hook, "chat": chat, "dog": dog}),
        "FLUXA_ALARM_PERIOD_S": str(_LOOK_S),
        "FLUXA_AUDIT_SINKS": json.dumps({SINK: {"kind": "file", "path": SINK_FILE}}),
        **dict.fromkeys(_CHECKS, "1"),
        "FLUXA_SYNTHETIC_EVERY_S": "1",
        "FLUXA_SYNTHETIC_CHECKS": "health",
        "FLUXA_SYNTHETIC_TIMEOUT_S": "30",
        "FLUXA_METRICS_TARGETS": f"127.0.0.1:{MIRROR_PORT}",
        "FLUXA_RUNBOOK_URL": "https://books.example",
    }


def _stated_s(rule: Rule) -> float:
    """Seconds from a fault to its alarm: until it is bad, until a process says so, until a look, and for how long.

    That a process has checked takes no second more than the sample it is told with.
    """
    lasting = (Measure.SILENT_PROCESS, Measure.MISSED_SCHEDULE, Measure.AUDIT_SINK_LAG)
    bad_after_s = rule.threshold if rule.measure in lasting else 0.0
    return bad_after_s + PERIOD_S + _LOOK_S + rule.for_s


def _cleared_s(rule: Rule) -> float:
    """Seconds from the end of a fault to the end of its alarm: rates remember it for their window."""
    return rule.window_s + PERIOD_S + _LOOK_S + rule.clear_after_s


async def _prove(fault: Fault, stage: Stage, receiver: Receiver) -> None:
    async with fault.block(stage):
        began_s = time.monotonic()
        for name, subject in fault.fires.items():
            rule = _RULES[name]
            left_s = _stated_s(rule) + _BUSY_S - (time.monotonic() - began_s)
            told = await receiver.notice(name, subject, "firing", within_s=left_s)
            assert (told["severity"], told["cause"]) == (rule.severity, rule.cause)
            assert (told["runbook"], told["runbook_url"]) == (rule.runbook, f"https://books.example/{rule.runbook}")
            assert told["first_action"]
            assert rule.is_bad(told["value"])
            assert fault.says.get(name, "") in told["detail"]
    for name, subject in fault.fires.items():
        await receiver.notice(name, subject, "resolved", within_s=_cleared_s(_RULES[name]) + _BUSY_S)


async def _one_after_another(row: tuple[Fault, ...], stage: Stage, receiver: Receiver) -> None:
    for fault in row:
        await _prove(fault, stage, receiver)


def test_every_alarm_has_a_fault() -> None:
    proven = [name for row in FAULTS for fault in row for name in fault.fires]
    assert sorted(proven) == sorted(rule.name for rule in RULES)


@pytest.mark.req("ALARM-1", "ALARM-2", "ALARM-3", "ALARM-4", "ALARM-5", "QUEUE-11")
async def test_every_fault_fires_its_alarms_in_their_time_and_they_are_over_when_it_is(
    tmp_path: Path, database_url: str
) -> None:
    async with _receiving() as (receiver, url):
        async with Stage(tmp_path, database_url, _settings(url)) as stage, asyncio.TaskGroup() as tasks:
            for row in FAULTS:
                tasks.create_task(_one_after_another(row, stage, receiver))
        for row in FAULTS:
            for fault in row:
                for alarm, subject in fault.fires.items():
                    notices = [one["notice"] for one in receiver.of(alarm, subject)]
                    assert notices == ["firing", "resolved"], (alarm, notices)
        assert receiver.paths == {"/hook", "/chat", "/beat"}
