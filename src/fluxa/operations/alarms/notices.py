"""What people are told of alarms: the messages, how they are put into words, and the handler that delivers them.

Not: when they are told (evaluate), or over which connection (ports in fluxa.providers).
"""

import datetime as dt
import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from fluxa.kernel import json
from fluxa.kernel.clock import Clock
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.operations.alarms.evaluate import Notice, Standing
from fluxa.operations.alarms.rule import Rule, Severity
from fluxa.operations.alarms.rules import link
from fluxa.postgres.transaction import Transaction
from fluxa.providers.answers import NotSentError
from fluxa.providers.http_endpoint import HttpEndpoint, Parcel
from fluxa.queue.outcome import Outcome, Snooze
from fluxa.queue.producer import Producer
from fluxa.queue.record import Record
from fluxa.queue.worker.handlers import JobInfo

QUEUE = "alarm_notify"
"""The queue that carries messages to people; what cannot be delivered is repeated and parked as in any other."""

_DISCORD_MAX_CHARS = 2000
_GROUP_MAX = 20
"""Alarms in one message: when everything fails at once, a person reads one text, not a hundred."""


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """One alarm in a message.

    Attributes:
        notice: firing, repeated, resolved, unknown, known or test.
        alarm: which.
        subject: of which queue, service or schedule; empty where there is one only.
        severity: critical or warning.
        title: what is the matter.
        value: what was found; None if it is not known.
        threshold: beyond which it is bad.
        detail: more of it.
        cause: what is likely behind it.
        first_action: what to do first.
        runbook: the id of the runbook.
        runbook_url: where that is read.
        since: since when it stands so.
    """

    notice: str
    alarm: str
    subject: str
    severity: str
    title: str
    value: float | None
    threshold: float
    detail: str
    cause: str
    first_action: str
    runbook: str
    runbook_url: str
    since: dt.datetime


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """What is sent to one target: one or several alarms.

    Attributes:
        target: who gets it, as settings name it.
        at: when it was written.
        alarms: what is told.
        test: whether it only shows that messages arrive.
    """

    target: str
    at: dt.datetime
    alarms: list[Told]
    test: bool = False


class TargetKind(enum.StrEnum):
    """How a target is told."""

    WEBHOOK = "webhook"
    """A POST of the message as JSON, signed as Standard Webhooks says."""
    DISCORD = "discord"
    """A POST to a Discord webhook."""
    MAIL = "mail"


class Mailer(Protocol):
    """Sends mail."""

    async def send(self, *, to: Sequence[str], subject: str, text: str, message_id: str) -> None:
        """Send a mail; it is accepted when this returns.

        Raises:
            FluxaError: `ProviderUnavailable` for what may pass, `ProviderRejected` or `ProviderUnauthorized` else.
        """
        ...


@dataclass(frozen=True, slots=True)
class Target:
    """Somebody who is told.

    Attributes:
        name: as settings name it.
        kind: how.
        endpoint: where to, for webhooks and Discord.
        mailer: sends, for mail.
        to: addresses, for mail.
        least: the least severity that is told.
    """

    name: str
    kind: TargetKind
    endpoint: HttpEndpoint | None = None
    mailer: Mailer | None = None
    to: tuple[str, ...] = ()
    least: Severity = Severity.WARNING

    def wants(self, severity: str) -> bool:
        """Whether it is told of alarms of this severity."""
        return self.least is Severity.WARNING or severity == Severity.CRITICAL


def told(rule: Rule, subject: str, notice: Notice, standing: Standing, *, runbook_url: str) -> Told:
    """What is said of an alarm."""
    return Told(
        notice=str(notice),
        alarm=rule.name,
        subject=subject,
        severity=str(rule.severity),
        title=rule.title,
        value=standing.value,
        threshold=rule.threshold,
        detail=standing.detail,
        cause=rule.cause,
        first_action=rule.action_for(subject),
        runbook=rule.runbook,
        runbook_url=link(rule.runbook, runbook_url),
        since=standing.unknown_since or standing.since,
    )


async def enqueue(
    producer: Producer,
    tx: Transaction | None,
    targets: Mapping[str, Severity],
    alarms: Sequence[Told],
    *,
    now: dt.datetime,
    test: bool = False,
) -> list[str]:
    """Put what is told into the queue, grouped; each target has its own records, in order.

    One that cannot be reached keeps no other waiting.

    Returns:
        The records' ids.

    Raises:
        FluxaError: what sending says; nothing is told then, and the caller's transaction must not commit.
    """
    ids: list[str] = []
    for name, least in targets.items():
        wanted = [one for one in alarms if least is Severity.WARNING or one.severity == Severity.CRITICAL]
        messages = [
            Message(target=name, at=now, alarms=wanted[first : first + _GROUP_MAX], test=test)
            for first in range(0, len(wanted), _GROUP_MAX)
        ]
        if messages:
            ids += await producer.send(QUEUE, messages, key=name, tx=tx)
    return ids


async def send_test(
    producer: Producer, targets: Mapping[str, Severity], *, by: str, now: dt.datetime, runbook_url: str = ""
) -> list[str]:
    """Send a marked message to everybody, the way that alarms go; returns the records' ids.

    Raises:
        FluxaError: `Refused`, if nobody is told of alarms; what sending says.
    """
    if not targets:
        raise FluxaError(ErrorCode.REFUSED, "Nobody is told of alarms: name somebody in the setting alarm_targets.")
    one = Told(
        notice=str(Notice.TEST),
        alarm="Test",
        subject="",
        severity=str(Severity.CRITICAL),
        title="A test, so that you know what an alarm looks like",
        value=None,
        threshold=0.0,
        detail=f"sent by {by}",
        cause="Somebody wants to see whether messages arrive.",
        first_action="Nothing: it has arrived.",
        runbook="dlq-triage",
        runbook_url=link("dlq-triage", runbook_url),
        since=now,
    )
    return await enqueue(producer, None, targets, [one], now=now, test=True)


class Delivery:
    """The handler of the queue `alarm_notify`."""

    def __init__(self, targets: Sequence[Target], clock: Clock) -> None:
        self._targets = {target.name: target for target in targets}
        self._clock = clock

    async def __call__(self, record: Record, info: JobInfo) -> Outcome | None:
        """Deliver one message. Raises as the ports do where the queue's policy should decide."""
        try:
            message = msgspec.json.decode(record.body, type=Message)
        except msgspec.DecodeError as error:
            raise FluxaError(ErrorCode.MALFORMED_MESSAGE, str(error)) from None
        target = self._targets.get(message.target)
        if target is None:
            there = ", ".join(self._targets) or "none"
            raise FluxaError(
                ErrorCode.CONFIGURATION, f"The settings have no alarm target {message.target} any more: {there}."
            )
        try:
            await self._deliver(target, message, record, info.attempt)
        except NotSentError as error:
            # Nothing was tried: no attempt counts, and it comes back when the way is free.
            return Snooze(self._clock.now() + dt.timedelta(seconds=error.retry_after_s or 1.0))
        return None

    async def _deliver(self, target: Target, message: Message, record: Record, attempt: int) -> None:
        if target.mailer is not None:
            await target.mailer.send(
                to=target.to, subject=headline(message), text=in_words(message), message_id=record.id
            )
            return
        if target.endpoint is None:
            raise FluxaError(ErrorCode.CONFIGURATION, f"The alarm target {target.name} says not where to send.")
        body = for_discord(message) if target.kind is TargetKind.DISCORD else for_webhook(message)
        await target.endpoint.deliver(
            Parcel(
                id=record.id,
                body=body,
                content_type="application/json",
                correlation_id=record.correlation_id,
                attempt=attempt,
            )
        )


def headline(message: Message) -> str:
    """The message in one line."""
    mark = "[test] " if message.test else ""
    first, *others = message.alarms
    of = f" ({first.subject})" if first.subject else ""
    more = f" and {len(others)} more" if others else ""
    return f"{mark}{first.notice.upper()} {first.severity}: {first.alarm}{of}{more}"


def in_words(message: Message) -> str:
    """The whole message for people, the most pressing first."""
    return "\n\n".join((*_mark(message), *map(_paragraph, message.alarms)))


def _mark(message: Message) -> list[str]:
    return ["This is a test: nothing is wrong."] if message.test else []


def _paragraph(one: Told) -> str:
    found = "not known" if one.value is None else f"{one.value:.4g}"
    lines = [
        _line(one),
        f"Found: {found}, bad beyond {one.threshold:g}; since {one.since.astimezone(dt.UTC):%Y-%m-%d %H:%M:%SZ}.",
    ]
    if one.detail:
        lines.append(f"Detail: {one.detail}")
    if one.notice not in (Notice.RESOLVED, Notice.KNOWN):
        lines += [f"Likely cause: {one.cause}", f"First action: {one.first_action}", f"Runbook: {one.runbook_url}"]
    return "\n".join(lines)


def _line(one: Told) -> str:
    of = f" ({one.subject})" if one.subject else ""
    return f"{one.notice.upper()} {one.severity}: {one.alarm}{of}: {one.title}"


def for_webhook(message: Message) -> bytes:
    """The body of a webhook: a type, a time and data, as Standard Webhooks recommends."""
    kind = "alarm.test" if message.test else f"alarm.{message.alarms[0].notice}"
    return json.encode({"type": kind, "timestamp": message.at, "data": message})


def for_discord(message: Message) -> bytes:
    """The body for Discord: within its limit, and nobody is pinged by what a message quotes."""
    return json.encode({"content": _within(message, _DISCORD_MAX_CHARS), "allowed_mentions": {"parse": []}})


def _within(message: Message, most: int) -> str:
    """A message in so many characters: the first alarms whole, of the others a line, or how many more there are."""
    alarms = message.alarms
    for whole in range(len(alarms), -1, -1):
        lines = [f"{_line(one)}. Runbook: {one.runbook_url}" for one in alarms[whole:]]
        text = "\n\n".join((*_mark(message), *map(_paragraph, alarms[:whole]), *(["\n".join(lines)] if lines else [])))
        if len(text) <= most:
            return text
    for shown in range(len(alarms), 0, -1):
        text = "\n".join((*_mark(message), *map(_line, alarms[:shown]), *_more(len(alarms) - shown)))
        if len(text) <= most:
            return text
    return "\n".join((*_mark(message), *_more(len(alarms))))


def _more(count: int) -> list[str]:
    return [f"And {count} more: fluxa alarm list"] if count else []
