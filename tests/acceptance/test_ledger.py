"""Under SIGKILLs and cut connections every acknowledged event is stored once or parked once, and none twice.

The clients' own ledgers decide, not what Fluxa says of itself. The seed is printed; FLUXA's parts are real processes.
"""

import asyncio
import random
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import pytest

from acceptance.chaos import Killer, Stack, drained, running_stack
from acceptance.ledger import Account, ClientLedger, faults
from acceptance.load import Client, Totals
from fluxa.events.carriage import QUEUE
from fluxa.kernel.clock import SystemClock
from fluxa.queue.backend import DeadLetterFilter
from fluxa.queue.backends.pgmq.backend import PgmqBackend
from fluxa.queue.record import DeadLetter

_CLIENTS = 6


async def _parked(stack: Stack) -> list[DeadLetter]:
    backend = PgmqBackend(stack.database, listener=None, notifier=None, clock=SystemClock())
    return await backend.dead_letters(QUEUE, DeadLetterFilter(), limit=100_000)


def _new_seed() -> int:
    return random.SystemRandom().randrange(10**6)


async def _ordeal(
    home: Path, folder: Path, *, events: int, kills: int, pause_s: tuple[float, float], seed: int
) -> None:
    chance = random.Random(seed)  # noqa: S311 - a plan that can be repeated
    totals = Totals()
    async with running_stack(home) as stack:
        killer = Killer(stack, chance=chance, kills=kills, pause_s=pause_s)
        ledgers = [ClientLedger(folder / f"client{number}.ledger") for number in range(_CLIENTS)]
        clients = [
            Client(
                name=f"client{number}",
                base_url=stack.url,
                api_key=stack.api_key,
                ledger=ledger,
                objects=home / "objects",
                chance=random.Random(seed * 1000 + number),  # noqa: S311 - likewise
                totals=totals,
                enough=lambda: killer.finished,
            )
            for number, ledger in enumerate(ledgers)
        ]
        async with asyncio.TaskGroup() as group:
            group.create_task(killer.run())
            for client in clients:
                group.create_task(client.run(-(-events // _CLIENTS)))
        await drained(stack, timeout_s=60)
        rows = await stack.database.fetch("select id, count(*) as times from fluxa.events group by id")
        stored = Counter({str(row["id"]): int(row["times"]) for row in rows})
        letters = await _parked(stack)
        for ledger in ledgers:
            ledger.close()
    account = Account.read(folder)
    parked = Counter(letter.record.id for letter in letters)
    codes = Counter(letter.code for letter in letters)
    sys.stdout.write(
        f"\nseed {seed}: sent {len(account.sent)}, acknowledged {len(account.acknowledged)}, stored {stored.total()}, "
        f"parked {dict(codes)}; killed {dict(killer.done)}; clients {asdict(totals)}\n"
    )
    assert not faults(account, stored, parked)
    assert len(account.acknowledged) >= events * 0.9
    assert killer.kills >= kills
    assert set(codes) <= {"PayloadMissing", "HandlerCrash"}
    assert totals.failed_requests > 0
    assert totals.aborted > 0


@pytest.mark.req("PIPE-4", "PIPE-5", "PIPE-7", "PIPE-11")
async def test_five_thousand_events_survive_six_kills(home: Path, tmp_path: Path) -> None:
    await _ordeal(
        home, tmp_path, events=5_000, kills=6, pause_s=(0.3, 1.2), seed=random.SystemRandom().randrange(10**6)
    )


@pytest.mark.req("PIPE-4", "PIPE-5", "PIPE-7", "PIPE-11")
async def test_fifty_thousand_events_survive_thirty_kills(home: Path, tmp_path: Path) -> None:
    await _ordeal(home, tmp_path, events=52_000, kills=32, pause_s=(0.8, 3.0), seed=_new_seed())


def test_the_checker_finds_what_is_lost_doubled_or_invented() -> None:
    account = Account(sent={"a", "b", "c", "d", "e"}, acknowledged={"a", "b", "c"})
    assert faults(account, {"a": 1, "b": 1, "d": 1}, {"c": 1}) == []
    assert "1 acknowledged but lost, such as c" in faults(account, {"a": 1, "b": 1}, {})
    assert "2 kept more than once" in faults(account, {"a": 2, "b": 1, "c": 1}, {"b": 1})[0]
    assert "1 kept more than once" in faults(account, {"a": 1, "b": 1, "c": 1, "d": 2}, {})[0]
    assert "1 kept but never sent, such as x" in faults(account, {"a": 1, "b": 1, "c": 1, "x": 1}, {})


def test_a_ledger_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    for name, acknowledged in (("one", ["1"]), ("two", [])):
        ledger = ClientLedger(tmp_path / f"{name}.ledger")
        ledger.sends([f"{name}-{n}" for n in (1, 2)])
        ledger.acknowledged(f"{name}-{n}" for n in acknowledged)
        ledger.close()
    account = Account.read(tmp_path)
    assert account.sent == {"one-1", "one-2", "two-1", "two-2"}
    assert account.acknowledged == {"one-1"}
