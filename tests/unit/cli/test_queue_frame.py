"""The picture of `fluxa queue top` and the words around it: UNKNOWN is never a zero, and rates come from two looks."""

import datetime as dt
import io

import msgspec
import pytest
from rich.console import Console

from fluxa.cli.commands.queue import words
from fluxa.cli.commands.queue.frame import Look, Pace, Rates, bar, frame
from fluxa.queue.health.facts import (
    Exceeded,
    Measure,
    Pause,
    QueueHealth,
    RedriveProgress,
    Snapshot,
    State,
    Watermark,
    WorkerState,
)

AT = dt.datetime(2026, 5, 1, 12, tzinfo=dt.UTC)
KNOWN = QueueHealth(
    queue="pulse",
    state=State.OK,
    foreign=False,
    description="",
    priority=1,
    queue_length=1234,
    exact=True,
    ready=1000,
    in_flight=2,
    oldest_age_s=4.0,
    dead=0,
    dead_by_code={},
    dead_at_least=(),
    last_success_at=AT,
    last_failure_at=None,
    last_error_code=None,
    error_streak=0,
    breaker="closed",
    rests_until=None,
    workers=(),
    paused=False,
    pause=None,
    watermark=Watermark.OK,
    exceeded=(),
    redrives=(),
    why_slow=None,
    unknown={},
)
UNKNOWN = msgspec.structs.replace(
    KNOWN,
    queue="dark",
    state=State.UNKNOWN,
    queue_length=None,
    ready=None,
    in_flight=None,
    oldest_age_s=None,
    dead=None,
    error_streak=None,
    workers=None,
    breaker=None,
    paused=None,
    redrives=None,
    watermark=Watermark.UNKNOWN,
    unknown={"metrics": "Timeout: no answer within 2 s"},
)


def worker(name: str, done: int, *, retried: int = 0, parked: int = 0) -> WorkerState:
    return WorkerState(
        worker=name,
        host="h",
        pid=1,
        in_flight=3,
        error_streak=0,
        breaker="closed",
        rests_until=None,
        done=done,
        retried=retried,
        parked=parked,
        age_s=0.5,
    )


def look(at_s: float, *queues: QueueHealth, sent: dict[str, int] | None = None) -> Look:
    return Look(at_s, Snapshot(AT, queues, {}), sent)


def drawn(one: Look, pace: Pace | None = None, *, outage: str = "") -> list[str]:
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(frame(one, pace or Pace(), outage=outage))
    return [line.rstrip() for line in console.export_text().splitlines()]


def test_rates_are_taken_over_several_looks_and_each_worker_by_itself() -> None:
    pace = Pace(window_s=4.0)
    assert pace.rates("pulse") == Rates()
    with_workers = msgspec.structs.replace
    pace.saw(look(10, with_workers(KNOWN, workers=(worker("a", 100), worker("gone", 10**6))), sent={"pulse": 50}))
    pace.saw(
        look(12, with_workers(KNOWN, workers=(worker("a", 140, retried=4), worker("new", 20))), sent={"pulse": 70})
    )
    assert pace.rates("pulse") == Rates(sent=10.0, done=30.0, retried=2.0, dead=0.0)
    pace.saw(look(16, with_workers(KNOWN, workers=(worker("a", 140, retried=4, parked=4),)), sent={"pulse": 70}))
    assert pace.rates("pulse") == Rates(sent=0.0, done=0.0, retried=0.0, dead=1.0)


def test_a_rate_that_cannot_be_known_is_unknown_and_one_of_a_queue_never_made_is_zero() -> None:
    pace = Pace()
    pace.saw(look(1, UNKNOWN, sent=None))
    pace.saw(look(2, UNKNOWN, sent={"far_dlq": 3}))
    assert pace.rates("dark") == Rates(None, None, None, None)
    pace.saw(look(3, KNOWN, sent={"far_dlq": 3}))
    second = Pace()
    second.saw(look(1, KNOWN, sent={"far_dlq": 3}))
    second.saw(look(2, KNOWN, sent={"far_dlq": 3}))
    assert second.rates("pulse").sent == 0.0
    assert second.rates("far").sent is None


@pytest.mark.req("QUEUE-7")
def test_unknown_is_written_out_and_no_number_stands_in_its_line() -> None:
    lines = drawn(look(1, KNOWN, UNKNOWN), outage="Postgres cannot be reached")
    (dark,) = [line for line in lines if line.startswith("dark ")]
    assert dark.count("UNKNOWN") == 11
    assert not any(character.isdigit() for character in dark)
    assert "dark: metrics UNKNOWN: Timeout: no answer within 2 s" in lines
    assert "✗ Postgres cannot be reached" in lines
    assert "1 ok  1 UNKNOWN" in lines[0]


def test_pauses_watermarks_and_redrives_are_told_below() -> None:
    told = msgspec.structs.replace(
        KNOWN,
        state=State.PAUSED,
        pause=Pause("ada", "night", AT),
        exceeded=(Exceeded(Measure.DEPTH, 1234, 1000),),
        redrives=(
            RedriveProgress(redrive_id="rd-1", state="running", total=100, handled=50, moved=49, rate_per_s=20.0),
        ),
    )
    text = "\n".join(drawn(look(1, told)))
    assert "pulse: paused by ada: night" in text
    assert "pulse: depth is 1234, more than 1000" in text
    assert "redrive rd-1 of pulse  ██████       50/100, 49 moved, 20/s at most, running" in text


def test_a_narrow_terminal_shows_what_matters_most() -> None:
    narrow = Console(width=80, record=True, file=io.StringIO())
    narrow.print(frame(look(1, KNOWN), Pace(), width=80))
    heading = narrow.export_text().splitlines()[2].split()
    assert heading == ["queue", "state", "messages", "oldest", "in/s", "done/s", "retry/s", "dead"]
    assert "hands" in drawn(look(1, KNOWN))[2]


def test_many_notes_are_cut() -> None:
    dark = [msgspec.structs.replace(UNKNOWN, queue=f"q{number}") for number in range(20)]
    lines = drawn(look(1, *dark))
    assert "… 12 more: fluxa queue list" in lines


@pytest.mark.parametrize(
    ("value", "largest", "drawn_as"),
    [(0, 0, ""), (0, 10, ""), (1, 10**6, "▏"), (5, 10, "█" * 6), (10, 10, "█" * 12), (20, 10, "█" * 12)],
)
def test_bars(value: float, largest: float, drawn_as: str) -> None:
    assert bar(value, largest).plain == drawn_as.ljust(12)


@pytest.mark.parametrize(
    ("value", "said"),
    [(0, "0"), (999, "999"), (1234, "1.2k"), (123_456, "123k"), (10_000_000, "10.0M"), (None, "UNKNOWN")],
)
def test_short_numbers(value: float | None, said: str) -> None:
    assert words.short(value).plain == said


def test_words() -> None:
    assert words.count(None).plain == "UNKNOWN"
    assert words.count(12_345, exact=False).plain == "~12345"
    assert [words.rate(value).plain for value in (None, 0, 0.25, 12.3, 5000)] == ["UNKNOWN", "-", "0.2", "12", "5.0k"]
    assert [words.duration(value) for value in (0.4, 119, 120, 7200, 200_000)] == ["0s", "119s", "2m", "2h", "2d"]
    assert words.ago(None, AT) == "never"
    resting = msgspec.structs.replace(KNOWN, breaker="open", rests_until=AT + dt.timedelta(seconds=30))
    assert words.breaker(resting, AT).plain == "open 30s"
    assert words.breaker(UNKNOWN, AT).plain == "UNKNOWN"
    assert words.watermark(UNKNOWN).plain == "UNKNOWN"
