"""What readings are made of processes: who is missed, and who is not."""

import pytest

from fluxa.operations.alarms.measuring import silent
from fluxa.operations.alarms.samples import Process

pytestmark = pytest.mark.req("ALARM-5")


def process(began_s: float, heard_s: float, *, ended: bool = False, service: str = "worker") -> Process:
    """One that began and was last heard of so many seconds ago."""
    return Process(
        process=f"{began_s}",
        service=service,
        host="a",
        pid=round(began_s),
        started_age_s=began_s,
        age_s=heard_s,
        ended=ended,
        gauges={},
    )


def missed(*processes: Process, expected: tuple[str, ...] = ()) -> dict[str, float]:
    """For how long each service is silent."""
    return {reading.subject: reading.value or 0.0 for reading in silent(processes, expected)}


def test_one_that_falls_silent_is_missed_and_one_that_said_goodbye_is_not() -> None:
    assert missed(process(900, 3), process(900, 60)) == {"worker": 60}
    assert missed(process(900, 3), process(900, 60, ended=True)) == {"worker": 0}


def test_one_that_began_later_takes_its_place_and_one_that_was_there_before_does_not() -> None:
    assert missed(process(900, 60), process(50, 3)) == {"worker": 0}
    assert missed(process(900, 60), process(800, 3)) == {"worker": 60}
    assert missed(process(900, 60), process(800, 70), process(50, 3)) == {"worker": 60}
    assert missed(process(900, 60), process(50, 3, service="query")) == {"query": 0, "worker": 60}


def test_whose_place_was_taken_is_missed_no_more_when_the_other_has_ended_or_is_missed_itself() -> None:
    assert missed(process(9000, 6000), process(5900, 60, ended=True)) == {"worker": 0}
    assert missed(process(9000, 6000), process(5900, 60)) == {"worker": 60}
    assert missed(process(9000, 6000), process(5900, 60), process(50, 1)) == {"worker": 0}


def test_a_deploy_hides_none_that_had_fallen_silent_before() -> None:
    crashed = process(90_000, 3600)
    before = [process(90_000, 300, ended=True), process(90_001, 240, ended=True)]
    after = [process(330, 1), process(235, 2)]  # one began before the other had said goodbye, one after it
    assert missed(crashed, *before, *after) == {"worker": 3600}
    assert missed(crashed, *before, *after, process(200, 1)) == {"worker": 0}, "the third is there again"
    at_once = process(3590, 300, ended=True)  # who took its place at once was replaced in the deploy itself
    assert missed(crashed, at_once, *before, *after, process(290, 2)) == {"worker": 0}


def test_who_ends_all_that_is_left_and_begins_all_anew_is_asked_for_nobody() -> None:
    crashed, others = process(900, 200), [process(900, 60, ended=True), process(900, 61, ended=True)]
    assert missed(crashed, *others, process(50, 1), process(49, 1), process(48, 1)) == {"worker": 0}
    assert missed(crashed, *others, process(50, 1), process(49, 1)) == {"worker": 200}


def test_what_should_run_is_missed_though_it_said_goodbye_or_never_came() -> None:
    assert missed(process(900, 60, ended=True), expected=("worker",)) == {"worker": 60}
    assert missed(expected=("query",))["query"] > 3600
    assert missed(process(900, 3), expected=("worker",)) == {"worker": 0}
