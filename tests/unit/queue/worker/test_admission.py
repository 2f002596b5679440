"""Shared capacity: nobody starves, nobody exceeds his limit, and what hangs keeps its own share only."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fluxa.queue.registry import QueueSpec
from fluxa.queue.worker.limits.admission import AGEING_S, PATIENCE_S, Admission

_TICK_S = 0.05


def _of(*queues: tuple[int, int], capacity: int) -> Admission:
    specs = [QueueSpec(f"q{place}", priority=one[0], concurrency=one[1]) for place, one in enumerate(queues)]
    return Admission.of(specs, capacity)


def test_where_there_is_room_for_all_nobody_is_in_the_way() -> None:
    assert not _of((1, 4), (5, 4), capacity=0).is_contested
    assert not _of((1, 4), (5, 4), capacity=8).is_contested
    assert _of((1, 4), (5, 4), capacity=7).is_contested


def test_the_most_urgent_goes_first_until_another_has_waited() -> None:
    admission = _of((1, 1), (3, 1), capacity=1)
    assert admission.ask("q1", 10.0)
    assert admission.ask("q0", 10.1)
    assert not admission.ask("q1", 10.1)
    assert admission.ask("q1", 10.1 + 2 * AGEING_S) != admission.ask("q0", 10.1 + 2 * AGEING_S)
    ticket = admission.began("q0", 11.2)
    assert not admission.ask("q1", 11.2)
    admission.ended("q0", ticket)
    assert admission.ask("q1", 11.3)


def test_a_call_that_runs_long_leaves_its_place_but_not_its_limit() -> None:
    admission = _of((1, 2), (9, 2), capacity=2)
    for _ in range(2):
        assert admission.ask("q0", 0.0)
        admission.began("q0", 0.0)
    assert not admission.ask("q1", PATIENCE_S / 2)
    assert admission.ask("q1", PATIENCE_S)
    assert not admission.ask("q0", PATIENCE_S)


def test_one_who_has_nothing_to_begin_is_not_waited_for() -> None:
    admission = _of((1, 1), (9, 1), capacity=1)
    assert admission.ask("q0", 0.0)
    admission.withdraw("q0")
    assert admission.ask("q1", 0.0)


@pytest.mark.req("QUEUE-5")
@settings(max_examples=60, deadline=None)
@given(
    queues=st.lists(st.tuples(st.integers(1, 9), st.integers(1, 4)), min_size=2, max_size=5),
    capacity=st.integers(1, 6),
    lengths=st.lists(st.sampled_from([0.01, 0.1, 0.5, 5.0, 1e9]), min_size=1, max_size=40),
    seed=st.integers(0, 2**32),
)
def test_whoever_wants_to_begin_waits_a_bounded_time_whatever_the_others_do(
    queues: list[tuple[int, int]], capacity: int, lengths: list[float], seed: int
) -> None:
    """All queues always have work; calls take what was drawn, up to for ever. Nobody waits beyond the stated bound."""
    admission = _of(*queues, capacity=capacity)
    if not admission.is_contested:
        return
    order = random.Random(seed)  # noqa: S311 - the order in which queues ask
    limits = {f"q{place}": limit for place, (_, limit) in enumerate(queues)}
    running: list[tuple[float, float, str, int]] = []
    waiting_since = dict.fromkeys(limits, 0.0)
    spread = max(priority for priority, _ in queues) - min(priority for priority, _ in queues)
    bound_s = spread * AGEING_S + len(queues) * (PATIENCE_S + 2 * _TICK_S)
    now_s = 0.0
    while now_s < 2 * bound_s:
        for call in [one for one in running if one[1] <= now_s]:
            running.remove(call)
            admission.ended(call[2], call[3])
        asking = list(limits)
        order.shuffle(asking)
        for name in asking * 2:
            held = sum(one[2] == name for one in running)
            if held == limits[name]:
                waiting_since[name] = now_s  # its own limit, for which no other queue is to blame
            if admission.ask(name, now_s):
                assert held < limits[name]
                end_s = now_s + order.choice(lengths)
                running.append((now_s, end_s, name, admission.began(name, now_s)))
                waiting_since[name] = now_s
        young = sum(began_s > now_s - PATIENCE_S for began_s, *_ in running)
        assert young <= capacity
        assert all(now_s - since_s <= bound_s for since_s in waiting_since.values()), waiting_since
        now_s += _TICK_S
