"""What every queue engine must do (QUEUE-1), as tests to inherit: give `QueueConformance` a `harness` fixture."""

import asyncio
import datetime as dt
from collections.abc import Sequence
from typing import Any, Protocol

import msgspec
import pytest

from fluxa.kernel.errors import ErrorCode, RetryClass
from fluxa.queue.backend import DeadLetterFilter, Delivery, Envelope, ParkedText, QueueBackend, Settlement
from fluxa.queue.outcome import DONE, Dead, Outcome, Retry, Snooze
from fluxa.queue.record import Record

QUEUE = "conformance"
LEASE_S = 30.0
_ALL = DeadLetterFilter()


class Harness(Protocol):
    """What the tests need of an engine besides its port. A fresh one for each test; its clock is a test's."""

    async def worker(self) -> QueueBackend:
        """A backend of its own over the same queues, as another process has it."""
        ...

    async def pass_time(self, seconds: float) -> None:
        """Let leases and delays go on by so much."""
        ...

    def now(self) -> dt.datetime:
        """The time that outcomes are given in."""
        ...

    async def put(self, queue: str, text: str) -> str:
        """Store a message as another program would; returns its id."""
        ...

    async def alter(self, queue: str, message_id: str, old: str, new: str) -> None:
        """Replace a piece of a stored message's text, as an intruder would."""
        ...


def record(name: str, body: bytes = b'{"a": 1}') -> Record:
    """A record of that name."""
    return Record(
        id=name,
        body=body,
        created_at=dt.datetime(2026, 1, 2, 3, 4, 5, 678901, dt.UTC),
        correlation_id=f"c-{name}",
        headers={"tenant": "acme"},
    )


def envelope(*names: str) -> Envelope:
    """An envelope of records of those names."""
    return Envelope(tuple(record(name) for name in names))


async def claim(backend: QueueBackend, limit: int = 100) -> list[Delivery]:
    """Claim what is ready."""
    return await backend.claim(QUEUE, limit=limit, lease_s=LEASE_S)


async def settle(backend: QueueBackend, delivery: Delivery, *outcomes: Outcome) -> bool:
    """Settle one delivery; whether it was still ours."""
    return not await backend.settle([Settlement(delivery, outcomes)])


def names(deliveries: Sequence[Delivery]) -> list[str]:
    """The records' ids, in order."""
    return [one.id for delivery in deliveries for one in delivery.records]


async def ready(harness: Harness) -> QueueBackend:
    """A worker on an existing queue."""
    backend = await harness.worker()
    await backend.create(QUEUE)
    return backend


class SendingConformance:
    """Sending, claiming, leases and the fence."""

    async def test_records_come_back_byte_for_byte_and_in_order(self, harness: Harness) -> None:
        backend = await ready(harness)
        bodies = [b"", b"\x00\xff binary", b'{"n": 1.0}', 'ü \u2028 "quoted" \\u0000'.encode()]
        single = [Envelope((record(f"s{n}", body),)) for n, body in enumerate(bodies)]
        packed = Envelope(tuple(record(f"p{n}", body) for n, body in enumerate(bodies)))
        ids = await backend.send(QUEUE, [*single, packed])
        claimed = await claim(backend)
        assert [delivery.message_id for delivery in claimed] == ids
        assert [delivery.records for delivery in claimed] == [one.records for one in [*single, packed]]
        assert {(one.received_count, one.queue, one.defect) for one in claimed} == {(1, QUEUE, None)}

    async def test_to_create_a_queue_again_leaves_it_as_it_is(self, harness: Harness) -> None:
        backend = await ready(harness)
        await backend.send(QUEUE, [envelope("a")])
        await backend.create(QUEUE)
        assert names(await claim(backend)) == ["a"]

    async def test_a_claim_takes_no_more_than_its_limit_and_lowest_first(self, harness: Harness) -> None:
        backend = await ready(harness)
        await backend.send(QUEUE, [envelope(str(n)) for n in range(7)])
        assert [names(await claim(backend, 3)) for _ in range(4)] == [["0", "1", "2"], ["3", "4", "5"], ["6"], []]

    async def test_workers_never_hold_the_same_message(self, harness: Harness) -> None:
        first, second = await ready(harness), await harness.worker()
        await first.send(QUEUE, [envelope(str(n)) for n in range(40)])
        claims = await asyncio.gather(*(claim(worker, 7) for worker in (first, second) * 4))
        taken = sorted(int(name) for one in claims for name in names(one))
        assert taken == list(range(40))

    async def test_a_lease_that_ran_out_gives_the_message_to_another_worker(self, harness: Harness) -> None:
        first, second = await ready(harness), await harness.worker()
        await first.send(QUEUE, [envelope("a")])
        await claim(first)
        await harness.pass_time(LEASE_S - 1)
        assert await claim(second) == []
        await harness.pass_time(2)
        (again,) = await claim(second)
        assert (names([again]), again.received_count) == (["a"], 2)

    async def test_a_late_worker_cannot_settle_what_another_one_has(self, harness: Harness) -> None:
        first, second = await ready(harness), await harness.worker()
        await first.send(QUEUE, [envelope("a")])
        (late,) = await claim(first)
        await harness.pass_time(LEASE_S + 1)
        (current,) = await claim(second)
        for outcome in (
            DONE,
            Retry(harness.now(), "HandlerError", ""),
            Dead("HandlerError", ""),
            Snooze(harness.now()),
        ):
            assert not await settle(first, late, outcome)
        state = await second.metrics(QUEUE)
        assert (state.depth, state.dead) == (1, 0)
        assert await settle(second, current, DONE)
        assert not await settle(second, current, DONE)

    async def test_a_lease_that_ran_out_unnoticed_can_still_be_settled(self, harness: Harness) -> None:
        backend = await ready(harness)
        await backend.send(QUEUE, [envelope("a")])
        (delivery,) = await claim(backend)
        await harness.pass_time(LEASE_S + 1)
        assert await settle(backend, delivery, DONE)
        assert await claim(backend) == []

    async def test_an_extended_lease_holds_and_a_lost_one_is_named(self, harness: Harness) -> None:
        first, second = await ready(harness), await harness.worker()
        await first.send(QUEUE, [envelope("a"), envelope("b")])
        kept, lost = await claim(first)
        await harness.pass_time(LEASE_S - 1)
        assert await first.extend([kept], lease_s=LEASE_S) == []
        await harness.pass_time(LEASE_S - 1)
        assert names(await claim(second)) == ["b"]
        assert await first.extend([kept, lost], lease_s=LEASE_S) == [lost]

    async def test_a_delayed_message_waits(self, harness: Harness) -> None:
        backend = await ready(harness)
        await backend.send(QUEUE, [envelope("later")], delay_s=10)
        await backend.send(QUEUE, [envelope("now")])
        assert names(await claim(backend)) == ["now"]
        await harness.pass_time(11)
        assert names(await claim(backend)) == ["later"]

    async def test_a_waiting_claim_ends_when_something_is_sent(self, harness: Harness) -> None:
        backend = await ready(harness)
        waiting = asyncio.create_task(backend.claim(QUEUE, limit=1, lease_s=LEASE_S, wait_s=20))
        await asyncio.sleep(0)
        await backend.send(QUEUE, [envelope("a")])
        assert names(await asyncio.wait_for(waiting, 5)) == ["a"]

    async def test_messages_of_other_programs_are_understood(self, harness: Harness) -> None:
        backend = await ready(harness)
        await harness.put(QUEUE, '{"order": 7}')
        await harness.put(QUEUE, '{"fluxa": "is a word to others"}')
        first, second = await claim(backend)
        assert (first.records[0].body, first.records[0].attempt) == (b'{"order": 7}', 0)
        assert (second.defect, len(second.records)) == (None, 1)


class SettlingConformance:
    """Outcomes, dead letters, redrive."""

    async def test_every_record_of_an_envelope_has_its_own_ending(self, harness: Harness) -> None:
        backend = await ready(harness)
        await backend.send(QUEUE, [envelope("done", "retry", "dead", "snooze")])
        (delivery,) = await claim(backend)
        now = harness.now()
        later = now + dt.timedelta(seconds=5)
        outcomes = (DONE, Retry(now, "HandlerError", "once"), Dead("PayloadMissing", "gone"), Snooze(later))
        assert await settle(backend, delivery, *outcomes)
        (retried,) = await claim(backend)
        assert (names([retried]), retried.records[0].attempt, retried.received_count) == (["retry"], 1, 1)
        assert retried.records[0].failure is not None
        assert (retried.records[0].failure.code, retried.records[0].failure.detail) == ("HandlerError", "once")
        await harness.pass_time(6)
        (snoozed,) = await claim(backend)
        assert (names([snoozed]), snoozed.records[0].attempt, snoozed.records[0].failure) == (["snooze"], 0, None)
        (letter,) = await backend.dead_letters(QUEUE, _ALL, limit=9)
        assert (letter.record.id, letter.record.body, letter.readable) == ("dead", b'{"a": 1}', True)
        assert (letter.code, letter.retry, letter.reason) == ("PayloadMissing", RetryClass.PERMANENT, "gone")
        assert (letter.queue, letter.attempts) == (QUEUE, 1)

    async def test_a_retry_comes_no_sooner_than_asked(self, harness: Harness) -> None:
        backend = await ready(harness)
        await backend.send(QUEUE, [envelope("a")])
        (delivery,) = await claim(backend)
        await settle(backend, delivery, Retry(harness.now() + dt.timedelta(seconds=60), "HandlerError", ""))
        await harness.pass_time(58)
        assert await claim(backend) == []
        await harness.pass_time(3)
        assert names(await claim(backend)) == ["a"]

    async def test_crashes_count_as_attempts_and_the_first_failure_is_remembered(self, harness: Harness) -> None:
        backend = await ready(harness)
        await backend.send(QUEUE, [envelope("a")])
        await claim(backend)
        await harness.pass_time(LEASE_S + 1)
        (delivery,) = await claim(backend)
        first_at = harness.now()
        await settle(backend, delivery, Retry(first_at, "HandlerError", "2"))
        await harness.pass_time(1)
        (delivery,) = await claim(backend)
        assert delivery.records[0].attempt == 2
        await settle(backend, delivery, Dead("HandlerError", "3"))
        (letter,) = await backend.dead_letters(QUEUE, _ALL, limit=9)
        assert (letter.attempts, letter.first_failed_at, letter.reason) == (3, first_at, "3")
        assert letter.last_failed_at >= first_at + dt.timedelta(seconds=1)

    async def test_one_outcome_too_few_is_a_mistake_and_changes_nothing(self, harness: Harness) -> None:
        backend = await ready(harness)
        await backend.send(QUEUE, [envelope("a", "b")])
        (delivery,) = await claim(backend)
        with pytest.raises(ValueError, match="outcomes"):
            await settle(backend, delivery, DONE)
        assert (await backend.metrics(QUEUE)).depth == 1

    async def test_an_error_text_with_anything_in_it_can_be_parked(self, harness: Harness) -> None:
        backend = await ready(harness)
        await backend.send(QUEUE, [envelope("a", "b")])
        (delivery,) = await claim(backend)
        awkward = "nul \x00 lone \ud800 long " + "x" * 100_000
        assert await settle(
            backend, delivery, Dead("HandlerError", awkward), Retry(harness.now(), "HandlerError", awkward)
        )
        assert names(await claim(backend)) == ["b"]
        assert len(await backend.dead_letters(QUEUE, _ALL, limit=9)) == 1

    async def test_an_altered_message_is_a_defect_and_is_parked_as_it_was_found(self, harness: Harness) -> None:
        backend = await ready(harness)
        (message_id,) = await backend.send(QUEUE, [Envelope((record("a", b'{"price": 10}'),))])
        await harness.alter(QUEUE, message_id, "10", "99")
        (delivery,) = await claim(backend)
        assert delivery.records == ()
        assert delivery.defect is not None
        assert delivery.defect.code == ErrorCode.HASH_MISMATCH
        assert await settle(backend, delivery, Dead(delivery.defect.code, delivery.defect.detail))
        (letter,) = await backend.dead_letters(QUEUE, _ALL, limit=9)
        assert (letter.readable, letter.retry) == (False, RetryClass.SECURITY)
        assert b"99" in letter.record.body
        await backend.redrive(QUEUE, [letter.message_id])
        (again,) = await claim(backend)
        assert again.defect is not None
        assert again.defect.code == ErrorCode.HASH_MISMATCH

    async def test_dead_letters_are_paged_and_filtered(self, harness: Harness) -> None:
        backend = await ready(harness)
        await backend.send(QUEUE, [envelope(*(str(n) for n in range(6)))])
        (delivery,) = await claim(backend)
        await settle(backend, delivery, *(Dead("HandlerError" if n % 2 else "PayloadMissing", "") for n in range(6)))
        page = await backend.dead_letters(QUEUE, _ALL, limit=4)
        rest = await backend.dead_letters(QUEUE, _ALL, limit=4, after=page[-1].message_id)
        assert [letter.record.id for letter in page + rest] == ["0", "1", "2", "3", "4", "5"]
        odd = await backend.dead_letters(QUEUE, DeadLetterFilter(codes=("HandlerError",)), limit=9)
        assert [letter.record.id for letter in odd] == ["1", "3", "5"]
        one = await backend.dead_letters(QUEUE, DeadLetterFilter(message_ids=(odd[1].message_id, "nonsense")), limit=9)
        assert [letter.record.id for letter in one] == ["3"]

    async def test_a_redrive_gives_records_a_new_start_and_a_purge_ends_them(self, harness: Harness) -> None:
        backend = await ready(harness)
        await backend.send(QUEUE, [envelope("a", "b", "c")])
        (delivery,) = await claim(backend)
        await settle(backend, delivery, *(Dead("HandlerError", "x"),) * 3)
        letters = await backend.dead_letters(QUEUE, _ALL, limit=9)
        ids = [letter.message_id for letter in letters]
        assert await backend.redrive(QUEUE, [ids[1], ids[0], ids[0], "987654", "nonsense"]) == 2
        assert await backend.redrive(QUEUE, ids[:2]) == 0
        claimed = await claim(backend)
        assert names(claimed) == ["a", "b"]
        assert {(one.records[0].attempt, one.records[0].redrives) for one in claimed} == {(0, 1)}
        assert claimed[0].records[0].body == record("a").body
        assert await backend.purge(QUEUE, [*ids, "nonsense"]) == 1
        assert (await backend.metrics(QUEUE)).dead == 0

    async def test_dead_letters_are_found_by_record_time_and_bound(self, harness: Harness) -> None:
        backend = await ready(harness)
        await backend.send(QUEUE, [envelope("a"), envelope("b"), envelope("c")])
        at = []
        for delivery in await claim(backend):
            await harness.pass_time(1)
            at.append(harness.now())
            await settle(backend, delivery, Dead("HandlerError", "x"))
        letters = await backend.dead_letters(QUEUE, _ALL, limit=9)
        a, b, c = (letter.message_id for letter in letters)

        async def found(**terms: Any) -> list[str]:  # noqa: ANN401 - the fields of a filter
            return [one.message_id for one in await backend.dead_letters(QUEUE, DeadLetterFilter(**terms), limit=9)]

        assert await found(record_ids=("b", "nobody")) == [b]
        assert await found(up_to=b) == [a, b]
        assert await found(failed_from=at[1]) == [b, c]
        assert await found(failed_before=at[1]) == [a]
        assert await found(failed_from=at[1] - dt.timedelta(microseconds=1), failed_before=at[2]) == [b]
        assert await found(codes=("HandlerError", "HandlerError", "Other"), up_to=b, failed_from=at[1]) == [b]
        assert await found(keys=("k",)) == []
        summary = await backend.summarize_dead(QUEUE, DeadLetterFilter(codes=("HandlerError",), failed_from=at[1]))
        assert (summary.total, dict(summary.by_code), summary.last_id) == (2, {"HandlerError": 2}, c)
        assert summary.oldest_at == at[1]
        nothing = await backend.summarize_dead(QUEUE, DeadLetterFilter(codes=("Other",)))
        assert (nothing.total, nothing.oldest_at, nothing.last_id) == (0, None, None)

    async def test_dead_letters_are_found_by_the_key_of_their_record(self, harness: Harness) -> None:
        backend = await ready(harness)
        keyed = [msgspec.structs.replace(record(name), key=f"key-{name}") for name in ("a", "b")]
        await backend.send(QUEUE, [Envelope((one,)) for one in keyed])
        for delivery in await claim(backend):
            await settle(backend, delivery, Dead("HandlerError", "x"))
        letters = await backend.dead_letters(QUEUE, DeadLetterFilter(keys=("key-b", "key-c")), limit=9)
        assert [(one.record.id, one.record.key) for one in letters] == [("b", "key-b")]

    async def test_a_letter_that_was_altered_is_found_by_what_parked_it(self, harness: Harness) -> None:
        backend = await ready(harness)
        await backend.send(QUEUE, [Envelope((record("a", b'{"price": 10}'),))])
        (delivery,) = await claim(backend)
        await settle(backend, delivery, Dead("HandlerError", "x"))
        (letter,) = await backend.withdraw(QUEUE, [(await backend.dead_letters(QUEUE, _ALL, limit=9))[0].message_id])
        await backend.park(QUEUE, [ParkedText(letter.raw.replace("10", "99"), letter.facts, letter.parked_at)])
        which = DeadLetterFilter(codes=("HandlerError",), record_ids=("a",))
        (altered,) = await backend.dead_letters(QUEUE, which, limit=9)
        assert (altered.code, altered.retry, altered.readable) == ("HashMismatch", RetryClass.SECURITY, False)
        assert (await backend.summarize_dead(QUEUE, which)).by_code == {"HandlerError": 1}

    async def test_letters_are_taken_out_and_put_back_unchanged(self, harness: Harness) -> None:
        backend = await ready(harness)
        await backend.send(QUEUE, [envelope("a", "b", "c")])
        (delivery,) = await claim(backend)
        await settle(backend, delivery, *(Dead("HandlerError", "x"),) * 3)
        letters = await backend.dead_letters(QUEUE, _ALL, limit=9)
        ids = [letter.message_id for letter in letters]
        assert await backend.withdraw(QUEUE, [ids[1], ids[0], ids[0], "nonsense"]) == letters[:2]
        assert await backend.withdraw(QUEUE, ids[:2]) == []
        foreign = ParkedText('{"from": "elsewhere"}')
        texts = [*(ParkedText(one.raw, one.facts, one.parked_at) for one in letters[:2]), foreign]
        new_ids = await backend.park(QUEUE, texts)
        first, *back = await backend.dead_letters(QUEUE, _ALL, limit=9)
        assert first == letters[2]
        assert [one.message_id for one in back] == new_ids
        assert [(one.raw, one.facts, one.parked_at, one.record) for one in back[:2]] == [
            (one.raw, one.facts, one.parked_at, one.record) for one in letters[:2]
        ]
        assert (back[2].record.body, back[2].facts, back[2].code) == (foreign.raw.encode(), None, "MalformedMessage")

    async def test_metrics_count_what_is_there(self, harness: Harness) -> None:
        backend = await ready(harness)
        empty = await backend.metrics(QUEUE)
        assert (empty.depth, empty.ready, empty.in_flight, empty.oldest_age_s or 0, empty.dead) == (0, 0, 0, 0, 0)
        await backend.send(QUEUE, [envelope("a"), envelope("b"), envelope("c")])
        await backend.send(QUEUE, [envelope("later")], delay_s=60)
        claimed = await claim(backend, 2)
        await settle(backend, claimed[0], Dead("HandlerError", ""))
        state = await backend.metrics(QUEUE)
        assert (state.depth, state.ready, state.dead) == (3, 1, 1)
        assert state.in_flight == 1
        assert state.oldest_age_s is None or state.oldest_age_s >= 0


class QueueConformance(SendingConformance, SettlingConformance):
    """The whole suite. A subclass named `Test…` in a test file, with a `harness` fixture in scope, runs it."""
