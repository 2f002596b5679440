"""Workers, Postgres and connections are killed, clocks stepped, handlers stalled: no job is lost, and none done twice.

The producer's own ledger and the workers' own accounts decide, not what Fluxa says of itself. The seed is printed.
"""

import asyncio
import contextlib
import random
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from acceptance.ledger import Account, ClientLedger
from acceptance.queues import jobs
from acceptance.queues.jobs import COUNTED, EXACT, Entry
from acceptance.queues.producing import Client
from acceptance.queues.stand import Harm, Stand, Strike, running
from acceptance.queues.verdict import Fault, Found, broken, repeats
from acceptance.queues.wire import Wire
from aws.servers import KEY, REGION, SECRET, Ministack
from fluxa.apps.engines import open_queues
from fluxa.apps.settings import Settings
from fluxa.kernel.clock import SystemClock
from fluxa.postgres.listen import Notifier
from fluxa.queue.backend import DeadLetterFilter, QueueBackend
from fluxa.queue.producer import Producer

_LEFT = """
select msg_id, read_ct, extract(epoch from vt - clock_timestamp()) as due_in_s, left(message::text, 400) as message
from pgmq.q_{} order by msg_id limit 5
"""
_DRAIN_S = 80.0
"""An outbox message that a killed worker was sending waits a minute for the next one."""
_SLEEP_S, _STALL_S = 2.5 * jobs.LEASE_S, 2.0 * jobs.LEASE_S


@pytest.mark.req("QUEUE-3")
async def test_no_job_is_lost_or_done_twice_on_pgmq(home: Path, tmp_path: Path) -> None:
    settings = Settings(home=str(home), worker_port=0, log_level="warning")
    await _ordeal(tmp_path, settings, jobs_each=2_500, strikes=16, pause_s=(0.6, 2.2))


@pytest.mark.req("QUEUE-1", "QUEUE-3")
async def test_no_job_is_lost_or_done_twice_on_sqs(home: Path, tmp_path: Path, own_ministack: Ministack) -> None:
    async with Wire(own_ministack.port).open() as wire:
        settings = Settings(
            home=str(home),
            worker_port=0,
            log_level="warning",
            sqs_queues=",".join(jobs.QUEUES),
            sqs_endpoint=f"http://127.0.0.1:{wire.port}",
            sqs_region=REGION,
            sqs_access_key_id=KEY,
            sqs_secret_access_key=SECRET,
        )
        more = {"server": (2, _restart(own_ministack)), "wire": (3, _cut(wire))}
        await _ordeal(tmp_path, settings, jobs_each=1_200, strikes=15, pause_s=(0.6, 2.0), more=more)


def _restart(server: Ministack) -> Strike:
    """Stop SQS and start it again: what it has acknowledged, it has."""

    async def strike() -> Fault:
        began_s = time.monotonic()
        await asyncio.to_thread(server.stop)
        await asyncio.to_thread(server.start)
        return Fault("server", began_s, time.monotonic() + jobs.LEASE_S)

    return strike


def _cut(wire: Wire) -> Strike:
    """Break every connection to SQS in the middle of what it carries."""

    async def strike() -> Fault | None:
        began_s = time.monotonic()
        return Fault("wire", began_s, began_s + jobs.LEASE_S) if wire.cut() else None

    return strike


async def _ordeal(
    folder: Path,
    settings: Settings,
    *,
    jobs_each: int,
    strikes: int,
    pause_s: tuple[float, float],
    more: Mapping[str, tuple[int, Strike]] | None = None,
) -> None:
    seed = random.SystemRandom().randrange(10**6)
    sys.stdout.write(f"\nseed {seed}\n")
    chance = random.Random(seed)  # noqa: S311 - a plan that can be repeated
    async with running(folder, settings) as stand:
        backend, producer = await _sending(stand)
        harm = Harm(stand, chance, strikes=strikes, pause_s=pause_s)
        harm.kinds.update(more or {})
        clients = [
            _client(stand, producer, queue, random.Random(seed + place))  # noqa: S311 - likewise
            for place, queue in enumerate((EXACT, COUNTED), start=1)
        ]
        async with asyncio.TaskGroup() as group:
            group.create_task(harm.run())
            for client in clients:
                group.create_task(client.run(jobs_each, lambda: harm.finished))
        for client in clients:
            client.ledger.close()
        await _drained(stand, backend, timeout_s=_DRAIN_S)
        for client in clients:
            found = await _found(stand, backend, client.queue)
            _judge(client, Account.read(folder / client.queue), found, stand.made)
        stalls = [entry for entry in jobs.read_accounts(folder) if entry.what == "stalled"]
        assert sum(client.unheard for client in clients) > 0
        assert any(entry.ended_s - entry.at_s > jobs.LEASE_S for entry in stalls)
        await _check_transactions(stand, clients, await _all_seen(stand, backend))
        sys.stdout.write(f"struck {dict(harm.done)}; unheard {[client.unheard for client in clients]}\n")


async def _sending(stand: Stand) -> tuple[QueueBackend, Producer]:
    notifier = Notifier(stand.database)
    await stand.life.start(notifier)
    registry = jobs.app.registry
    backend = await open_queues(stand.life, stand.settings, stand.database, notifier=notifier, registry=registry)
    return backend, Producer(backend, registry, SystemClock())


def _client(stand: Stand, producer: Producer, queue: str, chance: random.Random) -> Client:
    folder = stand.folder / queue
    folder.mkdir()
    return Client(
        name=queue,
        queue=queue,
        producer=producer,
        database=stand.database,
        ledger=ClientLedger(folder / "client.ledger"),
        chance=chance,
        slow=(_SLEEP_S, _STALL_S),
        in_transactions=True,
    )


async def _drained(stand: Stand, backend: QueueBackend, *, timeout_s: float) -> None:
    """Wait until the queues are empty.

    Raises:
        TimeoutError: with what is left, and what the workers said last.
    """
    left: dict[str, int] = {}
    try:
        async with asyncio.timeout(timeout_s):
            while not left or any(left.values()):
                with contextlib.suppress(Exception):  # Postgres may still be recovering
                    left = {queue: (await backend.metrics(queue)).depth for queue in jobs.QUEUES}
                await asyncio.sleep(0.1)
    except TimeoutError:
        told = "\n".join([*await _left(stand), *await stand.tasks()])
        raise TimeoutError(f"{left} messages are left; the workers said last:\n{told}") from None


async def _left(stand: Stand) -> list[str]:
    """What a message that nobody finishes looks like."""
    told: list[str] = []
    for queue in () if stand.settings.sqs_queues else jobs.QUEUES:
        told += [str(dict(row)) for row in await stand.database.fetch(_LEFT.format(queue))]
    return told


async def _found(stand: Stand, backend: QueueBackend, queue: str) -> Found:
    letters = await backend.dead_letters(queue, DeadLetterFilter(), limit=100_000)
    entries = [entry for entry in jobs.read_accounts(stand.folder) if entry.job.startswith(f"{queue}-")]
    if queue == EXACT:
        rows = await stand.database.fetch("select job, count(*) as times from public.chaos_effects group by job")
        effects = {str(row["job"]): int(row["times"]) for row in rows}
    else:
        effects = Counter(entry.job for entry in entries if entry.what == "done")
    return Found(effects, Counter(letter.record.id for letter in letters), entries)


def _judge(client: Client, account: Account, found: Found, made: list[Fault]) -> None:
    again, unexplained = repeats(found.entries, made)
    begun = Counter(entry.job for entry in found.entries if entry.what == "began")
    sys.stdout.write(
        f"{client.queue}: sent {len(account.sent)}, acknowledged {len(account.acknowledged)}, "
        f"done {len(found.effects)}, parked {len(found.parked)}, deliveries {begun.total()}, "
        f"repeated {again} (unexplained {len(unexplained)}), at most {max(begun.values())} for one\n"
    )
    sys.stdout.writelines(f"  unexplained: {one}\n" for one in unexplained[:5])
    assert not broken(account, found, made, exact=client.queue == EXACT)
    assert len(account.acknowledged) > 1_000
    assert again > 0


async def _all_seen(stand: Stand, backend: QueueBackend) -> set[str]:
    seen = {entry.job for entry in jobs.read_accounts(stand.folder)}
    for queue in jobs.QUEUES:
        letters = await backend.dead_letters(queue, DeadLetterFilter(), limit=100_000)
        seen.update(letter.record.id for letter in letters)
    return seen


async def _check_transactions(stand: Stand, clients: list[Client], seen: set[str]) -> None:
    """A job is there if and only if the rows of its transaction are."""
    rows = await stand.database.fetch("select job from public.chaos_orders")
    orders = {str(row["job"]) for row in rows}
    for client in clients:
        assert client.never
        assert not client.never & seen
        assert client.ordered & orders == client.ordered & seen
        assert not client.never & orders


def _began(job: str, pid: int, at_s: float) -> Entry:
    return Entry("began", job, pid, at_s)


def test_a_repeated_delivery_needs_a_fault_that_hit_its_worker() -> None:
    twice = [_began("a", 1, 10.0), _began("a", 2, 12.0)]
    assert repeats(twice, [])[1]
    assert repeats(twice, [Fault("worker", 11.0, 11.0, 2)])[1]
    assert repeats(twice, [Fault("worker", 13.0, 13.0, 1)])[1]
    assert repeats(twice, [Fault("worker", 11.0, 11.0, 1)]) == (1, [])
    assert repeats(twice, [Fault("postgres", 9.0, 10.5)]) == (1, [])
    assert repeats([*twice, Entry("stalled", "b", 1, 9.0, 11.0)], []) == (1, [])
    assert repeats([*twice, _began("a", 1, 20.0)], [Fault("worker", 11.0, 11.0, 1)])[0] == 2
    assert repeats([*twice, _began("a", 1, 20.0)], [Fault("worker", 11.0, 11.0, 1)])[1] == [
        "a of 2, 8.00 s later of 1; around it: worker of 1 -1.00 to -1.00 s"
    ]


def test_the_verdict_finds_what_is_lost_doubled_or_delivered_for_no_reason() -> None:
    account = Account(sent={"a", "b", "c"}, acknowledged={"a", "b"})
    once = [_began("a", 1, 1.0)]
    assert broken(account, Found({"a": 1}, {"b": 1}, once), [], exact=True) == []
    assert broken(account, Found({"a": 2}, {"b": 1}, once), [], exact=False) == []
    assert "1 kept more than once" in broken(account, Found({"a": 2}, {"b": 1}, once), [], exact=True)[0]
    assert "1 kept more than once" in broken(account, Found({"a": 1, "b": 1}, {"b": 1}, once), [], exact=True)[0]
    assert "1 acknowledged but lost" in broken(account, Found({"a": 1}, {}, once), [], exact=False)[0]
    again = [*once, _began("a", 1, 2.0)]
    assert "without a reason" in broken(account, Found({"a": 1}, {"b": 1}, again), [], exact=True)[0]
