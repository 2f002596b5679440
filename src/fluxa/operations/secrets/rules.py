"""Whether a secret is there, of its form, and valid for a while yet. Values go in, and never come out."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from fluxa.operations.secrets.register import Secret

WARN_DAYS: Final = 30
"""How many days before its end a secret is told of."""


@dataclass(frozen=True, slots=True)
class Note:
    """What people know of a secret and no program can.

    Attributes:
        owner: who replaces it; empty if nobody said.
        expires: the day from which it is not valid any more; None if it has no end.
    """

    owner: str = ""
    expires: dt.date | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """What there is to say of one secret.

    Attributes:
        is_set: whether it is there.
        wrong: what is wrong with it; empty if nothing is.
        ending: what there is to say of its end; empty if it is far away.
    """

    is_set: bool
    wrong: str = ""
    ending: str = ""


def judged(secret: Secret, value: object, note: Note, *, today: dt.date) -> Judgement:
    """Judge a secret by its value, and say nothing of the value.

    Args:
        secret: its row of the register.
        value: text, a table, or None.
        note: what people know of it.
        today: the day, in UTC.
    """
    if value is None or (isinstance(value, str | Mapping) and not value):
        return Judgement(is_set=False)
    wrong = ""
    if secret.form is not None and not (isinstance(value, str) and secret.form.match(value)):
        wrong = f"it is not of its form: {secret.form_words}"
    if note.expires is None:
        return Judgement(is_set=True, wrong=wrong)
    days = (note.expires - today).days
    if days <= 0:
        return Judgement(is_set=True, wrong=wrong or f"its end was {note.expires.isoformat()}")
    ending = f"it ends on {note.expires.isoformat()}, in {days} days" if days <= WARN_DAYS else ""
    return Judgement(is_set=True, wrong=wrong, ending=ending)
