"""The sender's own book: what it sent and what it was told. The audit compares it with what queries find."""

from collections import Counter
from dataclasses import dataclass, field

from demo.mischief import Kind, Line


@dataclass(slots=True)
class Ledger:
    """One entry for each answer.

    Attributes:
        acknowledged: how often each (source, id) was acknowledged.
        kinds: lines that were answered, by kind.
        refused: lines that were refused, by code.
        surprises: answers other than expected, as text.
        requests: requests that got an answer for their events.
        repeats: requests sent again after 429, 503 or a lost connection, by reason.
        unanswered: how often each (source, id) was sent without getting an answer: it may have arrived.
    """

    acknowledged: Counter[tuple[str, str]] = field(default_factory=Counter)
    kinds: Counter[Kind] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    surprises: list[str] = field(default_factory=list)
    requests: int = 0
    repeats: Counter[str] = field(default_factory=Counter)
    unanswered: Counter[tuple[str, str]] = field(default_factory=Counter)

    def answered(self, line: Line, code: str | None) -> None:
        """Enter what became of a line: None for acknowledged, else the code of the refusal."""
        self.kinds[line.kind] += 1
        if code is None:
            self.acknowledged[line.identity] += 1
        else:
            self.refused[code] += 1
        if code != line.refusal:
            self.surprises.append(
                f"{line.kind} {line.identity[1]}: expected {line.refusal or 'accepted'}, got {code or 'accepted'}"
            )

    def lost(self, lines: list[Line]) -> None:
        """Enter a request that got no answer: whether its good lines arrived is unknown."""
        for line in lines:
            if line.refusal is None:
                self.unanswered[line.identity] += 1

    @property
    def accepted(self) -> int:
        """Lines that were acknowledged, duplicates too."""
        return self.acknowledged.total()

    @property
    def distinct(self) -> int:
        """Events that were acknowledged at least once."""
        return len(self.acknowledged)

    @property
    def duplicates(self) -> int:
        """Acknowledgements beyond the first of each event."""
        return self.accepted - self.distinct


@dataclass(frozen=True, slots=True)
class Found:
    """What the queries found after everything was processed.

    Attributes:
        stored: how many rows each (source, id) has.
        seen: how often each identity was counted as sent.
        parked: (source, id) to the code of its dead letter.
        queued: messages still in the queue.
    """

    stored: Counter[tuple[str, str]]
    seen: dict[tuple[str, str], int]
    parked: dict[tuple[str, str], str]
    queued: int


@dataclass(frozen=True, slots=True)
class Check:
    """One comparison of book and database."""

    claim: str
    expected: str
    found: str

    @property
    def holds(self) -> bool:
        """Whether they agree."""
        return self.expected == self.found


def number(value: int) -> str:
    """A number as people read it."""
    return f"{value:,}".replace(",", " ")


def audit(ledger: Ledger, found: Found, to_be_parked: dict[tuple[str, str], str]) -> list[Check]:
    """Every claim of the demonstration, each from the sender's book on one side and a query on the other.

    Args:
        ledger: the sender's book.
        found: what the queries say.
        to_be_parked: events that must be in the dead letters, with their codes.
    """
    acknowledged = set(ledger.acknowledged)
    due = acknowledged - to_be_parked.keys()
    strangers = found.stored.keys() - acknowledged - ledger.unanswered.keys()
    seen_wrong = [
        identity
        for identity, times in ledger.acknowledged.items()
        if identity not in to_be_parked
        and not times <= found.seen.get(identity, 0) <= times + ledger.unanswered[identity]
    ]
    duplicates = sum(found.seen.get(identity, 1) - 1 for identity in due)
    unsure = ledger.unanswered.total()
    return [
        Check("answers other than expected", number(0), number(len(ledger.surprises))),
        Check("acknowledged and stored exactly once", number(len(due)), number(_once(found, due))),
        Check("acknowledged, but neither stored nor parked", number(0), number(_missing(found, acknowledged))),
        Check("stored twice", number(0), number(sum(1 for times in found.stored.values() if times > 1))),
        Check("stored, but never acknowledged", number(0), number(len(strangers))),
        Check(
            "duplicates acknowledged, not stored",
            number(ledger.duplicates),
            number(ledger.duplicates if unsure and duplicates >= ledger.duplicates else duplicates),
        ),
        Check("identities counted otherwise than sent", number(0), number(len(seen_wrong))),
        *_parked(found, to_be_parked),
        Check("messages left in the queue", number(0), number(found.queued)),
    ]


def _once(found: Found, due: set[tuple[str, str]]) -> int:
    return sum(1 for identity in due if found.stored.get(identity) == 1 and identity not in found.parked)


def _missing(found: Found, acknowledged: set[tuple[str, str]]) -> int:
    return sum(1 for identity in acknowledged if identity not in found.stored and identity not in found.parked)


def _parked(found: Found, to_be_parked: dict[tuple[str, str], str]) -> list[Check]:
    checks = []
    for code in sorted(set(to_be_parked.values())):
        due = {identity for identity, expected in to_be_parked.items() if expected == code}
        there = sum(1 for identity in due if found.parked.get(identity) == code)
        checks.append(Check(f"parked as {code}", number(len(due)), number(there)))
    others = sum(1 for identity, code in found.parked.items() if to_be_parked.get(identity) != code)
    checks.append(Check("parked otherwise", number(0), number(others)))
    return checks
