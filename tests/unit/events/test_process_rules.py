"""What the processor decides without waiting."""

import asyncio
import datetime as dt

import pytest

from fluxa.events.process import rules
from fluxa.events.process.solitude import Solitude
from fluxa.kernel.errors import ErrorCode
from fluxa.queue.backend import Delivery
from fluxa.queue.outcome import Dead, Retry
from fluxa.queue.policy import RetryPolicy
from fluxa.queue.record import Record

NOW = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)


def delivery(records: int) -> Delivery:
    record = Record(id="r", body=b"", created_at=NOW)
    return Delivery("events", "1", "1", 1, NOW, NOW, (record,) * records, "")


@pytest.mark.req("PIPE-9")
def test_a_crash_counts_as_an_attempt() -> None:
    policy = RetryPolicy(attempts_max=3)
    record = Record(id="r", body=b"", created_at=NOW, attempt=1)

    def outcome(received_count: int, code: str = "HandlerError") -> object:
        return rules.decide(record, received_count, code, "", policy=policy, now=NOW, chance=0.5)

    assert isinstance(outcome(1), Retry)
    assert isinstance(outcome(2), Dead)
    assert isinstance(outcome(1, ErrorCode.HASH_MISMATCH), Dead)


def test_deliveries_are_grouped_up_to_the_records_of_a_transaction() -> None:
    sizes = [len(group) for group in rules.batches([delivery(n) for n in (3, 3, 3, 20, 0, 1)], 6)]
    assert sizes == [2, 1, 1, 2]
    assert not list(rules.batches([], 6))


@pytest.mark.parametrize(("messages", "records", "limit"), [(0, 0, 16), (10, 10, 64), (16, 16_000, 4), (1, 9_000, 1)])
def test_the_next_claim_goes_by_the_size_of_the_last(messages: int, records: int, limit: int) -> None:
    assert rules.next_limit(messages, records, records_aim=4000, limit_max=64) == limit


@pytest.mark.parametrize(
    ("records", "hurried"), [(0, False), (1, False), (7, False), (8, True), (499, True), (500, False)]
)
def test_a_lane_lingers_only_when_a_crowd_comes_in_small_parts(records: int, *, hurried: bool) -> None:
    assert rules.is_hurried(records, records_aim=4000) is hurried


def test_only_what_a_row_can_bring_about_is_its_fault() -> None:
    assert rules.is_fault_of_data(ErrorCode.DB_REJECTED, "22023")
    assert rules.is_fault_of_data(ErrorCode.DB_REJECTED, "54000")
    assert not rules.is_fault_of_data(ErrorCode.DB_REJECTED, "42501")
    assert not rules.is_fault_of_data(ErrorCode.DB_REJECTED, None)
    assert not rules.is_fault_of_data(ErrorCode.DB_CONNECTION_ERROR, "22023")


def test_an_arrival_is_neither_before_our_time_nor_after_tomorrow() -> None:
    assert rules.is_plausible_arrival(NOW, NOW)
    assert not rules.is_plausible_arrival(NOW + dt.timedelta(days=2), NOW)
    assert not rules.is_plausible_arrival(NOW.replace(year=1999), NOW)
    assert not rules.is_plausible_arrival(NOW.replace(tzinfo=None), NOW)


@pytest.mark.req("QUEUE-3")
def test_of_two_lanes_with_a_suspect_each_only_one_gets_the_time_alone() -> None:
    solitude = Solitude(2)
    with solitude.reserved(wanted=True) as first, solitude.reserved(wanted=True) as second:
        assert (first, second) == (True, False)
    with solitude.reserved(wanted=False) as unwanted, solitude.reserved(wanted=True) as third:
        assert (unwanted, third) == (False, True)


async def test_one_lane_alone_waits_for_the_others_and_keeps_them_waiting() -> None:
    solitude = Solitude(2)
    order: list[str] = []
    release = asyncio.Event()

    async def together(name: str) -> None:
        async with solitude.together():
            order.append(name)
            await release.wait()

    async def alone(name: str) -> None:
        async with solitude.alone():
            order.append(name)

    first = asyncio.create_task(together("first"))
    await asyncio.sleep(0)
    hermits = [asyncio.create_task(alone("alone"))]
    for _ in range(5):
        await asyncio.sleep(0)
    assert order == ["first"]
    release.set()
    await asyncio.gather(first, *hermits)
    await together("last")
    assert order == ["first", "alone", "last"]
