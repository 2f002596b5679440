"""The dashboard's history on a real database: who writes it, what is kept of it, what a window costs (OBS-4)."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import pytest
from typing_extensions import override

from fluxa.kernel import json as fluxa_json
from fluxa.kernel.errors import DatabaseUnavailableError, FluxaError
from fluxa.operations.dashboard.history import COARSE_KEPT_S, FINE_KEPT_S, History
from fluxa.operations.dashboard.moment import Flow, Moment
from fluxa.operations.dashboard.recorder import Recorder
from fluxa.operations.dashboard.sources import Reading
from fluxa.operations.monitoring.pages import START, Labels, Page
from fluxa.postgres import sql
from fluxa.postgres.pool import Database
from fluxa.telemetry.catalogue import MaintenanceFinished, Status
from fluxa.testing.clock import ManualClock
from fluxa.testing.signals import Signals

pytestmark = pytest.mark.req("OBS-4")

SQL = sql.load("fluxa.operations.dashboard", "history.sql")
STORED = (("error_code", ""), ("stage", "persist"), ("status", "success"))
FILL = """
    insert into fluxa.dashboard_moments (is_fine, at, moment)
    select $1, clock_timestamp() - make_interval(secs => n * $2::float8), $3::jsonb
    from generate_series(1, $4::int) n
    on conflict do nothing
"""


class Processes:
    """One processor that has counted so many."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.stored = 0.0
        self.known: list[Mapping[str, str]] = []
        self.outage: Exception | None = None

    async def look(self, services: Mapping[str, str]) -> Reading | None:
        self.known.append(services)
        if self.outage is not None:
            raise self.outage
        samples: dict[str, dict[Labels, float]] = {"fluxa_stage_events_total": {STORED: self.stored}, START: {(): 1.0}}
        page = Page("p:1", frozenset(samples), samples, 1000.0)
        return Reading(self.clock.monotonic(), {"p:1": page}, {}, {}, {"p:1": "processor"})


def recorder(
    database: Database, processes: Processes, holder: str, signals: Signals | None = None, every_s: float = 15.0
) -> Recorder:
    hook = (signals or Signals()).hear
    return Recorder(
        processes.look, database, holder=holder, bounds={}, clock=processes.clock, hook=hook, every_s=every_s
    )


async def moments(database: Database, *, fine: bool = True) -> list[Moment]:
    rows = await database.fetch(
        "select moment::text as moment from fluxa.dashboard_moments where is_fine = $1 order by at", fine
    )
    return [_decoded(row["moment"]) for row in rows]


def _decoded(text: str) -> Moment:
    return msgspec.json.decode(text, type=Moment)


async def test_one_of_two_stations_writes_and_the_other_takes_over_with_what_is_known(database: Database) -> None:
    clock = ManualClock()
    processes = Processes(clock)
    first, second = recorder(database, processes, "a"), recorder(database, processes, "b")
    assert await first.turn() == 5, "rates are known of the second moment on: it comes soon"
    for count in (30, 90):
        clock.advance(15)
        processes.stored = count
        assert await first.turn() == 15
        assert await second.turn() == 5, "it waits for its turn"
    written = await moments(database)
    assert [one.flows.get("stored", Flow(0, {})).per_s for one in written] == [{}, {"": 2.0}, {"": 4.0}]

    await first.stop()
    await first.start()
    await first.stop()  # in order: at once
    processes.known.clear()
    clock.advance(15)
    await second.turn()
    clock.advance(15)
    processes.stored = 120
    await second.turn()
    assert processes.known == [{"p:1": "processor"}, {"p:1": "processor"}], "what each process is was not forgotten"
    assert await first.turn() == 5
    written = (await moments(database))[-2:]
    assert [one.flows.get("stored", Flow(0, {})).per_s for one in written] == [{}, {"": 2.0}]


async def test_a_station_that_dies_is_followed_by_another_when_its_turn_is_over(database: Database) -> None:
    processes = Processes(ManualClock())
    await recorder(database, processes, "dead").turn()
    heir = recorder(database, processes, "heir")
    assert await heir.turn() == 5
    await database.execute("update fluxa.check_turns set held_until = clock_timestamp() - interval '1 second'")
    assert await heir.turn() == 5
    assert len(await moments(database)) == 2
    holder = await database.fetch_value("select holder from fluxa.check_turns where name = 'dashboard'")
    assert holder == "heir"


async def test_who_lost_the_turn_while_it_read_writes_nothing(database: Database) -> None:
    processes = Processes(ManualClock())

    class Slow(Processes):
        @override
        async def look(self, services: Mapping[str, str]) -> Reading | None:
            await database.execute("update fluxa.check_turns set held_until = '-infinity'")
            await recorder(database, processes, "b").turn()
            return await super().look(services)

    await recorder(database, Slow(processes.clock), "a").turn()
    assert len(await moments(database)) == 1


async def test_after_an_outage_no_moment_covers_what_nobody_saw(database: Database) -> None:
    clock, signals = ManualClock(), Signals()
    processes = Processes(clock)
    one = recorder(database, processes, "a", signals, every_s=0.02)
    await one.turn()
    processes.outage = DatabaseUnavailableError("away")
    await one.start()
    failed = await signals.wait_for(MaintenanceFinished, lambda heard: heard.status is Status.FAILURE)
    assert failed.task == "dashboard"
    clock.advance(600)
    processes.stored, processes.outage = 1000, None
    await signals.wait_for(MaintenanceFinished, lambda heard: heard.status is Status.SUCCESS)
    await one.stop()
    written = await moments(database)
    assert all("stored" not in each.flows or each.flows["stored"].per_s == {} for each in written)
    assert max(each.over_s for each in written) < 600


def _full(queues: int = 30) -> Moment:
    names = [f"queue_{number}" for number in range(queues)]
    spread = {str(bound): 5.0 for bound in (0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0)} | {"+Inf": 5.0}
    return Moment(
        over_s=15,
        up=5,
        expected=5,
        flows={"stored": Flow(15, {"": 100.0}), "received": Flow(15, {"": 100.0})},
        spreads={"handler_seconds": dict.fromkeys(names, spread)},
        levels={source: dict.fromkeys(names, 17.0) for source in ("depth", "oldest", "dead")},
    )


@pytest.fixture
async def filled(database: Database) -> Database:
    """Twice as much as is kept."""
    body = fluxa_json.text(_full())
    await database.execute(FILL, True, 15.0, body, int(2 * FINE_KEPT_S / 15))
    await database.execute(FILL, False, 300.0, body, int(2 * COARSE_KEPT_S / 300))
    return database


async def test_what_is_old_is_forgotten_and_several_moments_become_one(filled: Database) -> None:
    # As if nobody had made coarse ones for an hour.
    await filled.execute(
        "delete from fluxa.dashboard_moments where not is_fine and at > clock_timestamp() - interval '1 hour'"
    )
    processes = Processes(ManualClock())
    await recorder(filled, processes, "a").turn()
    counts = dict(
        [tuple(row) for row in await filled.fetch("select is_fine, count(*) from fluxa.dashboard_moments group by 1")]
    )
    assert FINE_KEPT_S / 15 - 1 <= counts[True] <= FINE_KEPT_S / 15 + 1
    assert COARSE_KEPT_S / 300 - 13 <= counts[False] <= COARSE_KEPT_S / 300 + 1
    made = (await moments(filled, fine=False))[-10:]
    assert [one.flows["stored"].per_s[""] for one in made] == pytest.approx([100.0] * len(made))
    assert made[-3].over_s == pytest.approx(300)
    assert made[-3].spreads["handler_seconds"]["queue_1"]["+Inf"] == pytest.approx(100)
    bytes_ = await filled.fetch_value("select sum(pg_column_size(moment)) from fluxa.dashboard_moments")
    assert bytes_ < 32 * 1024 * 1024, "all of it stays small"


@pytest.mark.parametrize(
    ("window_s", "points"), [(900, 60), (3600, 240), (6 * 3600, 180), (86400, 288), (7 * 86400, 168)]
)
async def test_a_window_has_no_gap_between_fine_and_coarse_moments(
    filled: Database, window_s: int, points: int
) -> None:
    await recorder(filled, Processes(ManualClock()), "a").turn()
    found = await History(filled).read(window_s, least_s=15)
    assert len(found.times) == points
    (events,) = [one for one in found.panels if one.name == "events"]
    (stored,) = [one for one in events.lines if one.name == "stored"]
    # The first step may be cut off by the window's beginning, the last one has only begun.
    assert set(stored.values[1:-2]) == {100.0}


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from _nodes(child)


@pytest.mark.parametrize(
    ("statement", "args", "rows_max"),
    [
        ("read_fine", (3600.0,), 240),
        ("read_coarse", (86400.0,), 288 + 20),
        ("read_unrolled", (300.0,), 41),
        ("trim_moments", (FINE_KEPT_S, COARSE_KEPT_S), 2),
    ],
)
async def test_a_read_touches_what_it_answers(
    filled: Database, statement: str, args: tuple[float, ...], rows_max: int
) -> None:
    await recorder(filled, Processes(ManualClock()), "a").turn()
    await filled.execute("vacuum analyze fluxa.dashboard_moments")
    plan = json.loads(await filled.fetch_value("explain (analyze, format json) " + SQL[statement], *args))[0]["Plan"]
    tables = [node for node in _nodes(plan) if "Relation Name" in node and node["Node Type"] != "ModifyTable"]
    read = sum((node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"] for node in tables)
    assert read <= rows_max + 5, plan
    assert not [node for node in tables if node["Node Type"] == "Seq Scan"], plan


async def test_an_outage_of_the_database_is_raised(database: Database) -> None:
    one = recorder(database, Processes(ManualClock()), "a")
    await database.execute("alter table fluxa.dashboard_moments rename to away")
    with pytest.raises(FluxaError):
        await one.turn()
