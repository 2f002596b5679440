"""The queue parts of the benchmark, where they compute: shares kept, progress across processes, the best peer."""

from pathlib import Path

from bench.queue import drain, snapshot
from bench.queue.ours import PACKED, texts
from bench.queue.progress import Progress
from bench.report.figures import of_values
from fluxa.queue.backend import Defect
from fluxa.queue.envelope import decode
from fluxa.testing.clock import ManualClock


def test_what_a_queue_kept_is_each_window_against_that_of_a_new_queue_beside_it() -> None:
    """A machine that became half as fast in the meantime takes the same from both."""
    found = snapshot.Found(rates=[100.0, 100.0, 40.0, 40.0], pairs=[(40.0, 50.0), (45.0, 50.0), (20.0, 25.0)])
    assert found.shares == (0.8, 0.9, 0.8)
    plan = snapshot.Plan(window_s=10.0, before_s=20.0, held_s=20.0)
    assert snapshot.told("ours", found, plan) == (
        "ours: 40% of its rate before, after 20 s; 80% of a new queue's, in turns with it."
    )
    assert snapshot.told("theirs", snapshot.Found(found.rates), plan) == "theirs: 40% of its rate before, after 20 s."


def test_progress_is_seen_by_whoever_maps_the_file(tmp_path: Path) -> None:
    worker, watcher = Progress(tmp_path / "p"), Progress(tmp_path / "p")
    assert (watcher.count, watcher.first_s) == (0, 0.0)
    worker.add(3)
    first_s = watcher.first_s
    worker.add(4)
    assert (watcher.count, watcher.first_s) == (7, first_s)
    assert first_s > 0


def test_the_bar_is_taken_against_the_best_peer_there_is() -> None:
    found = {
        PACKED.name: of_values([60.0, 66.0], "jobs/s", 1, "how"),
        "slow": of_values([5.0, 6.0], "jobs/s", 1, "how"),
        "fast": of_values([10.0, 11.0], "jobs/s", 1, "how"),
    }
    assert drain.ratios(found, ["slow", "fast"]) == {"drain_vs_best_peer": (6.0, 6.0)}


def test_a_backlog_is_made_of_messages_that_a_worker_reads() -> None:
    clock = ManualClock()
    made = texts([b'{"n":1}', b'{"n":2}'], range(3, 5), clock=clock, records=3)
    read = [decode(text, message_id="1", enqueued_at=clock.now()) for text in made]
    records = [record for one in read if not isinstance(one, Defect) for record in one]
    assert b"".join(record.body for record in records) == b'{"n":2}{"n":1}{"n":2}{"n":1}{"n":2}{"n":1}'
    assert len({record.id for record in records}) == 6
    assert len(set(made)) == 2
