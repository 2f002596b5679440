"""The state machine of alarms, against examples and against a model that is told all readings."""

import dataclasses
import datetime as dt
import itertools

import hypothesis.strategies as st
import pytest
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from fluxa.operations.alarms.evaluate import Notice, Phase, Standing, advance, due, fresh, gone
from fluxa.operations.alarms.rule import Reading, Rule
from fluxa.operations.alarms.rules import RULES, rule_named

START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
CPU = dataclasses.replace(
    rule_named(RULES, "DBHighCPU"), for_s=60.0, clear_after_s=30.0, unknown_after_s=100.0, threshold=80.0, clear_at=70.0
)


def at(seconds: float) -> dt.datetime:
    return START + dt.timedelta(seconds=seconds)


def follow(*readings: tuple[float, float | None], of: Rule = CPU) -> Standing:
    standing = fresh(START)
    for seconds, value in readings:
        standing = advance(of, standing, Reading("", value), at(seconds))
    return standing


@pytest.mark.req("ALARM-4")
def test_it_fires_once_it_was_bad_for_long_enough() -> None:
    assert follow((0, 90)).phase is Phase.PENDING
    assert follow((0, 90), (59, 90)).phase is Phase.PENDING
    assert follow((0, 90), (60, 90)).phase is Phase.FIRING
    assert follow((0, 90), (30, 80), (60, 90)).phase is Phase.PENDING


def test_one_without_a_duration_fires_at_once() -> None:
    assert follow((0, 1), of=rule_named(RULES, "DLQDepth")).phase is Phase.FIRING


def test_it_is_over_when_it_was_good_for_long_enough_and_far_enough_from_the_threshold() -> None:
    fired = ((0.0, 90.0), (60.0, 90.0))
    assert follow(*fired, (70, 75), (200, 75)).phase is Phase.FIRING
    assert follow(*fired, (70, 70), (99, 60)).phase is Phase.FIRING
    assert follow(*fired, (70, 70), (100, 60)).phase is Phase.OK
    assert follow(*fired, (70, 70), (90, 75), (100, 60)).phase is Phase.FIRING


def test_what_is_not_known_fires_nothing_resolves_nothing_and_counts_for_nobody() -> None:
    assert follow((0, 90), (30, None), (500, None)).phase is Phase.PENDING
    assert follow((0, 90), (30, None), (500, 90)).phase is Phase.PENDING
    assert follow((0, 90), (30, None), (500, 90), (530, 90)).phase is Phase.FIRING
    assert follow((0, 90), (60, 90), (70, 60), (80, None), (200, 60)).phase is Phase.FIRING
    assert follow((0, None), (1000, None)).phase is Phase.OK


def test_that_it_is_not_known_is_told_after_a_time_and_taken_back() -> None:
    standing = follow((0, None))
    assert due(CPU, standing, at(99))[1] == ()
    standing, notices = due(CPU, standing, at(100))
    assert notices == (Notice.UNKNOWN,)
    assert due(CPU, standing, at(5000))[1] == ()
    standing = advance(CPU, standing, Reading("", 10.0), at(5001))
    standing, notices = due(CPU, standing, at(5001))
    assert notices == (Notice.KNOWN,)
    assert standing.is_idle


def test_firing_is_told_once_repeated_and_taken_back() -> None:
    standing, notices = due(CPU, follow((0, 90), (60, 90)), at(60), repeat_s=100)
    assert notices == (Notice.FIRING,)
    assert due(CPU, standing, at(159), repeat_s=100)[1] == ()
    assert due(CPU, standing, at(160), repeat_s=100)[1] == (Notice.REPEATED,)
    assert due(CPU, standing, at(160), repeat_s=100, acknowledged=True)[1] == ()
    standing = advance(CPU, advance(CPU, standing, Reading("", 0.0), at(170)), Reading("", 0.0), at(200))
    standing, notices = due(CPU, standing, at(200), repeat_s=100)
    assert notices == (Notice.RESOLVED,)
    assert standing.is_idle


def test_what_happened_during_a_silence_is_told_when_it_ends_if_it_still_is_so() -> None:
    fired = follow((0, 90), (60, 90))
    assert due(CPU, fired, at(60), silenced=True) == (fired, ())
    assert due(CPU, fired, at(90))[1] == (Notice.FIRING,)
    over = advance(CPU, advance(CPU, fired, Reading("", 0.0), at(70)), Reading("", 0.0), at(100))
    assert due(CPU, over, at(101))[1] == ()
    told, _ = due(CPU, fired, at(60))
    over = advance(CPU, advance(CPU, told, Reading("", 0.0), at(70)), Reading("", 0.0), at(100))
    assert due(CPU, over, at(101), silenced=True)[1] == ()
    assert due(CPU, over, at(200))[1] == (Notice.RESOLVED,)


def test_letters_that_are_redriven_in_vain_again_and_again_are_told_once() -> None:
    letters = rule_named(RULES, "DLQDepth")
    standing, told = fresh(START), []
    # Every minute somebody redrives them; half a minute later they are back. At last they are gone for good.
    readings = [(half * 30.0, float(half % 2 == 0)) for half in range(20)]
    readings += [(600.0 + 30.0 * look, 0.0) for look in range(20)]
    for seconds, value in readings:
        standing = advance(letters, standing, Reading("orders", value), at(seconds))
        standing, notices = due(letters, standing, at(seconds))
        told += [(seconds, one) for one in notices]
    # The hold counts from the last time that it became empty.
    assert told == [(0.0, Notice.FIRING), (570.0 + letters.clear_after_s, Notice.RESOLVED)]


def test_a_subject_that_is_gone_is_over() -> None:
    letters = rule_named(RULES, "DLQDepth")
    standing = follow((0, 3), of=letters)
    standing = advance(letters, standing, gone(letters, "old"), at(1))
    assert advance(letters, standing, gone(letters, "old"), at(1 + letters.clear_after_s)).phase is Phase.OK


class Alarm(RuleBasedStateMachine):
    """Readings at random times, against a model that keeps them all and looks back each time."""

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.standing = fresh(START)
        self.known_s = 0.0
        """Seconds for which it was known, counted from one known reading or its unknown gap's end to the next."""
        self.bad_from: float | None = None
        self.good_from: float | None = None
        self.firing = False
        self.unknown_from: dt.datetime | None = None
        self.notices: list[Notice] = []
        self.silenced = False

    @rule(step_s=st.floats(min_value=-20, max_value=90), value=st.sampled_from([0.0, 70.0, 75.0, 80.0, 81.0, 100.0]))
    def read(self, step_s: float, value: float) -> None:
        self._pass(step_s, known=self.unknown_from is None)
        self.unknown_from = None
        if self.firing:
            self._judge_firing(value)
        elif value > 80.0:
            self.bad_from = self.known_s if self.bad_from is None else self.bad_from
            if self.known_s - self.bad_from >= 60.0:
                self.firing, self.bad_from, self.good_from = True, None, None
        else:
            self.bad_from = None
        self.standing = advance(CPU, self.standing, Reading("", value), self.now)
        self._tell()

    def _judge_firing(self, value: float) -> None:
        if value > 70.0:
            self.good_from = None
            return
        self.good_from = self.known_s if self.good_from is None else self.good_from
        if self.known_s - self.good_from >= 30.0:
            self.firing, self.good_from = False, None

    @rule(step_s=st.floats(min_value=0, max_value=90))
    def lose_sight(self, step_s: float) -> None:
        self._pass(step_s, known=self.unknown_from is None)
        self.unknown_from = self.unknown_from or self.now
        self.good_from = None
        self.standing = advance(CPU, self.standing, Reading("", None, "no answer"), self.now)
        self._tell()

    @rule(silenced=st.booleans())
    def silence(self, silenced: bool) -> None:  # noqa: FBT001 - given by name
        self.silenced = silenced
        self._tell()

    @precondition(lambda self: self.standing.phase is Phase.FIRING)
    @rule()
    def restart(self) -> None:
        """A process that died keeps nothing but the standing: telling again tells nothing twice."""
        _, notices = due(CPU, self.standing, self.now, silenced=self.silenced, repeat_s=1e9)
        assert notices == ()

    def _pass(self, step_s: float, *, known: bool) -> None:
        self.now += dt.timedelta(seconds=round(step_s))
        if known:
            self.known_s += round(step_s)
        elif self.unknown_from is not None and self.now < self.unknown_from:
            # The clock was set back to before the gap: what is not known begins now.
            self.known_s -= (self.unknown_from - self.now).total_seconds()
            self.unknown_from = self.now
        # Nothing began in the future.
        self.bad_from = None if self.bad_from is None else min(self.bad_from, self.known_s)
        self.good_from = None if self.good_from is None else min(self.good_from, self.known_s)

    def _tell(self) -> None:
        self.standing, notices = due(CPU, self.standing, self.now, silenced=self.silenced, repeat_s=1e9)
        assert not (self.silenced and notices)
        self.notices += notices

    def _last(self, *kinds: Notice) -> Notice | None:
        return next((one for one in reversed(self.notices) if one in kinds), None)

    @invariant()
    def fires_as_the_model_says(self) -> None:
        assert (self.standing.phase is Phase.FIRING) == self.firing

    @invariant()
    def what_was_told_is_how_it_is_unless_it_is_silenced(self) -> None:
        if not self.silenced:
            assert (self._last(Notice.FIRING, Notice.RESOLVED) is Notice.FIRING) == self.firing
            unknown_s = 0.0 if self.unknown_from is None else (self.now - self.unknown_from).total_seconds()
            if self.unknown_from is None or unknown_s >= 100.0:
                told_unknown = self._last(Notice.UNKNOWN, Notice.KNOWN) is Notice.UNKNOWN
                assert told_unknown == (self.unknown_from is not None)

    @invariant()
    def nothing_is_taken_back_that_was_not_told(self) -> None:
        for told, taken_back in ((Notice.FIRING, Notice.RESOLVED), (Notice.UNKNOWN, Notice.KNOWN)):
            of = [one for one in self.notices if one in {told, taken_back}]
            assert of[:1] != [taken_back]
            assert (taken_back, taken_back) not in itertools.pairwise(of)


TestAlarm = Alarm.TestCase
