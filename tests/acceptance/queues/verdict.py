"""Holds workers to their promises: nothing lost or done twice, and no delivery repeated without a fault of ours."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from acceptance.ledger import Account, faults
from acceptance.queues.jobs import LEASE_S, Entry

_NEAR_S = 6.0
_CLAIMED_S = LEASE_S
"""Seconds that a record may wait in its worker before it begins; a fault in that time may have ended its lease."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that we did.

    Attributes:
        kind: what.
        began_s: by the clock that nobody steps.
        ended_s: when its consequences were over.
        pid: of the only process it hit; None if it hit all.
    """

    kind: str
    began_s: float
    ended_s: float
    pid: int | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """What there is in the end.

    Attributes:
        effects: finished work by job: rows in Postgres, or entries of workers.
        parked: dead letters by job.
        entries: all that workers noted.
    """

    effects: Mapping[str, int]
    parked: Mapping[str, int]
    entries: Sequence[Entry]


def broken(account: Account, found: Found, made: Sequence[Fault], *, exact: bool) -> list[str]:
    """Every promise that was broken; empty if all were kept.

    Args:
        account: what the producer knows.
        found: what there is of its jobs.
        made: what was done to the system.
        exact: whether an effect may be there once only; else more often where a delivery was repeated.
    """
    if exact:
        wrong = faults(account, found.effects, found.parked)
    else:  # a worker may have died, or stalled, between the work and its acknowledgement: again, or parked as well
        wrong = faults(account, dict.fromkeys([*found.effects, *found.parked], 1), {})
    unexplained = repeats(found.entries, made)[1]
    if unexplained:
        wrong.append(f"{len(unexplained)} delivered again without a reason, such as {', '.join(unexplained[:3])}")
    return wrong


def repeats(entries: Sequence[Entry], made: Sequence[Fault]) -> tuple[int, list[str]]:
    """How many deliveries were repetitions, and those that no fault explains.

    The fault hit the first delivery's worker before the second one began; or the second one's worker stalled, so that
    it began with a lease that was over.
    """
    stalls = [Fault("stall", one.at_s, one.ended_s, one.pid) for one in entries if one.what == "stalled"]
    reasons = [*made, *stalls]
    deliveries: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        if entry.what == "began":
            deliveries[entry.job].append(entry)
    count = 0
    unexplained: list[str] = []
    for job, begun in deliveries.items():
        for first, second in pairwise(begun):
            count += 1
            if not any(_explains(reason, first, second) for reason in reasons):
                unexplained.append(_story(job, first, second, reasons))
    return count, unexplained


def _story(job: str, first: Entry, second: Entry, reasons: Sequence[Fault]) -> str:
    """A repeated delivery, and what happened around it."""
    near = [
        f"{one.kind} of {one.pid or 'all'} {one.began_s - first.at_s:+.2f} to {one.ended_s - first.at_s:+.2f} s"
        for one in reasons
        if abs(one.began_s - first.at_s) < _NEAR_S
    ]
    after_s = second.at_s - first.at_s
    return f"{job} of {first.pid}, {after_s:.2f} s later of {second.pid}; around it: {', '.join(near) or 'nothing'}"


def _explains(reason: Fault, first: Entry, second: Entry) -> bool:
    hit = {None, first.pid}
    if reason.kind == "stall":
        hit.add(second.pid)  # while it stalled its lease ended and another worker was first; it began nevertheless
    if reason.pid not in hit:
        return False
    return reason.began_s <= second.at_s and reason.ended_s >= first.at_s - _CLAIMED_S
