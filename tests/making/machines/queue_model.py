"""What a queue should do, as plainly as it can be said: the oracle of the state machine."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from fluxa.queue.backend import KeyRule
from fluxa.queue.outcome import Dead, Done, Outcome, Retry, Snooze


@dataclass(frozen=True)
class Item:
    """A record: its name, failed attempts and redrives."""

    name: str
    attempt: int = 0
    redrives: int = 0


@dataclass(frozen=True)
class Message:
    """Items that travel together; an altered message has one item of which only the name is known.

    `serial` changes whenever the message is put down anew, which fences; `place` is its place in the queue.
    """

    items: tuple[Item, ...]
    due_s: float
    claims: int = 0
    altered: bool = False
    serial: int = 0
    place: int = 0
    group: str | None = None

    @property
    def key(self) -> tuple[str, ...]:
        """Every record is in one place, so its names tell messages apart."""
        return tuple(item.name for item in self.items)


@dataclass(frozen=True)
class Letter:
    """A parked item."""

    item: Item
    code: str
    altered: bool
    group: str | None = None


@dataclass
class Model:
    """One queue and its dead letters; time is a number."""

    rule: KeyRule | None = None
    now_s: float = 0.0
    stored: int = 0
    places: int = 0
    messages: dict[tuple[str, ...], Message] = field(default_factory=dict)
    dead: dict[str, Letter] = field(default_factory=dict)

    def reserve(self) -> int:
        """The next place in the queue."""
        self.places += 1
        return self.places

    def put(self, message: Message) -> None:
        """Store a message, at the end unless it has a place."""
        assert message.key not in self.messages
        self.stored += 1
        self.messages[message.key] = replace(message, serial=self.stored, place=message.place or self.reserve())

    def due(self) -> int:
        """How many are due, whatever their keys."""
        return sum(message.due_s <= self.now_s for message in self.messages.values())

    def leased(self) -> int:
        """How many are under lease."""
        return sum(map(self._is_leased, self.messages.values()))

    def _is_leased(self, message: Message) -> bool:
        return message.claims > 0 and message.due_s > self.now_s

    def ready(self) -> dict[tuple[str, ...], Message]:
        """What may be claimed now."""
        return {message.key: message for message in self._ready()}

    def _ready(self) -> Iterator[Message]:
        rule = self.rule
        for message in self.messages.values():
            if message.due_s > self.now_s:
                continue
            if rule is not None and message.group is not None:
                same = [one for one in self.messages.values() if one.group == message.group]
                if sum(map(self._is_leased, same)) >= (1 if rule.ordered else rule.limit):
                    continue
                if rule.ordered and message.place > min(one.place for one in same):
                    continue
            yield message

    def claim(self, key: tuple[str, ...], lease_s: float) -> Message:
        """Lease a message; the result is what the worker has in hand."""
        claimed = replace(self.ready()[key], claims=self.messages[key].claims + 1, due_s=self.now_s + lease_s)
        self.messages[key] = claimed
        return claimed

    def is_held(self, claimed: Message) -> bool:
        """Whether it is still the same message, and nobody claimed it since."""
        current = self.messages.get(claimed.key)
        return current is not None and (current.serial, current.claims) == (claimed.serial, claimed.claims)

    def extend(self, claimed: Message, lease_s: float) -> bool:
        """Renew a lease; whether there was one. Where keys are kept apart, one that ran out is none."""
        if not self.is_held(claimed) or (self.rule is not None and not self._is_leased(self.messages[claimed.key])):
            return False
        self.messages[claimed.key] = replace(self.messages[claimed.key], due_s=self.now_s + lease_s)
        return True

    def settle(self, claimed: Message, outcomes: tuple[Outcome, ...], delays_s: tuple[float, ...]) -> bool:
        """Carry out outcomes; whether the message was still the worker's."""
        if not self.is_held(claimed):
            return False
        del self.messages[claimed.key]
        left: list[tuple[Item, float]] = []
        for item, outcome, delay_s in zip(claimed.items, outcomes, delays_s, strict=True):
            crashes = 0 if claimed.altered else claimed.claims - 1
            failed = replace(item, attempt=item.attempt + crashes + (not claimed.altered))
            match outcome:
                case Done():
                    pass
                case Retry():
                    left.append((failed, delay_s))
                case Snooze():
                    left.append((replace(item, attempt=item.attempt + crashes), delay_s))
                case Dead(code=code):
                    self.dead[item.name] = Letter(failed, code, claimed.altered, claimed.group)
        if left and self.rule is not None and self.rule.ordered:
            self.put(
                Message(
                    tuple(item for item, _ in left),
                    self.now_s + max(delay_s for _, delay_s in left),
                    altered=claimed.altered,
                    place=claimed.place,
                    group=claimed.group,
                )
            )
        else:
            for item, delay_s in left:
                self.put(Message((item,), self.now_s + delay_s, altered=claimed.altered, group=claimed.group))
        return True

    def redrive(self, name: str) -> None:
        """Send a dead letter back."""
        letter = self.dead.pop(name)
        item = replace(letter.item, attempt=0, redrives=letter.item.redrives + (not letter.altered))
        self.put(Message((item,), self.now_s, altered=letter.altered, group=letter.group))
