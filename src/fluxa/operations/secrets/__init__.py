"""The secrets that Fluxa can need, and whether each is there and of its form. Never a value; no I/O."""

from fluxa.operations.secrets.register import REGISTER, Secret
from fluxa.operations.secrets.replacing import KEPT, KINDS, Kind
from fluxa.operations.secrets.rules import WARN_DAYS, Judgement, Note, judged

__all__ = ["KEPT", "KINDS", "REGISTER", "WARN_DAYS", "Judgement", "Kind", "Note", "Secret", "judged"]
