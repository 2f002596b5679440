"""What counts as a name and as a password, and what a refresh token that is shown again means. Pure."""

import datetime as dt
import enum
import re
import unicodedata
from dataclasses import dataclass
from typing import Final

from fluxa.kernel.errors import ErrorCode, FluxaError

NAME_MAX: Final = 254
"""Characters of an e-mail address that can be reached (RFC 5321, 4.5.3.1.3)."""
PASSWORD_MIN: Final = 12
PASSWORD_MAX: Final = 256
"""Characters. There are no rules about which: they make passwords worse (NIST SP 800-63B)."""
WRITTEN_MAX: Final = 4 * PASSWORD_MAX
"""Characters as they are sent: a keyboard that composes none sends up to four for one of those that count."""
GRACE_S: Final = 10.0
"""How long a refresh token that was used is taken again, if nobody has used what it was exchanged for."""

_NAME = re.compile(r"[^@\s]{1,64}@[^@\s]{1,253}\Z")


class Showing(enum.StrEnum):
    """What it means that a refresh token is shown."""

    NEXT = "next"
    """It is the newest of its session: it is exchanged for the next."""
    AGAIN = "again"
    """The answer to its exchange was lost: it is exchanged once more, and what it was exchanged for is void."""
    REUSED = "reused"
    """Two have it: the session ends, since nobody knows which of them is the thief."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A refresh token that was found.

    Attributes:
        used_at: when it was exchanged first; None if it never was.
        is_newest: whether no later one of its session was given out.
        is_later_used: whether a later one of its session was exchanged.
    """

    used_at: dt.datetime | None
    is_newest: bool
    is_later_used: bool


def judged(shown: Shown, now: dt.datetime) -> Showing:
    """What it means that this token is shown now.

    At any time one token of a session can be exchanged, or the one before it during its grace; a token that was passed
    over, because its predecessor was shown again, counts as reused: its holder is not who holds the newest.
    """
    if shown.used_at is None:
        return Showing.NEXT if shown.is_newest else Showing.REUSED
    in_grace = (now - shown.used_at).total_seconds() <= GRACE_S
    return Showing.AGAIN if in_grace and not shown.is_later_used else Showing.REUSED


def normalised(name: str) -> str:
    """The one form of an e-mail address that is a user's name.

    Raises:
        FluxaError: `InvalidRequest` for a text that cannot be one.
    """
    form = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold()).strip()
    if len(form) > NAME_MAX or not _NAME.match(form) or not form.isprintable():
        raise FluxaError(ErrorCode.INVALID_REQUEST, "A user's name is an e-mail address.", pointer="/name")
    return form


def prepared(password: str) -> str:
    """The form in which a password is hashed: the same, however a keyboard composes its letters."""
    return unicodedata.normalize("NFKC", password)


def check_new_password(password: str) -> None:
    """Refuse a password that is too short or too long.

    Raises:
        FluxaError: `InvalidRequest`.
    """
    if len(password) > WRITTEN_MAX or not PASSWORD_MIN <= len(prepared(password)) <= PASSWORD_MAX:
        raise FluxaError(
            ErrorCode.INVALID_REQUEST,
            f"A password has {PASSWORD_MIN} to {PASSWORD_MAX} characters, whichever you like.",
            pointer="/password",
        )
