"""What is said about a queue, for each thing that can be wrong with it."""

import datetime as dt

import msgspec
import pytest

from fluxa.queue.backend import BlockedKey, SlowFacts, SnapshotHolder
from fluxa.queue.health.advice import advice
from fluxa.queue.health.facts import Exceeded, Measure, Pause, QueueHealth, State
from unit.cli.test_queue_frame import KNOWN

AT = dt.datetime(2026, 5, 1, 12, tzinfo=dt.UTC)
FINE = SlowFacts(holders=(), holders_complete=True, dead_rows=10)
SESSION = SnapshotHolder("session", "report", 4711, 600.0, "metabase", "select ? from events")


def made(**given: object) -> QueueHealth:
    return msgspec.structs.replace(KNOWN, **given)


def test_of_a_queue_that_is_well_there_is_nothing_to_say() -> None:
    assert advice(KNOWN) == ()
    assert advice(made(why_slow=FINE)) == ()


@pytest.mark.parametrize(
    ("health", "said"),
    [
        (made(pause=Pause("ada", "night", AT)), "ada paused it: night. When that is over: fluxa queue resume pulse"),
        (made(breaker="open", last_error_code="ProviderUnavailable"), "kept failing (last: ProviderUnavailable)"),
        (made(state=State.FAILING, error_streak=7, last_error_code="X"), "7 failures in a row, the last one X"),
        (made(state=State.UNSERVED), "no worker serves it: fluxa worker --app PLACE --queues pulse"),
        (made(exceeded=(Exceeded(Measure.DEPTH, 12, 10),)), "12 messages wait, more than 10"),
        (made(exceeded=(Exceeded(Measure.OLDEST_AGE, 61.4, 60),)), "waits for 61 s, longer than 60 s"),
        (made(dead=3, dead_by_code={"A": 1, "B": 2}), "3 dead letters, most of them B: fluxa dlq list --queue pulse"),
        (made(unknown={"metrics": "Timeout: slow"}), "metrics is UNKNOWN, which is not the same as nothing"),
        (
            made(why_slow=SlowFacts((SESSION,), holders_complete=True)),
            "held for 600 s by process 4711 (report, metabase), whose statement is: select ? from events. Dead rows",
        ),
        (
            made(why_slow=SlowFacts((SnapshotHolder("prepared", "gid-1", None, None),), holders_complete=True)),
            "by the prepared gid-1. Dead rows stay until it ends; to end it by force: rollback prepared 'gid-1'",
        ),
        (
            made(why_slow=SlowFacts((SnapshotHolder("slot", "old", None, None),), holders_complete=True)),
            "pg_drop_replication_slot('old')",
        ),
        (made(why_slow=SlowFacts((), holders_complete=False)), "grant it pg_read_all_stats"),
        (made(why_slow=SlowFacts((), holders_complete=True, dead_rows=90_000)), "90000 dead rows"),
        (
            made(
                why_slow=SlowFacts(
                    (), holders_complete=True, blocked_keys=2, blocked=(BlockedKey("user-1", "17", 90.0, 12.0),)
                )
            ),
            "2 keys wait for their oldest message, which failed; first key user-1, message 17, tried again in 12 s",
        ),
    ],
)
def test_each_trouble_has_its_sentence(health: QueueHealth, said: str) -> None:
    (sentence,) = advice(health)
    assert said in sentence


def test_a_snapshot_that_is_young_is_no_trouble() -> None:
    young = SnapshotHolder("session", "web", 1, 5.0)
    assert advice(made(why_slow=SlowFacts((young,), holders_complete=True))) == ()
