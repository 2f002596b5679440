"""One moment of an installation, small enough to keep: what went on in some seconds; several made one. Pure."""

from collections import defaultdict
from collections.abc import Sequence

import msgspec

Spread = dict[str, float]
"""How many were observed up to each bound, as a metrics page writes it; empty: it is known that nothing was."""


class Flow(msgspec.Struct, frozen=True):
    """What was counted.

    Attributes:
        over_s: seconds of which it is known.
        per_s: how many a second, by subject; a subject that is not there had none.
    """

    over_s: float
    per_s: dict[str, float]


class Process(msgspec.Struct, frozen=True):
    """A process that was asked.

    Attributes:
        target: URL of its metrics page.
        service: what it is; empty while nobody knows.
        reason: why it could not be read; empty if it was.
    """

    target: str
    service: str
    reason: str = ""


class Remark(msgspec.Struct, frozen=True):
    """A routine check that is not ok.

    Attributes:
        check: its name.
        verdict: warning, failed or UNKNOWN.
        said: what was found.
        action: what to do first.
    """

    check: str
    verdict: str
    said: str
    action: str


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a moment. What is not in it is not known, which is not nothing.

    Attributes:
        over_s: seconds that it covers, up to when it is written.
        up: processes that could be read; of several moments the fewest.
        expected: processes that should be there.
        flows: what was counted, by source.
        spreads: histograms, by source and subject.
        levels: gauges, by source and subject; of several moments the highest, so that no peak is lost.
        processes: who was asked; of several moments the last.
        remarks: the checks that were not ok; of several moments the last.
    """

    over_s: float
    up: int
    expected: int
    flows: dict[str, Flow] = {}
    spreads: dict[str, dict[str, Spread]] = {}
    levels: dict[str, dict[str, float]] = {}
    processes: list[Process] = []
    remarks: list[Remark] = []


def merged(moments: Sequence[Moment]) -> Moment:
    """Several moments, in their order, as one.

    Raises:
        ValueError: for none.
    """
    if not moments:
        raise ValueError("there is no moment")
    if len(moments) == 1:
        return moments[0]
    spreads: dict[str, dict[str, Spread]] = {}
    levels: dict[str, dict[str, float]] = {}
    flows: dict[str, list[Flow]] = defaultdict(list)
    for one in moments:
        for source, flow in one.flows.items():
            flows[source].append(flow)
        for source, by_subject in one.spreads.items():
            kept = spreads.setdefault(source, {})
            for subject, spread in by_subject.items():
                whole = kept.setdefault(subject, {})
                for bound, count in spread.items():
                    whole[bound] = whole.get(bound, 0.0) + count
        for source, values in one.levels.items():
            highest = levels.setdefault(source, {})
            for subject, value in values.items():
                highest[subject] = max(value, highest.get(subject, value))
    return Moment(
        over_s=sum(one.over_s for one in moments),
        up=min(one.up for one in moments),
        expected=max(one.expected for one in moments),
        flows={source: _flow(of) for source, of in flows.items()},
        spreads=spreads,
        levels=levels,
        processes=moments[-1].processes,
        remarks=moments[-1].remarks,
    )


def _flow(flows: Sequence[Flow]) -> Flow:
    over_s = sum(one.over_s for one in flows)
    counts: dict[str, float] = defaultdict(float)
    for one in flows:
        for subject, rate in one.per_s.items():
            counts[subject] += rate * one.over_s
    return Flow(over_s, {subject: count / over_s for subject, count in counts.items()})


def added(one: Spread, other: Spread) -> Spread:
    """Two histograms of the same bounds as one."""
    return {bound: one.get(bound, 0.0) + other.get(bound, 0.0) for bound in {**one, **other}}
