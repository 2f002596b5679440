"""Sends dead letters back to their queue: which ones (pure), then in small transactions. Never what must not be."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from fluxa.kernel.errors import RetryClass, retry_class
from fluxa.queue.backend import DeadLetterFilter, QueueBackend
from fluxa.queue.record import DeadLetter

_Key = TypeVar("_Key")

BATCH = 500
"""Dead letters moved in one transaction, and read in one page."""


@dataclass(frozen=True, slots=True)
class RedrivePlan:
    """What a redrive would do.

    Attributes:
        to_move: ids in the dead-letter queue, oldest first.
        by_code: how many of them, by error code.
        by_class: how many of them, by retry class.
        refused_by_code: how many stay because their class forbids it and their code was not forced.
    """

    to_move: tuple[str, ...]
    by_code: Mapping[str, int] = field(default_factory=dict)
    by_class: Mapping[RetryClass, int] = field(default_factory=dict)
    refused_by_code: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RedriveReport:
    """What a redrive did.

    Attributes:
        plan: what it set out to do.
        moved: how many went back; less than planned if somebody else moved or purged some meanwhile.
        dry_run: whether it only looked.
    """

    plan: RedrivePlan
    moved: int
    dry_run: bool


@dataclass(frozen=True, slots=True)
class RedriveProgress:
    """How far a redrive has come: `handled` of `total` dead letters, `moved` of them back in their queue."""

    handled: int
    moved: int
    total: int


def class_of(letter: DeadLetter) -> RetryClass:
    """The class that counts: the table's, or the one from when it was parked if that was stricter.

    Headers can be altered in the queue, so they cannot make a failure look harmless.
    """
    known = retry_class(letter.code)
    return letter.retry if known is RetryClass.TRANSIENT else known


def plan_redrive(letters: Iterable[DeadLetter], which: DeadLetterFilter, forced: frozenset[str]) -> RedrivePlan:
    """Choose from dead letters: those meant, without permanent and security failures that were not forced by code."""
    to_move: list[str] = []
    by_code: Counter[str] = Counter()
    by_class: Counter[RetryClass] = Counter()
    refused: Counter[str] = Counter()
    ids = frozenset(which.message_ids)
    for letter in letters:
        if (ids and letter.message_id not in ids) or (which.codes and letter.code not in which.codes):
            continue
        kind = class_of(letter)
        if kind is not RetryClass.TRANSIENT and letter.code not in forced:
            refused[letter.code] += 1
            continue
        to_move.append(letter.message_id)
        by_code[letter.code] += 1
        by_class[kind] += 1
    return RedrivePlan(tuple(to_move), dict(by_code), dict(by_class), dict(refused))


async def plan(backend: QueueBackend, queue: str, which: DeadLetterFilter, *, forced: frozenset[str]) -> RedrivePlan:
    """Read the dead letters and plan. What is parked later is not part of the plan."""
    plans: list[RedrivePlan] = []
    after: str | None = None
    # The engine knows a letter's code as it was parked; one altered since has another one, so codes are compared here.
    pages = DeadLetterFilter(message_ids=which.message_ids)
    while letters := await backend.dead_letters(queue, pages, limit=BATCH, after=after):
        after = letters[-1].message_id
        plans.append(plan_redrive(letters, which, forced))
    return RedrivePlan(
        tuple(message_id for one in plans for message_id in one.to_move),
        _sum(one.by_code for one in plans),
        _sum(one.by_class for one in plans),
        _sum(one.refused_by_code for one in plans),
    )


def _sum(parts: Iterable[Mapping[_Key, int]]) -> dict[_Key, int]:
    total: Counter[_Key] = Counter()
    for part in parts:
        total.update(part)
    return dict(total)


async def redrive(
    backend: QueueBackend,
    queue: str,
    which: DeadLetterFilter,
    *,
    forced: frozenset[str] = frozenset(),
    dry_run: bool = False,
    on_progress: Callable[[RedriveProgress], None] = lambda _progress: None,
) -> RedriveReport:
    """Send dead letters back, oldest first, at most 500 in a transaction.

    Stopped half-way, it leaves each letter in one place or the other; run again, it goes on with the rest.

    Args:
        backend: the engine.
        queue: whose dead letters.
        which: which of them.
        forced: codes of permanent or security failures that are meant to go back all the same.
        dry_run: plan only.
        on_progress: called after each transaction.
    """
    planned = await plan(backend, queue, which, forced=forced)
    moved = 0
    total = len(planned.to_move)
    if not dry_run:
        for start in range(0, total, BATCH):
            batch = planned.to_move[start : start + BATCH]
            moved += await backend.redrive(queue, batch)
            on_progress(RedriveProgress(start + len(batch), moved, total))
    return RedriveReport(planned, moved, dry_run)
