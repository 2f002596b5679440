"""Chains for tests: made whole, and altered as somebody with every right in the database could."""

import datetime as dt
import random
from collections.abc import Callable, Iterable, Iterator

import msgspec

from fluxa.kernel.ids import Tenant
from fluxa.operations.ledger.chain import GENESIS, Entry, Head, digest
from fluxa.postgres.transaction import Transaction

_BEGAN = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
Tampering = Callable[[list[Entry], random.Random], tuple[list[Entry], int | None]]
"""Alters a chain; also the number of the first entry that is not as it was, if that is known."""


def sealed(entry: Entry) -> Entry:
    """The entry with the hash that it must have: what a forger who knows the form would write."""
    return msgspec.structs.replace(entry, hash=digest(entry))


def chain(tenant: Tenant, length: int) -> Iterator[Entry]:
    """A whole chain."""
    previous = GENESIS
    for number in range(1, length + 1):
        entry = sealed(
            Entry(
                tenant=tenant,
                number=number,
                version=1,
                at=_BEGAN + dt.timedelta(seconds=number),
                actor=f"user:{number % 7}",
                action="thing.changed",
                subject=f"thing:{number}",
                detail='{"from":%d,"to":%d}' % (number, number + 1),  # noqa: UP031 - braces
                correlation_id=f"c-{number}",
                previous=previous,
                hash=b"",
            )
        )
        previous = entry.hash
        yield entry


async def write(tx: Transaction, entries: Iterable[Entry], heads: Iterable[Head] = ()) -> None:
    """Put rows where only the trigger may, for the rest of this transaction as a superuser without triggers."""
    await tx.execute("set local session_replication_role = replica")
    names = Entry.__struct_fields__
    await tx.copy("fluxa", "ledger", names, (tuple(getattr(entry, name) for name in names) for entry in entries))
    rows = ((head.tenant, head.number, head.hash, head.at) for head in heads)
    await tx.copy("fluxa", "ledger_heads", ("tenant", "number", "hash", "at"), rows)


def head_of(entry: Entry) -> Head:
    """The head of a chain that ends so."""
    return Head(entry.tenant, entry.number, entry.hash, entry.at)


def _changed(entry: Entry, rng: random.Random) -> Entry:
    name = rng.choice([one for one in Entry.__struct_fields__ if one not in {"tenant", "number"}])
    value = getattr(entry, name)
    match value:
        case bytes():
            place = rng.randrange(len(value))
            new: object = value[:place] + bytes([value[place] ^ 1 << rng.randrange(8)]) + value[place + 1 :]
        case int():
            new = value + 1
        case dt.datetime():
            new = value + dt.timedelta(microseconds=rng.choice([-1, 1]))
        case _ if name == "detail":
            new = rng.choice([value.replace(":", ": ", 1), '{"from":0,"to":0}', "{}"])
        case _:
            new = rng.choice([value + "x", value[:-1], value.upper() + "."])
    return msgspec.structs.replace(entry, **{name: new})


def edited(entries: list[Entry], rng: random.Random) -> tuple[list[Entry], int | None]:
    """One value of one entry is another."""
    place = rng.randrange(len(entries))
    return [*entries[:place], _changed(entries[place], rng), *entries[place + 1 :]], place + 1


def forged(entries: list[Entry], rng: random.Random) -> tuple[list[Entry], int | None]:
    """One entry is another, and its hash is right."""
    place = rng.randrange(len(entries))
    new = sealed(msgspec.structs.replace(entries[place], actor="somebody else"))
    return [*entries[:place], new, *entries[place + 1 :]], None


def deleted(entries: list[Entry], rng: random.Random) -> tuple[list[Entry], int | None]:
    """Some entries are gone, from anywhere."""
    first = rng.randrange(len(entries))
    last = rng.randrange(first, len(entries))
    return [*entries[:first], *entries[last + 1 :]], first + 1


def cut(entries: list[Entry], rng: random.Random) -> tuple[list[Entry], int | None]:
    """The end is gone."""
    kept = rng.randrange(len(entries))
    return entries[:kept], kept + 1


def closed_up(entries: list[Entry], rng: random.Random) -> tuple[list[Entry], int | None]:
    """One entry is gone, and those behind it have moved up, each with the right hash of its own."""
    place = rng.randrange(len(entries) - 1)
    moved = [sealed(msgspec.structs.replace(one, number=one.number - 1)) for one in entries[place + 1 :]]
    return [*entries[:place], *moved], place + 1


def inserted(entries: list[Entry], rng: random.Random) -> tuple[list[Entry], int | None]:
    """An entry is put in that follows the one before, at the end too; the others make room."""
    place = rng.randrange(len(entries) + 1)
    previous = entries[place - 1].hash if place else GENESIS
    new = sealed(msgspec.structs.replace(entries[0], number=place + 1, subject="thing:new", previous=previous))
    moved = [msgspec.structs.replace(one, number=one.number + 1) for one in entries[place:]]
    if rng.random() < 0.5:
        moved = [sealed(one) for one in moved]
    return [*entries[:place], new, *moved], None


def reordered(entries: list[Entry], rng: random.Random) -> tuple[list[Entry], int | None]:
    """Two entries have changed places, with their links or without, and with hashes that are right or were kept."""
    left, right = sorted(rng.sample(range(len(entries)), 2))
    new, links = list(entries), rng.random() < 0.5
    for place, source in ((left, right), (right, left)):
        kept = {"number": place + 1} | ({"previous": entries[place].previous} if links else {})
        new[place] = msgspec.structs.replace(entries[source], **kept)
        if rng.random() < 0.5:
            new[place] = sealed(new[place])
    return new, left + 2  # with its link and a right hash, the first of them is found by the one behind it


TAMPERINGS: tuple[Tampering, ...] = (edited, forged, deleted, cut, closed_up, inserted, reordered)
"""All that is done to chains."""
