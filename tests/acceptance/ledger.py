"""What clients sent and what was acknowledged to them, in their own files, and the checker that holds Fluxa to it."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO


class ClientLedger:
    """One client's own account, a file of lines, flushed before and after each request."""

    def __init__(self, path: Path) -> None:
        self._file: TextIO = path.open("a", encoding="utf-8")

    def sends(self, ids: Iterable[str]) -> None:
        """Note what is about to be sent."""
        self._write("sent", ids)

    def acknowledged(self, ids: Iterable[str]) -> None:
        """Note what was answered as accepted."""
        self._write("acknowledged", ids)

    def close(self) -> None:
        """End the account."""
        self._file.close()

    def _write(self, what: str, ids: Iterable[str]) -> None:
        self._file.write(json.dumps({what: list(ids)}) + "\n")
        self._file.flush()


@dataclass
class Account:
    """All clients' ledgers together."""

    sent: set[str] = field(default_factory=set)
    acknowledged: set[str] = field(default_factory=set)

    @classmethod
    def read(cls, folder: Path) -> "Account":
        """What the files in a folder say."""
        account = cls()
        for path in sorted(folder.glob("*.ledger")):
            for line in path.read_text("utf-8").splitlines():
                entry = json.loads(line)
                account.sent.update(entry.get("sent", ()))
                account.acknowledged.update(entry.get("acknowledged", ()))
        return account


def faults(account: Account, stored: Mapping[str, int], parked: Mapping[str, int]) -> list[str]:
    """Every promise that was broken; empty if all were kept.

    Args:
        account: what the clients know.
        stored: rows by event id.
        parked: dead letters by event id.
    """
    found = Counter(stored)
    found.update(parked)
    lost = sorted(account.acknowledged - found.keys())
    doubled = sorted(f"{id_}: {stored.get(id_, 0)} rows, {parked.get(id_, 0)} dead letters" for id_ in _over_one(found))
    unknown = sorted(found.keys() - account.sent)
    kinds = {"acknowledged but lost": lost, "kept more than once": doubled, "kept but never sent": unknown}
    return [f"{len(ids)} {kind}, such as {', '.join(ids[:3])}" for kind, ids in kinds.items() if ids]


def _over_one(counts: Mapping[str, int]) -> list[str]:
    return [id_ for id_, count in counts.items() if count > 1]
