"""Messages of alarms on their way to people: over real HTTP and SMTP, through outages, once each and in order."""

import asyncio
import contextlib
import datetime as dt
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from svix.webhooks import Webhook

from fluxa.apps.operations.alarms import open_targets
from fluxa.apps.settings import Settings
from fluxa.apps.settings.tables.alarms import AlarmTarget
from fluxa.kernel.errors import ErrorCode
from fluxa.kernel.lifecycle import Lifetime
from fluxa.operations.alarms.notices import QUEUE
from fluxa.operations.alarms.rule import Severity
from fluxa.queue.backend import DeadLetterFilter
from fluxa.telemetry.catalogue import MaintenanceFinished, silent
from integration.operations.alarms.mail_server import MailServer, mail_server
from integration.operations.alarms.standing import CLOCK, Stand
from integration.providers.receivers import Behaviour, Receiver, answering, certificate, receiver
from making.stack import until

pytestmark = pytest.mark.req("ALARM-2", "ALARM-5")

SECRET = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"  # noqa: S105 - a test's


def hook(server: Receiver) -> AlarmTarget:
    return AlarmTarget(kind="webhook", url=server.url, secrets=(SECRET,), allow_private=True)


def chat(server: Receiver) -> AlarmTarget:
    return AlarmTarget(kind="discord", url=server.url, allow_private=True)


def mail(server: MailServer, **more: Any) -> AlarmTarget:  # noqa: ANN401 - fields of several types
    given = {"security": "none", "sender": "fluxa@example.com", "to": ("ops@example.com",), **more}
    return AlarmTarget(kind="mail", host="127.0.0.1", port=server.port, **given)


@contextlib.asynccontextmanager
async def delivering(stand: Stand, **targets: AlarmTarget) -> AsyncIterator[Mapping[str, Severity]]:
    """A process that delivers to targets as the settings name them."""
    life = Lifetime()
    opened = await open_targets(life, Settings(alarm_targets=targets), clock=CLOCK, hook=silent)
    try:
        async with stand.delivering(opened):
            yield {name: one.least for name, one in targets.items()}
    finally:
        await life.stop()


def in_turn(*behaviours: Behaviour) -> Behaviour:
    """Does one thing after another, and the last one for good."""
    left = list(behaviours)

    async def behave(received: Any, writer: asyncio.StreamWriter) -> None:  # noqa: ANN401 - as Behaviour
        await (left.pop(0) if len(left) > 1 else left[0])(received, writer)

    return behave


async def hang_up(_received: object, writer: asyncio.StreamWriter) -> None:
    """The connection ends without an answer."""
    writer.transport.abort()


def told(server: Receiver) -> list[tuple[str, str]]:
    """What a webhook was told, alarms and notices in order; each has a signature that another maker's kit accepts."""
    found = []
    for one in server.received:
        Webhook(SECRET).verify(one.body, one.headers)
        found += [(alarm["alarm"], alarm["notice"]) for alarm in json.loads(one.body)["data"]["alarms"]]
    return found


async def test_everybody_is_told_once_what_it_is_why_and_what_to_do(stand: Stand, tmp_path: Path) -> None:
    stand.look_at("DLQDepth")
    shown = certificate(tmp_path, "127.0.0.1")
    async with (
        receiver(answering()) as hooked,
        receiver(answering()) as chatting,
        mail_server(tls=shown.server, login=("fluxa", "hush")) as mailing,
    ):
        by_mail = mail(
            mailing,
            security="starttls",
            username="fluxa",
            password="hush",  # noqa: S106 - a test's
            ca_file=str(shown.authority_file),
        )
        async with delivering(stand, hook=hook(hooked), chat=chat(chatting), mail=by_mail) as targets:
            evaluator = stand.evaluator(targets=targets)
            await stand.bury(ErrorCode.SCHEMA_VALIDATION)
            for _ in range(5):
                await evaluator.evaluate()
            await stand.bury(ErrorCode.SCHEMA_VALIDATION)  # worse is no news: it fires already
            await evaluator.evaluate()
            await stand.delivered()
        assert told(hooked).count(("DLQDepth", "firing")) == 1
        said = "\n".join(json.loads(one.body)["content"] for one in chatting.received)
        written = "\n".join(one.get_content() for one in mailing.mails)
        for text in (said, written):
            assert text.count("FIRING warning: DLQDepth (jobs): Dead letters wait for a person") == 1
            assert "Likely cause: A record that cannot be processed" in text
            assert "First action: See why they were parked: fluxa dlq list --queue jobs." in text
            assert "Runbook: https://books.example/dlq-triage" in text
        assert all(json.loads(one.body)["allowed_mentions"] == {"parse": []} for one in chatting.received)
        first = mailing.mails[0]
        assert (first["to"], first["from"]) == ("ops@example.com", "fluxa@example.com")
        assert "DLQDepth (jobs)" in first["subject"]
        assert mailing.commands[:4] == ["EHLO", "STARTTLS", "EHLO", "AUTH"]


async def test_an_outage_loses_no_message_keeps_their_order_and_nobody_else_waiting(stand: Stand) -> None:
    stand.look_at("DLQDepth")
    free = asyncio.Event()

    async def refuse_until_free(received: Any, writer: asyncio.StreamWriter) -> None:  # noqa: ANN401 - as Behaviour
        await (answering() if free.is_set() else answering("503 Service Unavailable"))(received, writer)

    down = in_turn(hang_up, answering("429 Slow", retry_after="0"), refuse_until_free)
    async with receiver(down) as hooked, receiver(answering()) as chatting, mail_server() as mailing:
        mailing.answers = ["451 later", "421 busy"]
        async with delivering(stand, hook=hook(hooked), chat=chat(chatting), mail=mail(mailing)) as targets:
            evaluator = stand.evaluator(targets=targets)
            await stand.bury(ErrorCode.SCHEMA_VALIDATION)
            await evaluator.evaluate()
            await until(lambda: len(hooked.received) >= 2)
            await stand.database.execute("delete from pgmq.q_jobs_dlq")
            await evaluator.evaluate()
            await until(lambda: len(chatting.received) == 2 and len(mailing.mails) == 2)  # they wait for nobody
            assert not any("resolved" in one.body.decode() for one in hooked.received)
            free.set()
            await stand.delivered()
    heard = told(hooked)
    assert heard[:-1] == [("DLQDepth", "firing")] * (len(heard) - 1)
    assert heard[-1] == ("DLQDepth", "resolved")
    ids = [one.headers["webhook-id"] for one in hooked.received]
    assert len(set(ids)) == 2  # a repetition bears the same name
    assert ["FIRING" in one["subject"] for one in mailing.mails] == [True, False]
    assert not await stand.backend.dead_letters(QUEUE, DeadLetterFilter(), limit=10)


async def test_what_is_refused_for_good_is_parked_and_told_to_the_others(stand: Stand) -> None:
    stand.look_at("DLQDepth")
    async with receiver(answering("404 Not Found")) as gone, receiver(answering()) as hooked:
        async with delivering(stand, chat=chat(gone), hook=hook(hooked)) as targets:
            evaluator = stand.evaluator(targets=targets)
            await stand.bury(ErrorCode.SCHEMA_VALIDATION)
            await evaluator.evaluate()
            await stand.delivered()
            await evaluator.evaluate()
            await stand.delivered()
        letters = await stand.backend.dead_letters(QUEUE, DeadLetterFilter(), limit=10)
        assert {one.code for one in letters} == {ErrorCode.PROVIDER_REJECTED}
        alarm = await stand.alarm("DLQDepth", QUEUE)
        assert alarm is not None
        assert alarm.standing.phase == "firing"
        assert ("DLQDepth", "firing") in told(hooked)


async def test_a_mail_server_that_refuses_the_login_or_the_address_parks_the_message(stand: Stand) -> None:
    stand.look_at("DLQDepth")
    async with mail_server(login=("fluxa", "hush")) as closed, mail_server() as picky:
        picky.answers = ["550 no such sender"]
        async with delivering(stand, closed=mail(closed), picky=mail(picky)) as targets:
            await stand.bury(ErrorCode.SCHEMA_VALIDATION)
            await stand.evaluator(targets=targets).evaluate()
            await stand.delivered()
        letters = await stand.backend.dead_letters(QUEUE, DeadLetterFilter(), limit=10)
        assert len(letters) == 2
        assert not closed.mails + picky.mails


async def test_when_everything_fails_at_once_a_few_messages_tell_all_of_it(stand: Stand) -> None:
    stand.look_at("ProcessSilent")
    for number in range(30):
        await stand.count(f"p{number}", f"service_{number:02}", {})
    await stand.database.execute("update fluxa.process_samples set at = at - interval '1 minute'")
    async with receiver(answering()) as hooked, receiver(answering()) as chatting:
        async with delivering(stand, hook=hook(hooked), chat=chat(chatting)) as targets:
            evaluator = stand.evaluator(targets=targets)
            for _ in range(3):
                await evaluator.evaluate()
            await stand.delivered()
        assert told(hooked).count(("ProcessSilent", "firing")) == 30
        assert len(hooked.received) <= 4
        said = [json.loads(one.body)["content"] for one in chatting.received]
        assert all(len(one) <= 2000 for one in said)
        named = sum(one.count("ProcessSilent (service_") for one in said)
        unnamed = sum(int(one.split("And ")[1].split(" more")[0]) for one in said if "And " in one)
        assert named + unnamed >= 30


@pytest.mark.req("ALARM-5")
async def test_a_silence_ends_by_itself_and_what_still_fires_is_told_then(stand: Stand) -> None:
    stand.look_at("DLQDepth")
    async with receiver(answering()) as hooked, delivering(stand, hook=hook(hooked)) as targets:
        evaluator = stand.evaluator(targets=targets, period_s=0.2)
        made = await stand.store.silence(None, None, by="mia", reason="we know", for_s=3.0)
        await stand.bury(ErrorCode.SCHEMA_VALIDATION)
        await evaluator.start()
        try:
            await until(lambda: ("DLQDepth", "firing") in told(hooked))
        finally:
            await evaluator.stop()
        at = next(json.loads(one.body)["timestamp"] for one in hooked.received)
        assert at >= made.ends_at.isoformat().replace("+00:00", "Z")[:23]
        assert await stand.store.silences() == []
        assert [one.what for one in await stand.store.history("DLQDepth")] == ["firing"]


async def test_what_is_taken_on_is_repeated_no_more(stand: Stand) -> None:
    stand.look_at("DLQDepth")
    async with receiver(answering()) as hooked, delivering(stand, hook=hook(hooked)) as targets:
        evaluator = stand.evaluator(targets=targets, repeat_s=0.0)
        await stand.bury(ErrorCode.SCHEMA_VALIDATION)
        for _ in range(3):
            await evaluator.evaluate()
        await stand.delivered()
        heard = [notice for alarm, notice in told(hooked) if alarm == "DLQDepth"]
        assert heard == ["firing", "repeated", "repeated"]
        await stand.store.ack("DLQDepth", None, by="mia")
        for _ in range(3):
            await evaluator.evaluate()
        await stand.database.execute("delete from pgmq.q_jobs_dlq")
        await evaluator.evaluate()
        await stand.delivered()
        heard = [notice for alarm, notice in told(hooked) if alarm == "DLQDepth"]
        assert heard == ["firing", "repeated", "repeated", "resolved"]


async def test_two_stations_tell_of_a_change_once_though_one_of_them_dies(stand: Stand) -> None:
    stand.look_at("DLQDepth")
    async with (
        receiver(answering()) as hooked,
        delivering(stand, hook=hook(hooked)) as targets,
        delivering(stand, hook=hook(hooked)),
    ):
        one, two = (stand.evaluator(name, targets=targets) for name in ("one", "two"))
        await stand.bury(ErrorCode.SCHEMA_VALIDATION)
        turns = [await asyncio.gather(one.evaluate(), two.evaluate()) for _ in range(5)]
        assert all(sorted(turn) == [False, True] for turn in turns)
        await stand.delivered()
        assert told(hooked).count(("DLQDepth", "firing")) == 1
        leader, other = (one, two) if turns[0][0] else (two, one)
        await stand.database.execute("update fluxa.alarm_turns set at = at - interval '1 minute'")  # it is dead
        await stand.database.execute("delete from pgmq.q_jobs_dlq")
        assert await other.evaluate()
        assert not await leader.evaluate()  # it comes back, and is not the leader any more
        await stand.delivered()
        heard = [notice for alarm, notice in told(hooked) if alarm == "DLQDepth"]
        assert heard == ["firing", "resolved"]


async def test_watchdogs_hear_of_each_look_though_another_hangs_and_of_none_that_failed(stand: Stand) -> None:
    beaten: list[str] = []
    hanging = asyncio.Event()

    async def well() -> None:
        beaten.append("well")

    async def hangs() -> None:
        beaten.append("hangs")
        await hanging.wait()

    turn = "select at from fluxa.alarm_turns"

    def later_than(moment: dt.datetime) -> Callable[[], Awaitable[bool]]:
        async def later() -> bool:
            return bool(await stand.database.fetch_value(turn) > moment)

        return later

    evaluator = stand.evaluator(period_s=0.2, beats={"hangs": hangs, "well": well})
    await evaluator.start()
    try:
        await until(lambda: beaten.count("well") >= 3)
        assert beaten.count("hangs") == 1
        await stand.database.execute("alter table fluxa.alarms rename to elsewhere")
        await stand.signals.wait_for(MaintenanceFinished, lambda one: one.task == "alarms")
        heard = beaten.count("well")
        for _ in range(3):  # looks that are begun, and fail
            begun = await stand.database.fetch_value(turn)
            await until(later_than(begun))
        assert beaten.count("well") == heard
        await stand.database.execute("alter table fluxa.elsewhere rename to alarms")
        await until(lambda: beaten.count("well") > heard)
    finally:
        await evaluator.stop()
