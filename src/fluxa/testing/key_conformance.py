"""What every queue engine must do in queues that keep keys apart (QUEUE-5), as tests to inherit.

A subclass gives a `harness` fixture whose workers are made with `KEY_RULES`.
"""

import asyncio
import datetime as dt
from collections import Counter
from collections.abc import Mapping

import msgspec
import pytest

from fluxa.queue.backend import DeadLetterFilter, Delivery, Envelope, KeyRule, QueueBackend
from fluxa.queue.outcome import DONE, Dead, Retry, Snooze
from fluxa.testing.queue_conformance import LEASE_S, Harness, names, record, settle

ORDERED = "conformance_ordered"
LIMITED = "conformance_limited"
KEY_RULES: Mapping[str, KeyRule] = {ORDERED: KeyRule(limit=1, ordered=True), LIMITED: KeyRule(limit=2)}


def keyed(*keyed_names: str) -> list[Envelope]:
    """Envelopes of one record each; `a1` has the key `a`, `-1` has none."""
    return [of_key(name) for name in keyed_names]


def of_key(*keyed_names: str) -> Envelope:
    """One envelope of records of one key."""
    return Envelope(
        tuple(
            msgspec.structs.replace(record(name), key=None if name.startswith("-") else name.rstrip("0123456789"))
            for name in keyed_names
        )
    )


async def _worker(harness: Harness, queue: str, *sent: str) -> QueueBackend:
    backend = await harness.worker()
    await backend.create(queue)
    if sent:
        await backend.send(queue, keyed(*sent))
    return backend


async def _claim(backend: QueueBackend, queue: str, limit: int = 100) -> list[Delivery]:
    return await backend.claim(queue, limit=limit, lease_s=LEASE_S)


class OrderedConformance:
    """A queue that works on one message of a key at a time, oldest first."""

    async def test_only_the_oldest_of_a_key_is_given_out(self, harness: Harness) -> None:
        first, second = await _worker(harness, ORDERED, "a1", "a2", "b1", "a3", "-1", "-2"), await harness.worker()
        claimed = await _claim(first, ORDERED)
        assert sorted(names(claimed)) == ["-1", "-2", "a1", "b1"]
        assert await _claim(second, ORDERED) == []
        by_name = {one.records[0].id: one for one in claimed}
        assert await settle(first, by_name["a1"], DONE)
        (after,) = await _claim(second, ORDERED)
        assert names([after]) == ["a2"]
        assert await settle(second, after, DONE)
        assert names(await _claim(first, ORDERED)) == ["a3"]

    async def test_a_failed_one_keeps_its_place_and_others_go_on(self, harness: Harness) -> None:
        backend = await _worker(harness, ORDERED, "a1", "a2", "b1")
        a1, b1 = await _claim(backend, ORDERED)
        later = harness.now() + dt.timedelta(seconds=60)
        assert await settle(backend, a1, Retry(later, "HandlerError", "once"))
        assert await settle(backend, b1, DONE)
        await backend.send(ORDERED, keyed("b2"))
        assert names(await _claim(backend, ORDERED)) == ["b2"]
        await harness.pass_time(61)
        (again,) = [one for one in await _claim(backend, ORDERED) if one.records[0].key == "a"]
        assert (names([again]), again.received_count, again.records[0].attempt) == (["a1"], 1, 1)
        assert again.records[0].failure is not None
        assert again.records[0].failure.detail == "once"
        assert await settle(backend, again, Snooze(harness.now()))
        (again,) = await _claim(backend, ORDERED)
        assert (names([again]), again.received_count, again.records[0].attempt) == (["a1"], 1, 1)
        assert await settle(backend, again, DONE)
        assert names(await _claim(backend, ORDERED)) == ["a2"]

    async def test_a_late_worker_cannot_touch_what_was_tried_again_in_its_place(self, harness: Harness) -> None:
        first, second = await _worker(harness, ORDERED, "a1"), await harness.worker()
        (late,) = await _claim(first, ORDERED)
        assert await settle(first, late, Retry(harness.now(), "HandlerError", ""))
        for outcome in (
            DONE,
            Retry(harness.now(), "HandlerError", ""),
            Dead("HandlerError", ""),
            Snooze(harness.now()),
        ):
            assert not await settle(first, late, outcome)
        assert await first.extend([late], lease_s=LEASE_S) == [late]
        (current,) = await _claim(second, ORDERED)
        assert not await settle(first, late, DONE)
        assert await first.extend([late], lease_s=LEASE_S) == [late]
        assert await second.extend([current], lease_s=LEASE_S) == []
        assert current.records[0].attempt == 1
        assert await settle(second, current, DONE)

    async def test_a_crash_counts_and_the_key_waits_for_the_lease(self, harness: Harness) -> None:
        first, second = await _worker(harness, ORDERED, "a1", "a2"), await harness.worker()
        await _claim(first, ORDERED)
        await harness.pass_time(LEASE_S - 1)
        assert await _claim(second, ORDERED) == []
        await harness.pass_time(2)
        (again,) = await _claim(second, ORDERED)
        assert (names([again]), again.received_count) == (["a1"], 2)
        assert await settle(second, again, Retry(harness.now(), "HandlerError", ""))
        (again,) = await _claim(second, ORDERED)
        assert (again.received_count, again.records[0].attempt) == (1, 2)

    async def test_what_failed_of_an_envelope_stays_and_the_rest_leaves(self, harness: Harness) -> None:
        backend = await _worker(harness, ORDERED)
        await backend.send(ORDERED, [of_key("a1", "a2", "a3", "a4"), of_key("a5")])
        (delivery,) = await _claim(backend, ORDERED)
        soon, later = harness.now(), harness.now() + dt.timedelta(seconds=60)
        outcomes = (Retry(later, "HandlerError", ""), DONE, Dead("PayloadMissing", ""), Snooze(soon))
        assert await settle(backend, delivery, *outcomes)
        assert await _claim(backend, ORDERED) == []
        await harness.pass_time(61)
        (rest,) = await _claim(backend, ORDERED)
        assert [(one.id, one.attempt) for one in rest.records] == [("a1", 1), ("a4", 0)]
        assert await settle(backend, rest, DONE, DONE)
        assert names(await _claim(backend, ORDERED)) == ["a5"]

    async def test_a_dead_one_frees_its_key_and_a_redrive_goes_to_the_end(self, harness: Harness) -> None:
        backend = await _worker(harness, ORDERED, "a1", "a2", "a3")
        for _ in range(2):
            (delivery,) = await _claim(backend, ORDERED)
            await settle(backend, delivery, Dead("HandlerError", ""))
        letters = await backend.dead_letters(ORDERED, DeadLetterFilter(), limit=9)
        assert await backend.redrive(ORDERED, [letter.message_id for letter in letters]) == 2
        order = []
        while claimed := await _claim(backend, ORDERED):
            assert len(claimed) == 1
            order += names(claimed)
            await settle(backend, claimed[0], DONE)
        assert order == ["a3", "a1", "a2"]

    async def test_a_delayed_message_holds_up_its_key(self, harness: Harness) -> None:
        backend = await _worker(harness, ORDERED)
        await backend.send(ORDERED, keyed("a1"), delay_s=10)
        await backend.send(ORDERED, keyed("a2", "b1"))
        assert names(await _claim(backend, ORDERED)) == ["b1"]
        await harness.pass_time(11)
        assert names(await _claim(backend, ORDERED)) == ["a1"]

    async def test_a_long_key_does_not_hide_the_others(self, harness: Harness) -> None:
        backend = await _worker(harness, ORDERED)
        await backend.send(ORDERED, keyed(*(f"hot{n}" for n in range(300))))
        await backend.send(ORDERED, keyed("a1", "b1", "-1"))
        assert sorted(names(await _claim(backend, ORDERED, 4))) == ["-1", "a1", "b1", "hot0"]


class LimitedConformance:
    """A queue that gives out so many messages of a key at once."""

    async def test_no_more_of_a_key_than_the_limit_are_given_out(self, harness: Harness) -> None:
        first, second = (
            await _worker(harness, LIMITED, *(f"a{n}" for n in range(5)), "b1", "-1"),
            await harness.worker(),
        )
        held = await _claim(first, LIMITED)
        assert Counter(one.records[0].key for one in held) == {"a": 2, "b": 1, None: 1}
        assert await _claim(second, LIMITED) == []
        (one, other) = (one for one in held if one.records[0].key == "a")
        assert await settle(first, one, DONE)
        assert len(await _claim(second, LIMITED)) == 1
        assert await settle(first, other, Retry(harness.now() + dt.timedelta(seconds=60), "HandlerError", ""))
        assert len(await _claim(second, LIMITED)) == 1
        assert await _claim(second, LIMITED) == []

    async def test_a_lease_that_ran_out_makes_room_and_is_not_revived(self, harness: Harness) -> None:
        first, second = await _worker(harness, LIMITED, "a1", "a2", "a3", "a4"), await harness.worker()
        held = await _claim(first, LIMITED)
        assert len(held) == 2
        await harness.pass_time(LEASE_S + 1)
        assert await first.extend(held, lease_s=LEASE_S) == held
        assert len(await _claim(second, LIMITED)) == 2
        assert await _claim(first, LIMITED) == []

    async def test_claims_at_once_stay_within_the_limit(self, harness: Harness) -> None:
        backend = await _worker(harness, LIMITED)
        workers = [backend, *[await harness.worker() for _ in range(3)]]
        await backend.send(LIMITED, keyed(*(f"{key}{n}" for n in range(10) for key in "abcde")))
        claims = await asyncio.gather(*(_claim(worker, LIMITED, 7) for worker in workers * 2))
        found = Counter(one.records[0].key for claimed in claims for one in claimed)
        assert found == dict.fromkeys("abcde", 2)

    async def test_a_retry_and_a_redrive_are_of_the_same_key(self, harness: Harness) -> None:
        backend = await _worker(harness, LIMITED, "a1", "a2", "a3")
        one, two = await _claim(backend, LIMITED)
        assert await settle(backend, one, Retry(harness.now(), "HandlerError", ""))
        assert await settle(backend, two, Dead("HandlerError", ""))
        (letter,) = await backend.dead_letters(LIMITED, DeadLetterFilter(), limit=9)
        assert await backend.redrive(LIMITED, [letter.message_id]) == 1
        assert len(await _claim(backend, LIMITED)) == 2
        assert await _claim(backend, LIMITED) == []

    async def test_an_envelope_of_two_keys_is_refused(self, harness: Harness) -> None:
        backend = await _worker(harness, LIMITED)
        with pytest.raises(ValueError, match="one key"):
            await backend.send(LIMITED, [of_key("a1", "b1")])
        assert (await backend.metrics(LIMITED)).depth == 0


class KeyConformance(OrderedConformance, LimitedConformance):
    """The whole suite. A subclass named `Test…` in a test file, with a `harness` fixture in scope, runs it."""
