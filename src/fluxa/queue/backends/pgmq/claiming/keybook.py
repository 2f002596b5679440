"""What one process knows of the keys of one queue: which may have work, and where to begin looking. Pure: no I/O.

What it knows wrongly costs a look or a delay, never order or a limit: those are decided by the statement that claims.
"""

import datetime as dt
import itertools
from collections import OrderedDict
from collections.abc import Iterable
from typing import TypeVar

_Name = TypeVar("_Name")

_LOWS_MAX = 20_000
"""Keys whose beginnings are remembered: dead rows before them are not walked again."""

Low = int | dt.datetime


class KeyBook:
    """Keys that wait for a look, and messages without a key."""

    def __init__(self) -> None:
        self._fresh: dict[str, None] = {}
        self._waiting: dict[str, None] = {}
        self._free: dict[int, None] = {}
        self._looked_at: set[str] = set()
        self._lows: OrderedDict[str, Low] = OrderedDict()

    def begin(self) -> None:
        """A claim begins: within one, a key is looked at once."""
        self._looked_at.clear()

    @property
    def fresh(self) -> int:
        """How much was found and not looked at yet."""
        return len(self._fresh) + len(self._free)

    @property
    def waiting(self) -> int:
        """Keys that could not be claimed when they were looked at last."""
        return len(self._waiting)

    def note(self, key: str | None, ids: Iterable[int]) -> None:
        """A key, or messages without one, have something that is ready."""
        if key is None:
            self._free.update(dict.fromkeys(ids))
        elif key not in self._waiting and key not in self._looked_at:
            self._fresh[key] = None

    def pick(self, keys: int, waiting: int, ids: int) -> tuple[list[str], list[int]]:
        """Take keys out for a look, at most so many of those that wait, longest first; and ids without a key."""
        old = _taken(self._waiting, min(waiting, keys // 2))
        taken = old + _taken(self._fresh, keys - len(old))
        self._looked_at.update(taken)
        return taken, _taken(self._free, ids)

    def keep(self, key: str) -> None:
        """There is more of the key than could be claimed now; it is looked at again after all others."""
        self._fresh.pop(key, None)
        self._waiting[key] = None

    def low(self, key: str, lowest: Low) -> Low:
        """Where to begin in a key."""
        return self._lows.get(key, lowest)

    def begins(self, key: str, low: Low) -> None:
        """Nothing of the key lies before this place, and nothing ever will."""
        self._lows[key] = low
        self._lows.move_to_end(key)
        if len(self._lows) > _LOWS_MAX:
            self._lows.popitem(last=False)

    def shift(self, seconds: float) -> None:
        """As `Timeline.shift`."""
        for key, low in self._lows.items():
            if isinstance(low, dt.datetime):
                self._lows[key] = low - dt.timedelta(seconds=seconds)


def _taken(found: dict[_Name, None], count: int) -> list[_Name]:
    taken = list(itertools.islice(found, count))
    for one in taken:
        del found[one]
    return taken
