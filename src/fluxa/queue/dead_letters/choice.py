"""Decides which dead letters may be sent again and which must not: values in, a verdict out. No I/O."""

import enum
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from fluxa.kernel.errors import RetryClass, retry_class
from fluxa.queue.record import DeadLetter
from fluxa.queue.registry import Registry

REDRIVES_MAX = 5
"""A letter that came back so often is not sent again unless somebody says so: its cause was not mended."""

_STRICTNESS = (RetryClass.TRANSIENT, RetryClass.PERMANENT, RetryClass.SECURITY)


class Verdict(enum.StrEnum):
    """What a redrive does with a letter."""

    MOVE = "move"
    REFUSE = "refuse"
    """Permanent or security, and its code was not forced."""
    REFUSE_LOOP = "refuse_loop"
    """Sent back too often already."""
    QUARANTINE = "quarantine"
    """Altered: out of everybody's way, kept as it was found."""


@dataclass(frozen=True, slots=True)
class Terms:
    """On which terms letters are sent again.

    Attributes:
        forced: codes of permanent or security failures that are meant to go back all the same.
        redrives_max: letters sent back so often stay; None: any number.
        class_of: the class of an error code in the letters' queue.
    """

    forced: frozenset[str] = frozenset()
    redrives_max: int | None = REDRIVES_MAX
    class_of: Callable[[str], RetryClass] = retry_class


def class_in(registry: Registry | None, queue: str) -> Callable[[str], RetryClass]:
    """What tells the class of an error code in a queue: its own policy where the registry knows it."""
    return registry.get(queue).retry.class_of if registry is not None and queue in registry else retry_class


def class_of(letter: DeadLetter, of_code: Callable[[str], RetryClass] = retry_class) -> RetryClass:
    """The class that counts: the strictest of what is known.

    Headers can be altered in the queue, so they cannot make a failure look harmless: the failure inside the
    record, which its digest covers, and the class from when it was parked count too.
    """
    known = [of_code(letter.code), retry_class(letter.code), letter.retry]
    if letter.record.failure is not None:
        known.append(retry_class(letter.record.failure.code))
    return max(known, key=_STRICTNESS.index)


def judge(letter: DeadLetter, terms: Terms) -> Verdict:
    """What a redrive does with a letter.

    One that cannot be read is sent again, as the text it is, only if its code is forced. Else it is quarantined,
    but for one that was never readable to us (`MalformedMessage`): nobody altered it, and an update may read it.
    """
    kind = class_of(letter, terms.class_of)
    if letter.code not in terms.forced:
        if not letter.readable and kind is not RetryClass.PERMANENT:
            return Verdict.QUARANTINE
        if kind is not RetryClass.TRANSIENT:
            return Verdict.REFUSE
    if terms.redrives_max is not None and letter.record.redrives >= terms.redrives_max:
        return Verdict.REFUSE_LOOP
    return Verdict.MOVE


@dataclass(frozen=True, slots=True)
class Judged:
    """A page of letters, each with its place.

    Attributes:
        move: ids of those to send again, oldest first.
        quarantine: those that were altered.
        refused_by_code: how many stay since their class forbids it, by their code.
        looped: how many stay since they were sent back too often.
        seen: how many letters were judged.
    """

    move: tuple[str, ...]
    quarantine: tuple[DeadLetter, ...]
    refused_by_code: Mapping[str, int]
    looped: int
    seen: int

    @property
    def refused(self) -> int:
        """How many stay."""
        return sum(self.refused_by_code.values()) + self.looped


def judge_all(letters: Iterable[DeadLetter], terms: Terms, *, moves_max: int | None = None) -> Judged:
    """Judge letters in order; with `moves_max`, only up to the one that is the last of so many to send again."""
    move: list[str] = []
    quarantine: list[DeadLetter] = []
    refused: Counter[str] = Counter()
    looped = seen = 0
    for letter in letters:
        seen += 1
        match judge(letter, terms):
            case Verdict.MOVE:
                move.append(letter.message_id)
            case Verdict.QUARANTINE:
                quarantine.append(letter)
            case Verdict.REFUSE:
                refused[letter.code] += 1
            case Verdict.REFUSE_LOOP:
                looped += 1
        if len(move) == moves_max:
            break
    return Judged(tuple(move), tuple(quarantine), refused, looped, seen)


@dataclass(frozen=True, slots=True)
class RedrivePlan:
    """What a redrive would do.

    Attributes:
        by_code: how many would be sent again, by error code.
        by_class: how many would be sent again, by retry class.
        refused_by_code: how many would stay since their class forbids it, by error code.
        looped: how many would stay since they were sent back too often.
        quarantined: how many would be quarantined, since they were altered.
    """

    by_code: Mapping[str, int] = field(default_factory=dict)
    by_class: Mapping[RetryClass, int] = field(default_factory=dict)
    refused_by_code: Mapping[str, int] = field(default_factory=dict)
    looped: int = 0
    quarantined: int = 0

    @property
    def moving(self) -> int:
        """How many would be sent again."""
        return sum(self.by_code.values())

    @property
    def refused(self) -> int:
        """How many would stay."""
        return sum(self.refused_by_code.values()) + self.looped

    @property
    def total(self) -> int:
        """How many letters are meant."""
        return self.moving + self.refused + self.quarantined


class Planner:
    """Adds up what a redrive would do, page by page."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._by_code: Counter[str] = Counter()
        self._by_class: Counter[RetryClass] = Counter()
        self._refused: Counter[str] = Counter()
        self._looped = 0
        self._quarantined = 0

    def add(self, letters: Iterable[DeadLetter]) -> None:
        """Judge a page."""
        page = list(letters)
        judged = judge_all(page, self._terms)
        moving = frozenset(judged.move)
        for letter in page:
            if letter.message_id in moving:
                self._by_code[letter.code] += 1
                self._by_class[class_of(letter, self._terms.class_of)] += 1
        self._refused.update(judged.refused_by_code)
        self._looped += judged.looped
        self._quarantined += len(judged.quarantine)

    def plan(self) -> RedrivePlan:
        """The plan for all pages so far."""
        return RedrivePlan(
            dict(self._by_code), dict(self._by_class), dict(self._refused), self._looped, self._quarantined
        )
