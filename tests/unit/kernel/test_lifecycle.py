"""Starting in order, stopping in reverse."""

import asyncio

import pytest

from fluxa.kernel.lifecycle import Lifetime, cancel_and_wait


class Part:
    """A service that writes down what happens to it."""

    def __init__(self, name: str, log: list[str], *, fails: bool = False) -> None:
        self._name, self._log, self._fails = name, log, fails

    async def start(self) -> None:
        if self._fails:
            raise ValueError(self._name)
        self._log.append(f"+{self._name}")

    async def stop(self) -> None:
        self._log.append(f"-{self._name}")


async def test_what_started_first_stops_last() -> None:
    log: list[str] = []
    lifetime = Lifetime()
    for name in "abc":
        await lifetime.start(Part(name, log))
    await lifetime.stop()
    await lifetime.stop()
    assert log == ["+a", "+b", "+c", "-c", "-b", "-a"]


async def test_a_part_that_does_not_start_is_not_stopped() -> None:
    log: list[str] = []
    lifetime = Lifetime()
    await lifetime.start(Part("a", log))
    with pytest.raises(ValueError, match="b"):
        await lifetime.start(Part("b", log, fails=True))
    await lifetime.stop()
    assert log == ["+a", "-a"]


async def test_a_cancelled_task_is_gone_afterwards() -> None:
    task = asyncio.create_task(asyncio.Event().wait())
    await cancel_and_wait(task)
    assert task.cancelled()
    await cancel_and_wait(task)
    await cancel_and_wait(None)
