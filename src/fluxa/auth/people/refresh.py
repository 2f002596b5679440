"""Refresh tokens: opaque, kept as hashes, each exchanged once. Not: what follows when one is reused (logins)."""

import datetime as dt
import hashlib
import re
import secrets
from typing import Final

from fluxa.auth.people.rules import Shown
from fluxa.auth.sessions import Session
from fluxa.postgres import sql
from fluxa.postgres.transaction import Transaction

_SQL = sql.load("fluxa.auth.people", "refresh.sql")
_TOKEN: Final = re.compile(r"fr_[A-Za-z0-9_-]{43}\Z")
_SECRET_BYTES: Final = 32
_PRUNED: Final = 50


def hash_of(token: str) -> bytes | None:
    """What is stored of a token; None, if the text cannot be one. 256 random bits need no slow hash."""
    return hashlib.sha256(token.encode()).digest() if _TOKEN.match(token) else None


async def issue(tx: Transaction, session: Session, now: dt.datetime) -> str:
    """A new token, the newest of its session; it can be shown this once."""
    token = f"fr_{secrets.token_urlsafe(_SECRET_BYTES)}"
    digest = hash_of(token)
    await tx.execute(_SQL["insert_token"], digest, session.session_id, session.user_id, now, session.ends_at, _PRUNED)
    return token


async def owner(tx: Transaction, digest: bytes, now: dt.datetime) -> tuple[str, str] | None:
    """The user and the session of a token that was once given out; None for any other."""
    row = await tx.fetch_row(_SQL["owner_of_token"], digest, now)
    return None if row is None else (row["user_id"], row["session_id"])


async def look(tx: Transaction, digest: bytes) -> Shown | None:
    """How a token stands in its session; the user's row must be locked, so that this holds until the commit."""
    row = await tx.fetch_row(_SQL["show_token"], digest)
    return None if row is None else Shown(row["used_at"], row["is_newest"], row["is_later_used"])


async def use(tx: Transaction, digest: bytes, now: dt.datetime) -> None:
    """It is exchanged."""
    await tx.execute(_SQL["use_token"], digest, now)
