"""What a queue should do, as plainly as it can be said: the oracle of the state machine."""

from dataclasses import dataclass, field, replace

from fluxa.queue.outcome import Dead, Done, Outcome, Retry, Snooze


@dataclass(frozen=True)
class Item:
    """A record: its name, failed attempts and redrives."""

    name: str
    attempt: int = 0
    redrives: int = 0


@dataclass(frozen=True)
class Message:
    """Items that travel together; an altered message has one item of which only the name is known."""

    items: tuple[Item, ...]
    due_s: float
    claims: int = 0
    altered: bool = False
    serial: int = 0

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


@dataclass
class Model:
    """One queue and its dead letters; time is a number."""

    now_s: float = 0.0
    stored: int = 0
    messages: dict[tuple[str, ...], Message] = field(default_factory=dict)
    dead: dict[str, Letter] = field(default_factory=dict)

    def put(self, message: Message) -> None:
        """Store a message."""
        assert message.key not in self.messages
        self.stored += 1
        self.messages[message.key] = replace(message, serial=self.stored)

    def ready(self) -> dict[tuple[str, ...], Message]:
        """What may be claimed now."""
        return {key: message for key, message in self.messages.items() if message.due_s <= self.now_s}

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
        """Renew a lease; whether there was one."""
        if not self.is_held(claimed):
            return False
        self.messages[claimed.key] = replace(self.messages[claimed.key], due_s=self.now_s + lease_s)
        return True

    def settle(self, claimed: Message, outcomes: tuple[Outcome, ...], delays_s: tuple[float, ...]) -> bool:
        """Carry out outcomes; whether the message was still the worker's."""
        if not self.is_held(claimed):
            return False
        del self.messages[claimed.key]
        for item, outcome, delay_s in zip(claimed.items, outcomes, delays_s, strict=True):
            crashes = 0 if claimed.altered else claimed.claims - 1
            failed = replace(item, attempt=item.attempt + crashes + (not claimed.altered))
            match outcome:
                case Done():
                    pass
                case Retry():
                    self.put(Message((failed,), self.now_s + delay_s, altered=claimed.altered))
                case Snooze():
                    snoozed = replace(item, attempt=item.attempt + crashes)
                    self.put(Message((snoozed,), self.now_s + delay_s, altered=claimed.altered))
                case Dead(code=code):
                    self.dead[item.name] = Letter(failed, code, claimed.altered)
        return True

    def redrive(self, name: str) -> None:
        """Send a dead letter back."""
        letter = self.dead.pop(name)
        item = replace(letter.item, attempt=0, redrives=letter.item.redrives + (not letter.altered))
        self.put(Message((item,), self.now_s, altered=letter.altered))
