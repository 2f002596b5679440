"""The signals that the audit log gives. Not: those of everybody (signals)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ActRecorded:
    """An act was committed to the audit log.

    Attributes:
        action: what was done, as `noun.verb`; a bounded set.
    """

    action: str


@dataclass(frozen=True, slots=True)
class LedgerAnchored:
    """The ends of chains that had grown were kept outside of the database."""

    chains: int


@dataclass(frozen=True, slots=True)
class IntegrityChecked:
    """It was looked whether the audit log is whole, or tenants are kept apart.

    Attributes:
        check: ledger or tenants.
        faults: how much is wrong; None: it could not be found out.
    """

    check: str
    faults: int | None


@dataclass(frozen=True, slots=True)
class LedgerSent:
    """Entries of the audit log have arrived at a sink.

    Attributes:
        sink: which, as settings name it.
        entries: how many.
    """

    sink: str
    entries: int
