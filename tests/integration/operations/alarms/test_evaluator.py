"""Alarms on a real Postgres: faults are measured, told once through the queue, taken on, silenced, and resolved."""

import dataclasses
from pathlib import Path

import pytest

from fluxa.auth.audit import Act
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.kernel.ids import Tenant
from fluxa.operations.alarms.load import DatabaseLoad
from fluxa.operations.alarms.rule import Rule
from fluxa.operations.alarms.rules import RULES
from fluxa.operations.alarms.samples import FAILED, REQUESTS, SERVER_ERRORS, WORKED
from fluxa.operations.ledger import Ledger
from fluxa.operations.ledger.sinks.cursors import Cursors
from fluxa.operations.ledger.sinks.files import FileSink
from fluxa.operations.ledger.sinks.sending import Sending, SendingConfig
from fluxa.postgres.pool import Database
from fluxa.telemetry.catalogue import AlarmTold
from integration.operations.alarms.standing import CLOCK, Stand
from making.stack import until


def of(*names: str) -> list[Rule]:
    return [rule for rule in RULES if rule.name in names]


@pytest.mark.req("ALARM-2")
async def test_a_parked_record_is_told_once_with_its_runbook_and_resolved_when_it_is_gone(stand: Stand) -> None:
    evaluator = stand.evaluator()
    assert await evaluator.evaluate()
    assert await stand.alarm("DLQDepth", "jobs") is None
    await stand.bury(ErrorCode.SCHEMA_VALIDATION)
    await evaluator.evaluate()
    await evaluator.evaluate()
    alarm = await stand.alarm("DLQDepth", "jobs")
    assert alarm is not None
    assert (alarm.standing.phase, alarm.standing.value) == ("firing", 1.0)
    told = [one for message in await stand.messages() for one in message["alarms"] if one["alarm"] == "DLQDepth"]
    (one,) = told
    assert one["notice"] == "firing"
    assert one["runbook"] == "dlq-triage"
    assert one["runbook_url"] == "https://books.example/dlq-triage"
    assert "--queue jobs" in one["first_action"]
    assert "SchemaValidation" in one["detail"]
    await stand.database.execute("delete from pgmq.q_jobs_dlq")
    await evaluator.evaluate()
    assert await stand.alarm("DLQDepth", "jobs") is None
    told = [one for message in await stand.messages() for one in message["alarms"] if one["alarm"] == "DLQDepth"]
    assert [one["notice"] for one in told] == ["resolved"]
    assert [one.what for one in await stand.store.history("DLQDepth")] == ["resolved", "firing"]


@pytest.mark.req("ALARM-5")
async def test_a_tampered_record_goes_to_the_pager_too_and_a_deep_queue_does_not(database: Database) -> None:
    stand = Stand(database, of("TamperedRecords", "QueueDepthHigh"))
    for spec in stand.registry:
        await stand.backend.create(spec.name)
    await stand.bury(ErrorCode.HASH_MISMATCH)
    await stand.producer.send("jobs", [b"1", b"2", b"3"])
    await stand.evaluator().evaluate()
    by_target = {message["target"]: {one["alarm"] for one in message["alarms"]} for message in await stand.messages()}
    assert by_target == {"chat": {"TamperedRecords", "QueueDepthHigh"}, "pager": {"TamperedRecords"}}


@pytest.mark.req("SEC-3", "ALARM-5")
async def test_a_sink_that_takes_nothing_is_told_until_all_has_arrived(database: Database, tmp_path: Path) -> None:
    (rule,) = of("AuditSinkLag")
    stand = Stand(database, [dataclasses.replace(rule, threshold=0.05, clear_at=None)])
    for spec in stand.registry:
        await stand.backend.create(spec.name)
    stand.sinks = ["archive"]
    cursors, evaluator = Cursors(database), stand.evaluator()
    sending = Sending(
        "archive",
        FileSink(tmp_path / "log", rotate_bytes=0, stamp=lambda: "now"),
        cursors,
        holder="one",
        config=SendingConfig(),
        clock=CLOCK,
        hook=stand.signals.hear,
        chance=lambda: 0.0,
    )
    await evaluator.evaluate()
    assert await stand.alarm("AuditSinkLag", "archive") is None, "there is nothing to send"
    async with database.transaction() as tx:
        await Ledger(database).record(tx, Act(Tenant("acme"), "user:7", "thing.changed", "thing:1", {}))
    (tmp_path / "log").mkdir()
    with pytest.raises(FluxaError) as caught:
        await sending.send()

    async def late() -> bool:
        return (await cursors.standings(["archive"]))[0].oldest_s > 0.05

    await until(late)
    await evaluator.evaluate()
    (tmp_path / "log").rmdir()
    assert await sending.send() == 1
    await evaluator.evaluate()
    told = [one for message in await stand.messages() for one in message["alarms"]]
    assert [(one["subject"], one["notice"], one["runbook"]) for one in told] == [
        ("archive", "firing", "audit-sink-lag"),
        ("archive", "resolved", "audit-sink-lag"),
    ]
    assert told[0]["detail"] == f"1 entries wait; it last failed with {caught.value.code}"


@pytest.mark.req("ALARM-1", "ALARM-3")
async def test_shares_are_of_all_processes_and_survive_a_restart(stand: Stand) -> None:
    evaluator = stand.evaluator()
    await stand.count("p1", "processor", {WORKED: 1000, FAILED: 0})
    await stand.count("q1", "query", {REQUESTS: 100, SERVER_ERRORS: 5})
    await stand.count("p2", "processor", {WORKED: 10, FAILED: 10})
    await evaluator.evaluate()
    errors, requests = await stand.alarm("ProcessorErrorRate"), await stand.alarm("APIGateway5xx", "query")
    assert errors is None  # 10 of 1010 is below one percent
    assert requests is not None
    assert requests.standing.value == 5.0
    await stand.count("p3", "processor", {WORKED: 10, FAILED: 10})  # p2 began again, and counts from nothing
    await evaluator.evaluate()
    errors = await stand.alarm("ProcessorErrorRate")
    assert errors is not None
    assert errors.standing.value == pytest.approx(100 * 20 / 1020)


async def test_too_little_work_is_not_judged(stand: Stand) -> None:
    await stand.count("p1", "processor", {WORKED: 3, FAILED: 3})
    await stand.evaluator().evaluate()
    assert await stand.alarm("ProcessorErrorRate") is None


@pytest.mark.req("ALARM-5")
async def test_a_process_that_says_goodbye_is_not_missed_and_one_that_falls_silent_is(stand: Stand) -> None:
    await stand.count("a", "worker", {})
    await stand.count("b", "query", {}, ended=True)
    await stand.database.execute("update fluxa.process_samples set at = at - interval '1 minute'")
    evaluator = stand.evaluator()
    await evaluator.evaluate()
    alarm = await stand.alarm("ProcessSilent", "worker")
    assert alarm is not None
    assert alarm.standing.phase == "firing"
    assert "pid" in alarm.standing.detail
    assert await stand.alarm("ProcessSilent", "query") is None
    await stand.count("c", "worker", {})  # began after the other was last heard of
    await evaluator.evaluate()
    assert await stand.alarm("ProcessSilent", "worker") is None


@pytest.mark.req("ALARM-4")
async def test_a_busy_database_is_measured_by_its_processes_and_its_queries_are_named(stand: Stand) -> None:
    load = DatabaseLoad(stand.database, clock=CLOCK)
    first = await load.read()
    assert first.percent is None
    await stand.database.fetch_value("select count(*) from generate_series(1, 3000000)")
    second = await load.read()
    assert second.percent is not None
    assert second.percent > 1.0


async def test_what_cannot_be_measured_is_told_as_not_known_and_resolves_nothing(stand: Stand) -> None:
    evaluator = stand.evaluator()
    await stand.bury(ErrorCode.SCHEMA_VALIDATION)
    await stand.count("a", "worker", {})
    await stand.database.execute("update fluxa.process_samples set at = at - interval '1 minute'")
    await evaluator.evaluate()
    await stand.messages()
    await stand.database.execute("alter table fluxa.process_samples rename to elsewhere")
    await evaluator.evaluate()
    alarm = await stand.alarm("ProcessSilent", "worker")
    assert alarm is not None
    assert (alarm.standing.phase, alarm.standing.value) == ("firing", None)
    assert alarm.standing.unknown_since is not None
    told = [one for message in await stand.messages() for one in message["alarms"]]
    assert {one["notice"] for one in told if one["alarm"] == "ProcessSilent"} == {"unknown"}
    await stand.database.execute("alter table fluxa.elsewhere rename to process_samples")
    await evaluator.evaluate()
    told = [one for message in await stand.messages() for one in message["alarms"]]
    assert {one["notice"] for one in told if one["alarm"] == "ProcessSilent"} == {"known"}


@pytest.mark.req("ALARM-3")
async def test_of_a_service_that_falls_silent_while_it_fails_nobody_says_that_it_is_well(stand: Stand) -> None:
    evaluator = stand.evaluator()
    await stand.count("a", "query", {REQUESTS: 100, SERVER_ERRORS: 90})
    await stand.count("b", "ingest", {REQUESTS: 100, SERVER_ERRORS: 90})
    await evaluator.evaluate()
    await stand.count("b", "ingest", {REQUESTS: 100, SERVER_ERRORS: 90}, ended=True)
    await stand.database.execute("update fluxa.process_samples set at = at - interval '10 minutes'")
    await evaluator.evaluate()
    failing = await stand.alarm("APIGateway5xx", "query")
    assert failing is not None
    assert (failing.standing.phase, failing.standing.value) == ("firing", None)
    assert "Nothing was heard of it" in failing.standing.detail
    assert await stand.alarm("APIGateway5xx", "ingest") is None  # it was ended in order, and fails no more
    told = [one for message in await stand.messages() for one in message["alarms"] if one["alarm"] == "APIGateway5xx"]
    found = {(one["subject"], one["notice"]) for one in told}
    assert found == {("query", "firing"), ("ingest", "firing"), ("query", "unknown"), ("ingest", "resolved")}


async def test_an_alarm_that_is_turned_off_while_it_fires_is_told_to_be_over_and_an_unknown_one_is_forgotten(
    stand: Stand,
) -> None:
    stand.look_at("DLQDepth")
    await stand.bury(ErrorCode.SCHEMA_VALIDATION)
    await stand.evaluator().evaluate()
    await stand.database.execute(
        "insert into fluxa.alarms (alarm, subject, phase, since, detail, told_unknown, updated_at)"
        " values ('OfAnOlderVersion', '', 'firing', now(), '', false, now())"
    )
    stand.rules = [dataclasses.replace(rule, enabled=False, clear_after_s=60.0) for rule in stand.rules]
    await stand.evaluator().evaluate()
    assert await stand.store.all() == []
    told = [one for message in await stand.messages() for one in message["alarms"]]
    assert [(one["alarm"], one["notice"], one["detail"]) for one in told] == [
        ("DLQDepth", "firing", "1 SchemaValidation"),
        ("DLQDepth", "resolved", "The settings turned it off."),
    ]


async def test_one_evaluator_looks_and_another_takes_over_when_it_leaves(stand: Stand) -> None:
    one, two = stand.evaluator("one"), stand.evaluator("two")
    assert await one.evaluate()
    assert not await two.evaluate()
    assert await one.evaluate()
    await one.start()
    await one.stop()
    assert await two.evaluate()
    assert not await one.evaluate()


async def test_nothing_is_written_if_the_message_cannot_be(stand: Stand) -> None:
    await stand.bury(ErrorCode.SCHEMA_VALIDATION)
    await stand.database.execute("alter table pgmq.q_alarm_notify rename to elsewhere")
    with pytest.raises(FluxaError):
        await stand.evaluator().evaluate()
    assert await stand.store.all() == []
    assert await stand.store.history() == []
    await stand.database.execute("alter table pgmq.elsewhere rename to q_alarm_notify")
    await stand.evaluator().evaluate()
    assert await stand.messages()


async def test_what_is_taken_on_is_not_repeated_and_what_is_given_back_is(stand: Stand) -> None:
    evaluator = stand.evaluator(repeat_s=0.0)
    await stand.bury(ErrorCode.SCHEMA_VALIDATION)
    await evaluator.evaluate()
    with pytest.raises(FluxaError, match="Nothing of QueueDepthHigh fires"):
        await stand.store.ack("QueueDepthHigh", None, by="key:1")
    assert await stand.store.ack("DLQDepth", None, by="key:1", note="looking") == ["jobs"]
    await stand.messages()
    await evaluator.evaluate()
    assert not [one for one in await stand.messages() if one["alarms"][0]["alarm"] == "DLQDepth"]
    assert await stand.store.unack("DLQDepth", "jobs", by="key:1") == ["jobs"]
    await evaluator.evaluate()
    told = [one for message in await stand.messages() for one in message["alarms"] if one["alarm"] == "DLQDepth"]
    assert [one["notice"] for one in told] == ["repeated"]
    assert [act.action for act in stand.recorder.acts] == ["alarm.acknowledged", "alarm.unacknowledged"]


async def test_a_silence_that_ends_lets_what_still_fires_be_told(database: Database) -> None:
    stand = Stand(database, of("DLQDepth"))
    for spec in stand.registry:
        await stand.backend.create(spec.name)
    evaluator = stand.evaluator()
    made = await stand.store.silence("DLQDepth", None, by="key:1", reason="we know", for_s=600)
    await stand.bury(ErrorCode.SCHEMA_VALIDATION)
    await evaluator.evaluate()
    alarm = await stand.alarm("DLQDepth", "jobs")
    assert alarm is not None
    assert alarm.standing.phase == "firing"
    assert not await stand.messages()
    await stand.store.unsilence(made.silence_id, by="key:1")
    await evaluator.evaluate()
    assert [one.notice for one in stand.signals.heard if isinstance(one, AlarmTold)] == ["firing"]
    assert await stand.messages()
    for reason, for_s in (("", 60.0), ("x", 0.0), ("x", 1e9)):
        with pytest.raises(FluxaError):
            await stand.store.silence(None, None, by="key:1", reason=reason, for_s=for_s)
    assert [act.action for act in stand.recorder.acts] == ["alarm.silenced", "alarm.unsilenced"]
