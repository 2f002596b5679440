"""Triage: what is parked, split, isolated or handed out before a handler sees it."""

import datetime as dt

import msgspec
import pytest

from fluxa.kernel.errors import ErrorCode
from fluxa.queue.backend import Defect, Delivery
from fluxa.queue.outcome import Dead, Snooze
from fluxa.queue.policy import RetryPolicy
from fluxa.queue.record import Failure, Record
from fluxa.queue.worker.triage import SUSPECT_CRASHES, SUSPECT_GAP_S, triage

_NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
_POLICY = RetryPolicy(attempts_max=8)
_SNOOZED = Snooze(_NOW)


def _record(name: str, *, attempt: int = 0, code: str | None = None) -> Record:
    failure = Failure(code=code, detail="", first_at=_NOW, last_at=_NOW) if code else None
    return Record(id=name, body=b"{}", created_at=_NOW, attempt=attempt, failure=failure)


def _delivery(number: int, *records: Record, received: int = 1, defect: Defect | None = None) -> Delivery:
    return Delivery(
        queue="q",
        message_id=str(number),
        receipt=str(received),
        received_count=received,
        enqueued_at=_NOW,
        leased_until=_NOW,
        records=records,
        raw="{}",
        defect=defect,
    )


def test_healthy_messages_are_all_handed_out() -> None:
    deliveries = [_delivery(n, _record("a"), _record("b"), received=1 + n % 2) for n in range(5)]
    sorted_out = triage(deliveries, _POLICY, now=_NOW)
    assert sorted_out.work == tuple(deliveries)
    assert sorted_out.settle == ()
    assert sorted_out.alone is None


@pytest.mark.req("PIPE-3", "PIPE-9")
def test_what_cannot_be_read_is_parked_with_the_code_of_its_defect() -> None:
    defect = Defect(ErrorCode.HASH_MISMATCH, "altered")
    (settlement,) = triage([_delivery(1, defect=defect)], _POLICY, now=_NOW).settle
    assert settlement.outcomes == (Dead("HashMismatch", "altered"),)


@pytest.mark.req("QUEUE-3")
def test_a_record_whose_workers_died_as_often_as_it_may_be_tried_is_parked() -> None:
    delivery = _delivery(1, _record("a", attempt=3), received=6)
    (settlement,) = triage([delivery], _POLICY, now=_NOW).settle
    (outcome,) = settlement.outcomes
    assert isinstance(outcome, Dead)
    assert outcome.code == ErrorCode.HANDLER_CRASH
    assert triage([_delivery(1, _record("a", attempt=3), received=5)], _POLICY, now=_NOW).alone is not None


@pytest.mark.req("QUEUE-3", "QUEUE-4")
def test_several_records_that_crashed_twice_are_split_and_only_the_worn_out_one_is_parked() -> None:
    delivery = _delivery(1, _record("a"), _record("b", attempt=6), _record("c"), received=3)
    (settlement,) = triage([delivery], _POLICY, now=_NOW).settle
    first, second, third = settlement.outcomes
    assert (first, third) == (_SNOOZED, _SNOOZED)
    assert isinstance(second, Dead)


@pytest.mark.req("QUEUE-3", "QUEUE-4")
def test_of_several_suspects_one_is_worked_on_alone_and_the_others_are_given_back() -> None:
    healthy = _delivery(1, _record("a"))
    suspects = [
        _delivery(2, _record("b"), received=3),
        _delivery(3, _record("c", attempt=2, code=ErrorCode.HANDLER_CRASH)),
        _delivery(4, _record("d"), received=4),
    ]
    sorted_out = triage([healthy, *suspects], _POLICY, now=_NOW)
    assert sorted_out.work == (healthy,)
    assert sorted_out.alone == suspects[0]
    assert [one.delivery for one in sorted_out.settle] == suspects[1:]
    # One after another: together, all but one would only be put off again.
    gaps = [dt.timedelta(seconds=SUSPECT_GAP_S * number) for number in (1, 2)]
    assert [one.outcomes for one in sorted_out.settle] == [(Snooze(_NOW + gap),) for gap in gaps]


@pytest.mark.req("QUEUE-3")
def test_a_suspect_whose_turn_it_is_not_is_given_back_like_the_others() -> None:
    suspects = [_delivery(2, _record("b"), received=3), _delivery(3, _record("c"), received=3)]
    found = triage(suspects, _POLICY, now=_NOW).put_off(_NOW)
    assert found.alone is None
    assert [one.delivery for one in found.settle] == [suspects[1], suspects[0]]
    assert found.put_off(_NOW) is found


def test_a_record_that_failed_without_a_crash_is_no_suspect() -> None:
    delivery = _delivery(1, _record("a", attempt=5, code=ErrorCode.DB_CONNECTION_ERROR))
    assert triage([delivery], _POLICY, now=_NOW).work == (delivery,)


@pytest.mark.req("QUEUE-3")
@pytest.mark.parametrize("envelope", [1, 40])
@pytest.mark.parametrize("killers", [1, 3])
def test_poison_ends_in_the_dead_letters_and_takes_nobody_along(envelope: int, killers: int) -> None:
    """Plays the queue: claims up to ten messages, and dies whenever a killer is worked on."""
    names = [f"k{n}" for n in range(killers)] + [f"r{n}" for n in range(80)]
    records = [_record(name) for name in names]
    queue = [_delivery(n, *records[n : n + envelope]) for n in range(0, len(records), envelope)]
    done: set[str] = set()
    dead: set[str] = set()
    rounds = 0
    while queue:
        rounds += 1
        assert rounds < 3000
        claimed, queue = queue[:10], queue[10:]
        sorted_out = triage(claimed, _POLICY, now=_NOW)
        for settlement in sorted_out.settle:
            for record, outcome in zip(settlement.delivery.records, settlement.outcomes, strict=True):
                if isinstance(outcome, Dead):
                    dead.add(record.id)
                else:
                    queue.append(_again(record, settlement.delivery.received_count - 1))
        batches = [sorted_out.work, (sorted_out.alone,) if sorted_out.alone else ()]
        for position, batch in enumerate(batches):
            if any(record.id.startswith("k") for delivery in batch for record in delivery.records):
                lost = [delivery for rest in batches[position:] for delivery in rest]
                queue += [_received(one) for one in lost]
                break
            done |= {record.id for delivery in batch for record in delivery.records}
    assert dead == {name for name in names if name.startswith("k")}
    assert done == set(names) - dead


def _again(record: Record, crashes: int) -> Delivery:
    failed = record
    if crashes:
        failure = Failure(code=ErrorCode.HANDLER_CRASH, detail="", first_at=_NOW, last_at=_NOW)
        failed = msgspec.structs.replace(record, attempt=record.attempt + crashes, failure=failure)
    return _delivery(0, failed)


def _received(delivery: Delivery) -> Delivery:
    return _delivery(0, *delivery.records, received=delivery.received_count + 1)


@pytest.mark.req("QUEUE-5")
def test_in_an_ordered_queue_suspects_that_share_a_message_are_handed_out_alone_together() -> None:
    several = _delivery(1, _record("a"), _record("b"), received=SUSPECT_CRASHES + 1)
    other = _delivery(2, _record("c"), _record("d"), received=SUSPECT_CRASHES + 1)
    sorted_out = triage([several, other], _POLICY, now=_NOW, ordered=True)
    assert sorted_out.alone == several
    assert [(one.delivery, len(one.outcomes)) for one in sorted_out.settle] == [(other, 2)]
    assert all(isinstance(outcome, Snooze) for one in sorted_out.settle for outcome in one.outcomes)
