"""What programs declare and operators change (QUEUE-14)."""

import asyncio

import msgspec
import pytest

from fluxa.application import Fluxa
from fluxa.kernel import json
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.operations.cron import Schedule
from integration.cron.running import QUEUE, Cron

pytestmark = pytest.mark.req("QUEUE-14")


class Program:
    """What a program declares, at each of its starts."""

    def __init__(self, **schedules: str) -> None:
        self.app = Fluxa()
        for name, expression in schedules.items():
            self.app.cron(name, expression, queue=QUEUE, body={"n": name})

    async def start(self, cron: Cron, name: str = "shop.app") -> None:
        await cron.schedules.declare(name, list(self.app.schedules.values()))


async def test_what_a_program_declares_is_there_and_changes_with_it(cron: Cron) -> None:
    await Program(digest="@daily", sweep="0 3 * * *").start(cron)
    found = {standing.schedule.name: standing for standing in await cron.schedules.all()}
    assert json.decode(found["digest"].schedule.body) == {"n": "digest"}
    assert found["sweep"].declared_by == "shop.app"
    await Program(digest="@hourly").start(cron)
    (left,) = await cron.schedules.all()
    assert (left.schedule.name, left.schedule.expression) == ("digest", "@hourly")


async def test_what_operators_changed_stays_as_they_want_it(cron: Cron) -> None:
    await Program(digest="@daily", sweep="@daily", stopped="@daily").start(cron)
    await cron.schedules.add(Schedule("digest", "0 6 * * *", QUEUE), by="mia", replace=True)
    await cron.schedules.add(Schedule("sweep", "0 7 * * *", QUEUE), by="mia", replace=True)
    await cron.schedules.disable("stopped", by="mia")
    with pytest.raises(FluxaError, match="fluxa cron disable stopped"):
        await cron.schedules.remove("stopped")
    await Program(digest="@hourly", stopped="@hourly").start(cron)
    found = {standing.schedule.name: standing for standing in await cron.schedules.all()}
    assert found["digest"].schedule.expression == "0 6 * * *"
    assert (found["sweep"].schedule.expression, found["sweep"].declared_by) == ("0 7 * * *", None)
    assert (found["stopped"].schedule.expression, found["stopped"].enabled) == ("@hourly", False)


async def test_an_operators_own_schedule_is_not_taken_by_a_program_of_the_same_name(cron: Cron) -> None:
    await cron.add("digest", when="0 6 * * *")
    await Program(digest="@daily").start(cron)
    standing = await cron.schedules.get("digest")
    assert (standing.schedule.expression, standing.declared_by) == ("0 6 * * *", None)


async def test_a_start_that_changes_nothing_moves_no_due_time(cron: Cron) -> None:
    await Program(digest="* * * * *").start(cron)
    await cron.miss(5)
    due_at = await cron.next_at()
    await asyncio.gather(*(Program(digest="* * * * *").start(cron) for _ in range(8)))
    assert await cron.next_at() == due_at


@pytest.mark.parametrize(
    ("name", "expression", "queue", "said"),
    [
        ("digest", "@often", QUEUE, "no cron expression"),
        ("Digest", "@daily", QUEUE, "names no schedule"),
        ("digest", "@daily", "pulze", "Did you mean pulse"),
        ("twice", "@daily", QUEUE, "two schedules named twice"),
    ],
)
def test_a_declaration_that_cannot_be_stops_the_program(name: str, expression: str, queue: str, said: str) -> None:
    app = Fluxa()
    app.cron("twice", "@daily", queue=QUEUE)
    with pytest.raises(FluxaError, match=said) as caught:
        app.cron(name, expression, queue=queue)
    assert caught.value.code == ErrorCode.CONFIGURATION


def test_a_body_is_bytes_or_json() -> None:
    app = Fluxa()
    assert app.cron("a", "@daily", queue=QUEUE).body == b"{}"
    assert app.cron("b", "@daily", queue=QUEUE, body=b"\x00").body == b"\x00"
    assert msgspec.json.decode(app.cron("c", "@daily", queue=QUEUE, body=["x"]).body) == ["x"]
