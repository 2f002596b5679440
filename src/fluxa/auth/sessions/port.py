"""What a session is, and what keeps sessions. Not: who may begin one (people), or what its bearer sends (tokens)."""

import datetime as dt
import secrets
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec

from fluxa.kernel.ids import Tenant
from fluxa.postgres.transaction import Transaction

AGENT_MAX: Final = 200
"""Characters kept of what a client calls itself."""

_RANDOM_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """How long sessions last.

    Attributes:
        idle_s: seconds after which a session that nobody uses ends; each use begins them anew.
        absolute_s: seconds after which it ends however much it is used.
    """

    idle_s: float = 24 * 3600.0
    absolute_s: float = 30 * 24 * 3600.0


@dataclass(frozen=True, slots=True)
class NewSession:
    """What is known when somebody logs in.

    Attributes:
        user_id: who.
        tenant: whose data it opens.
        address: where from; empty if that is not known.
        agent: what the client calls itself; its own word and nothing more.
    """

    user_id: str
    tenant: Tenant
    address: str = ""
    agent: str = ""


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """A session that is or was live.

    Attributes:
        session_id: names it; stands in tokens and logs, and opens nothing by itself.
        user_id: whose it is.
        tenant: whose data it opens.
        address: where it was begun from.
        agent: what the client called itself then.
        created_at: when it began.
        seen_at: when it was used last, as coarse as `Sessions.touch` is called.
        expires_at: when it ends unless it is used before; never after `ends_at`.
        ends_at: when it ends in any case.
    """

    session_id: str
    user_id: str
    tenant: Tenant
    address: str
    agent: str
    created_at: dt.datetime
    seen_at: dt.datetime
    expires_at: dt.datetime
    ends_at: dt.datetime

    def touched(self, now: dt.datetime, limits: SessionLimits) -> "Session":
        """The same, used now. Nothing goes back, whichever of two machines' clocks is ahead."""
        expires_at = min(now + dt.timedelta(seconds=limits.idle_s), self.ends_at)
        return msgspec.structs.replace(
            self, seen_at=max(self.seen_at, now), expires_at=max(self.expires_at, expires_at)
        )


class Sessions(Protocol):
    """Keeps sessions, for all processes.

    What ends one is effective with the next question of any process. Where a method takes `tx` and the sessions are in
    the same database, it is part of that transaction; elsewhere it is done at once, so it stands last before the
    commit: a session that ended without a commit is on the safe side, and so is one that nobody got a token of.

    Every method raises `FluxaError` for an outage: then nobody knows, and nobody may pass.
    """

    async def create(self, new: NewSession, *, tx: Transaction | None = None) -> Session:
        """Begin a session."""
        ...

    async def is_live(self, session_id: str) -> bool:
        """Whether it is live now. One cheap question: it is asked on each request of a user's token."""
        ...

    async def touch(self, session_id: str, *, tx: Transaction | None = None) -> Session | None:
        """It is used: it lasts `idle_s` from now, within its absolute limit. None, if it is not live."""
        ...

    async def get(self, session_id: str) -> Session | None:
        """A live session; None, if there is none of this id."""
        ...

    async def list_of(self, user_id: str) -> list[Session]:
        """The live sessions of a user, newest first."""
        ...

    async def delete(self, session_id: str, *, tx: Transaction | None = None) -> bool:
        """End a session; False, if it was not live."""
        ...

    async def delete_of_user(self, user_id: str, *, tx: Transaction | None = None) -> int:
        """End all sessions of a user; how many were live."""
        ...


def begun(new: NewSession, limits: SessionLimits, now: dt.datetime) -> Session:
    """A session that begins now, with an id of its own.

    The id begins with the user's, so that a store can keep a user's sessions together and find one by its id alone.
    """
    ends_at = now + dt.timedelta(seconds=limits.absolute_s)
    return Session(
        session_id=f"{new.user_id}.{secrets.token_urlsafe(_RANDOM_BYTES)}",
        user_id=new.user_id,
        tenant=new.tenant,
        address=new.address,
        agent="".join(letter if letter.isprintable() else "?" for letter in new.agent[:AGENT_MAX]),
        created_at=now,
        seen_at=now,
        expires_at=min(now + dt.timedelta(seconds=limits.idle_s), ends_at),
        ends_at=ends_at,
    )


def owner_of(session_id: str) -> str:
    """The user whose session this is, by its id; empty, if it cannot be one."""
    return session_id.rpartition(".")[0]
