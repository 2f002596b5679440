"""The audit log: acts that cannot be altered unseen, kept, checked, anchored and sent on. Not: who acts (auth)."""

from fluxa.operations.ledger.chain import Entry, Fault, Finding, Head
from fluxa.operations.ledger.ledger import ANY, Ledger, Sought

__all__ = ["ANY", "Entry", "Fault", "Finding", "Head", "Ledger", "Sought"]
