"""Makes signing keys, access tokens and sessions for tests."""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from fluxa.auth.audit import Act
from fluxa.auth.principal import Kind, Principal
from fluxa.auth.roles import Role
from fluxa.auth.tokens import PURPOSE, AccessTokens, KeyRing, Names, Sealer, SigningKeys
from fluxa.auth.tokens.access import Issuer
from fluxa.auth.tokens.ring import RingLimits
from fluxa.kernel import json
from fluxa.kernel.clock import Clock, SystemClock
from fluxa.kernel.ids import Tenant
from fluxa.postgres.listen import Listener
from fluxa.postgres.pool import Database, PoolConfig
from fluxa.postgres.transaction import Transaction
from fluxa.telemetry.catalogue import Signal, TokenRefused

SECRET = b"0123456789abcdef0123456789abcdef"
USER = Principal(Tenant("acme"), "ada", Role.MANAGER, Kind.USER, "u1", "u1.session")
UNHEARD = RingLimits(poll_s=3600.0, outage_s=1e6)
"""Follows by wake-ups alone."""


class Recorder:
    """Remembers acts; an `Audit`."""

    def __init__(self) -> None:
        self.acts: list[Act] = []

    async def record(self, tx: Transaction, act: Act) -> None:
        """Write it down once the transaction is committed."""
        tx.after_commit(lambda: self.acts.append(act))


class Open:
    """Sessions that are live until they are ended here."""

    def __init__(self) -> None:
        self.ended: set[str] = set()
        self.asked = 0

    async def is_live(self, session_id: str) -> bool:
        """Whether it was not ended."""
        self.asked += 1
        return session_id not in self.ended


@dataclass
class Office:
    """One process's tokens."""

    keys: SigningKeys
    ring: KeyRing
    tokens: AccessTokens
    sessions: Open
    heard: list[Signal] = field(default_factory=list)

    @property
    def reasons(self) -> list[str]:
        """Why tokens were refused, in order."""
        return [signal.reason for signal in self.heard if isinstance(signal, TokenRefused)]


def signing_keys(database: Database, *, secret: bytes | None = SECRET, audit: Recorder | None = None) -> SigningKeys:
    """The keys of a database, as an installation with a `secret_key` has them."""
    sealer = Sealer([] if secret is None else [secret], PURPOSE)
    return SigningKeys(database, sealer, tenant=Tenant("default"), audit=audit)


@asynccontextmanager
async def office(
    database: Database,
    *,
    clock: Clock | None = None,
    limits: RingLimits | None = None,
    secret: bytes | None = SECRET,
    issuers: dict[str, Issuer] | None = None,
) -> AsyncIterator[Office]:
    """A process's tokens, following the keys."""
    clock = clock or SystemClock()
    heard: list[Signal] = []
    keys, sessions = signing_keys(database, secret=secret), Open()
    listener = Listener(PoolConfig(url=database.config.url))
    await listener.start()
    async with asyncio.timeout(20):
        while not listener.is_connected:  # noqa: ASYNC110 - it says so nowhere else
            await asyncio.sleep(0.01)
    ring = KeyRing(keys, listener=listener, clock=clock, hook=heard.append, limits=limits)
    await ring.start()
    tokens = AccessTokens(ring, sessions, names=Names(), clock=clock, hook=heard.append, issuers=issuers)
    try:
        yield Office(keys, ring, tokens, sessions, heard)
    finally:
        await ring.stop()
        await listener.stop()


def b64(content: bytes) -> str:
    """As tokens write bytes."""
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def parts(token: str) -> tuple[dict[str, Any], dict[str, Any], bytes]:
    """Header, claims and signature of a token."""
    header, payload, signature = (base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in token.split("."))
    return json.decode(header), json.decode(payload), signature


def unsigned(header: dict[str, Any], payload: dict[str, Any]) -> str:
    """What a token's signature is made over."""
    return f"{b64(json.encode(header))}.{b64(json.encode(payload))}"
