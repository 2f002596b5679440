"""Sessions in Valkey: one hash a user, a field a session. Not: the connection, which whoever builds this brings along.

There is no index that could differ from what it lists, and nothing looks through all keys: the id of a session names
its user, and with it the one key that each command touches.
"""

from collections.abc import Awaitable
from typing import Any, Final, Protocol

import msgspec

from fluxa.auth.sessions.port import NewSession, Session, SessionLimits, begun, owner_of
from fluxa.kernel.clock import Clock
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.kernel.json import encode
from fluxa.postgres.transaction import Transaction

_PREFIX: Final = "fluxa:sessions:"
_SPARE_MS: Final = 3_600_000
"""How long a user's key outlives the last session that may be in it: clocks differ, and this only tidies."""
_TRIES: Final = 10

_PUT: Final = """
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[3]) then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
return 1
"""
_SWAP: Final = """
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1
"""
_TAKE: Final = """
local was = redis.call('HGET', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[1], ARGV[1])
return was
"""
_TAKE_ALL: Final = """
local were = redis.call('HVALS', KEYS[1])
redis.call('DEL', KEYS[1])
return were
"""

_decoder = msgspec.json.Decoder(Session)


class SendCommand(Protocol):
    """Sends one command to a server of the Valkey protocol."""

    def __call__(self, *words: str | bytes | int) -> Awaitable[Any]:
        """Its answer, texts as bytes.

        Raises:
            FluxaError: an outage. The command may have been carried out, or be sent twice.
        """
        ...


class ValkeySessions:
    """The sessions of one server. A `fluxa.auth.sessions.Sessions`."""

    def __init__(self, send: SendCommand, clock: Clock, limits: SessionLimits | None = None) -> None:
        self._send = send
        self._clock = clock
        self._limits = limits or SessionLimits()

    async def create(self, new: NewSession, *, tx: Transaction | None = None) -> Session:  # noqa: ARG002 - elsewhere
        """Begin a session."""
        session = begun(new, self._limits, self._clock.now())
        key = _key(new.user_id)
        over = [one.session_id for one in await self._all_of(new.user_id) if not self._is_live(one)]
        if over:
            await self._send("HDEL", key, *over)
        keep_ms = int(self._limits.absolute_s * 1000) + _SPARE_MS
        await self._send("EVAL", _PUT, 1, key, session.session_id, encode(session), keep_ms)
        return session

    async def is_live(self, session_id: str) -> bool:
        """Whether it is live now."""
        return await self.get(session_id) is not None

    async def touch(self, session_id: str, *, tx: Transaction | None = None) -> Session | None:  # noqa: ARG002 - elsewhere
        """It is used."""
        key = _key(owner_of(session_id))
        for _ in range(_TRIES):
            stored: bytes | None = await self._send("HGET", key, session_id)
            if stored is None or not self._is_live(session := _decoder.decode(stored)):
                return None
            touched = session.touched(self._clock.now(), self._limits)
            # Only if it is still what was read: it may have been ended meanwhile, and must not come back.
            if await self._send("EVAL", _SWAP, 1, key, session_id, stored, encode(touched)):
                return touched
        raise FluxaError(ErrorCode.OVERLOADED, "The session is used by too many at once.", retry_after_s=1.0)

    async def get(self, session_id: str) -> Session | None:
        """A live session."""
        stored: bytes | None = await self._send("HGET", _key(owner_of(session_id)), session_id)
        if stored is None:
            return None
        session = _decoder.decode(stored)
        return session if self._is_live(session) else None

    async def list_of(self, user_id: str) -> list[Session]:
        """The live sessions of a user, newest first."""
        found = [session for session in await self._all_of(user_id) if self._is_live(session)]
        found.sort(key=lambda session: session.session_id)
        found.sort(key=lambda session: session.created_at, reverse=True)
        return found

    async def delete(self, session_id: str, *, tx: Transaction | None = None) -> bool:  # noqa: ARG002 - elsewhere
        """End a session."""
        was: bytes | None = await self._send("EVAL", _TAKE, 1, _key(owner_of(session_id)), session_id)
        return was is not None and self._is_live(_decoder.decode(was))

    async def delete_of_user(self, user_id: str, *, tx: Transaction | None = None) -> int:  # noqa: ARG002 - elsewhere
        """End all sessions of a user."""
        were: list[bytes] = await self._send("EVAL", _TAKE_ALL, 1, _key(user_id))
        return sum(self._is_live(_decoder.decode(one)) for one in were)

    async def _all_of(self, user_id: str) -> list[Session]:
        stored: list[bytes] = await self._send("HVALS", _key(user_id))
        return [_decoder.decode(one) for one in stored]

    def _is_live(self, session: Session) -> bool:
        return self._clock.now() < session.expires_at


def _key(user_id: str) -> str:
    return _PREFIX + user_id
