"""Which rows of a queue, in the order of the time they are due, have not been looked at yet. Pure: no I/O."""

import datetime as dt
from dataclasses import dataclass

LAG = dt.timedelta(seconds=0.25)
"""How much is looked at twice: a time is taken a moment before the transaction that writes it is seen as open."""
BEFORE = dt.timedelta(seconds=10)
"""How far back the first look goes: who was open longer before this process began is found by the thorough pass."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What the server said at one moment.

    Attributes:
        now: its time.
        running: the transactions that were writing.
        last_id: the last message id that was given out.
    """

    now: dt.datetime
    running: frozenset[str]
    last_id: int


@dataclass(frozen=True, slots=True)
class _Seen:
    at: dt.datetime
    last_id: int


class Timeline:
    """What one process has seen of one queue.

    Time that passed once needs no second look, but for transactions that were still open then: what they wrote
    carries a time from before their commit. So each mark takes note of who is open, and when one of them is seen no
    more, the look goes back to where it was first seen. Dead rows are passed once, not at each look.
    """

    def __init__(self) -> None:
        self._from: dt.datetime | None = None
        self._marked: _Seen | None = None
        self._open: dict[str, _Seen] = {}
        self._again: list[tuple[dt.datetime, int]] = []
        self._safe_id = 0

    def begin(self, mark: Mark, scans: tuple[int, int] = (1, 0)) -> dt.datetime:
        """From what time on to look, after this mark.

        `scans` are the numbers of the oldest scan under way and of the last one begun. A scan that began before a
        commit does not see what was committed, and may move the bound of later looks past it: so when all scans are
        over that were under way when a transaction ended, the look goes back once more.
        """
        at = mark.now - LAG
        before = self._marked
        if before is None or self._from is None or at < before.at - LAG:
            # The first mark, or the server's clock was set back.
            before = _Seen(at - BEFORE, 0)
            self._from = before.at
            self._open.clear()
            self._again.clear()
        oldest, last = scans
        backs = [at for at, number in self._again if number < oldest]
        self._again = [(at, number) for at, number in self._again if number >= oldest]
        ended = [self._open.pop(one).at for one in self._open.keys() - mark.running]
        if ended and oldest <= last:
            self._again.append((min(ended), last))
        if backs or ended:
            self._from = min(self._from, *backs, *ended)
        for one in mark.running:
            self._open.setdefault(one, before)
        self._safe_id = min([before.last_id, *(one.last_id for one in self._open.values())])
        self._marked = _Seen(at, mark.last_id)
        return self._from

    def looked(self, mark: Mark, stopped_at: dt.datetime | None, *, behind_s: float = 0.0) -> None:
        """A look after this mark is done: as far as that time, which is looked at again, or (None) to its end.

        `behind_s` is how long before the mark somebody began who may yet move the bound of the look.
        """
        self._from = stopped_at or mark.now - LAG - dt.timedelta(seconds=behind_s)

    @property
    def safe_id(self) -> int:
        """Ids up to this one are decided: committed, or never to come."""
        return self._safe_id

    @property
    def safe_at(self) -> dt.datetime:
        """Nothing that is due before this time is still to be committed."""
        assert self._marked is not None  # noqa: S101 - asked after a mark only
        return min([self._marked.at, *(one.at for one in self._open.values())])

    def shift(self, seconds: float) -> None:
        """All times in the table were moved back by so much; tests let time pass so."""
        by = dt.timedelta(seconds=seconds)
        if self._from is not None and self._marked is not None:
            self._from -= by
            self._marked = _Seen(self._marked.at - by, self._marked.last_id)
            self._again = [(at - by, number) for at, number in self._again]
            self._open = {one: _Seen(seen.at - by, seen.last_id) for one, seen in self._open.items()}
