"""Whether what the settings name can be reached, how fast it answers, and whether it fits. Nothing is changed."""

import asyncio
import contextlib
import datetime as dt
import ssl
from collections.abc import AsyncIterator, Sequence
from typing import Final
from urllib.parse import urlsplit

import httpx

from fluxa.apps.database import open_valkey, pool_config
from fluxa.apps.engines import object_store, open_queues
from fluxa.apps.operations.doctor.examination import Finding, State
from fluxa.apps.serving.identity import signing_keys
from fluxa.apps.serving.oidc import provider_of
from fluxa.apps.settings import Settings, read_managed, with_secrets
from fluxa.auth.keys.api_keys import ApiKeys
from fluxa.auth.tokens.signing_keys import KeyState
from fluxa.events.carriage import QUEUE
from fluxa.kernel.clock import Clock
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.kernel.lifecycle import Lifetime
from fluxa.operations.secrets import WARN_DAYS
from fluxa.postgres import migrate
from fluxa.postgres.embedded import EmbeddedPostgres
from fluxa.postgres.listen import Listener, notify
from fluxa.postgres.pool import Database

_SKEW_WARN_S: Final = 2.0
_SKEW_FAIL_S: Final = 60.0
"""Signatures are accepted within 300 s of both clocks; beyond a minute, what is left is for the senders' clocks."""
_SLOW_MS: Final = 250.0
_MS: Final = 1000
_TOPIC: Final = "doctor"
_HEARD_WITHIN_S: Final = 2.0
_NAMED_MAX: Final = 5


def database_url(settings: Settings) -> str | None:
    """Where the database is; None if it is the embedded one and that does not run."""
    return settings.database_url or EmbeddedPostgres(settings.home_folder).status().url


async def managed(settings: Settings, clock: Clock, *, timeout_s: float) -> tuple[Settings, list[Finding]]:
    """The settings with what the secret manager holds, and whether it gave that; without, if it did not."""
    check, began = "secret manager", clock.monotonic()
    if not settings.managed_secrets:
        return settings, [Finding(check, State.OK, "not used")]
    try:
        async with asyncio.timeout(timeout_s):
            found = with_secrets(settings, await read_managed(settings))
    except TimeoutError:
        said = f"no answer within {timeout_s:g} s"
        return settings, [Finding(check, State.FAIL, said, "See whether this machine can reach it.")]
    except FluxaError as error:
        return settings, [Finding(check, State.FAIL, error.detail, error.spec.action)]
    took_ms = (clock.monotonic() - began) * _MS
    where = f"{settings.secret_manager} gave {len(settings.managed_secrets)} secrets in {took_ms:.0f} ms"
    return found, [Finding(check, State.OK, where)]


@contextlib.asynccontextmanager
async def _pool(settings: Settings, url: str) -> AsyncIterator[Database]:
    database = Database(pool_config(settings, url, "doctor"))
    await database.start()
    try:
        yield database
    finally:
        await database.stop()


async def postgres(settings: Settings, url: str, clock: Clock) -> Sequence[Finding]:
    """Whether Postgres answers and how fast, what its clock says, and which migrations it has."""
    async with _pool(settings, url) as database:
        began = clock.monotonic()
        before = clock.now().timestamp()
        there = await database.clock_s()
        after = clock.now().timestamp()
        took_ms = (clock.monotonic() - began) * _MS
        state = await migrate.status(database)
    return [_latency("postgres", took_ms), _skew(there - (before + after) / 2), _migrations(state)]


async def tokens(settings: Settings, url: str) -> Sequence[Finding]:
    """Whether the keys that sign access tokens can be opened, and by the newest secret alone."""
    check = "signing keys"
    if not settings.secret_key:
        return [Finding(check, State.OK, "not looked at: secret_key is not set")]
    async with _pool(settings, url) as database:
        if (await migrate.status(database)).pending:
            return [_too_early(check)]
        keys = signing_keys(settings, database)
        before, active = await keys.sealed_before(), sum(key.state is KeyState.ACTIVE for key in await keys.all())
    if before:
        said = f"{before} sealed with an older secret of secret_key"
        return [Finding(check, State.WARN, said, "Run fluxa jwt reseal before you take the older one out.")]
    return [Finding(check, State.OK, f"{active} signs, and secret_key opens it" if active else "none was made yet")]


async def api_keys(settings: Settings, url: str, clock: Clock) -> Sequence[Finding]:
    """Whether API keys that are used will end soon."""
    check, now = "API keys", clock.now()
    async with _pool(settings, url) as database:
        if (await migrate.status(database)).pending:
            return [_too_early(check)]
        keys = [key for key in await ApiKeys(database).list() if key.revoked_at is None]
    ending = [
        f"{key.key_id} of {key.tenant} on {key.expires_at:%Y-%m-%d}"
        for key in keys
        if key.expires_at is not None and now < key.expires_at <= now + dt.timedelta(days=WARN_DAYS)
    ]
    if not ending:
        return [Finding(check, State.OK, f"none of {len(keys)} ends within {WARN_DAYS} days")]
    more = f" and {len(ending) - _NAMED_MAX} more" if len(ending) > _NAMED_MAX else ""
    said = f"{len(ending)} end within {WARN_DAYS} days: {', '.join(ending[:_NAMED_MAX])}{more}"
    return [Finding(check, State.WARN, said, "Give them another secret and end: fluxa apikey rotate KEY_ID.")]


def _too_early(check: str) -> Finding:
    return Finding(check, State.UNKNOWN, "migrations are to be applied first", "Run: fluxa db migrate")


def _latency(check: str, took_ms: float) -> Finding:
    if took_ms > _SLOW_MS:
        return Finding(check, State.WARN, f"answers in {took_ms:.0f} ms", "Bring it nearer, or see what keeps it busy.")
    return Finding(check, State.OK, f"answers in {took_ms:.1f} ms")


def _skew(ahead_s: float) -> Finding:
    where = "ahead of" if ahead_s > 0 else "behind"
    said = f"Postgres is {abs(ahead_s):.2f} s {where} this machine"
    if abs(ahead_s) <= _SKEW_WARN_S:
        return Finding("clock", State.OK, said)
    state = State.FAIL if abs(ahead_s) > _SKEW_FAIL_S else State.WARN
    return Finding(
        "clock", state, said, "Let both machines take the time from NTP; signatures and leases depend on it."
    )


def _migrations(state: migrate.Status) -> Finding:
    try:
        migrate.refuse_unknown(state)
    except FluxaError as error:
        return Finding("migrations", State.FAIL, error.detail, error.spec.action)
    if state.pending:
        names = ", ".join(step.name for step in state.pending)
        return Finding(
            "migrations", State.FAIL, f"{len(state.pending)} to be applied: {names}", "Run: fluxa db migrate"
        )
    return Finding("migrations", State.OK, f"all {len(state.applied)} are applied")


async def listener(settings: Settings, url: str) -> Sequence[Finding]:
    """Whether a wake-up is heard: it is not through a pooler in transaction mode, and then everything only polls."""
    ears = Listener(pool_config(settings, settings.database_listen_url or url, "doctor"))
    async with _pool(settings, url) as database:
        await ears.start()
        try:
            async with asyncio.timeout(_HEARD_WITHIN_S):
                while not await _heard(ears, database):
                    pass
        except TimeoutError:
            return [
                Finding(
                    "listener",
                    State.WARN,
                    "no wake-up was heard; work is found by polling",
                    "Set database_listen_url to a way to Postgres that no pooler shares.",
                )
            ]
        finally:
            await ears.stop()
    return [Finding("listener", State.OK, "wake-ups are heard")]


async def _heard(ears: Listener, database: Database) -> bool:
    await notify(database, _TOPIC)
    return await ears.wait(_TOPIC, 0.1)


async def queues(settings: Settings, url: str) -> Sequence[Finding]:
    """Whether the engine that has the queue of events answers."""
    life = Lifetime()
    async with _pool(settings, url) as database:
        try:
            backend = await open_queues(life, settings, database)
            metrics = await backend.metrics(QUEUE)
        except FluxaError as error:
            if error.code != ErrorCode.DB_REJECTED:
                raise
            said = f"the queue {QUEUE} cannot be read: {error.detail}"
            return [Finding("queue engine", State.WARN, said, "Start fluxa ingest: it makes its queue.")]
        finally:
            await life.stop()
    said = f"{settings.queue_engine} answers; {QUEUE} holds {metrics.depth} messages"
    return [Finding("queue engine", State.OK, said)]


async def valkey(settings: Settings) -> Sequence[Finding]:
    """Whether Valkey answers."""
    life = Lifetime()
    try:
        link = await open_valkey(life, settings)
        if link is None:
            return [Finding("valkey", State.OK, "not used")]
        await link.check()
    finally:
        await life.stop()
    return [Finding("valkey", State.OK, "answers")]


async def logins(settings: Settings, clock: Clock) -> Sequence[Finding]:
    """Whether the OpenID provider is the one that the settings name, and publishes keys; nobody is logged in."""
    check, began = "OpenID provider", clock.monotonic()
    if settings.oidc_issuer is None:
        return [Finding(check, State.OK, "not used")]
    async with httpx.AsyncClient(follow_redirects=False, trust_env=False) as client:
        keys = await provider_of(settings, settings.oidc_issuer, client, clock).check()
    took_ms = (clock.monotonic() - began) * _MS
    said = f"says where to log in, and publishes {keys} keys, in {took_ms:.0f} ms; its secret shows at the first login"
    return [Finding(check, State.OK, said)]


async def objects(settings: Settings) -> Sequence[Finding]:
    """Whether the object store answers."""
    await object_store(settings).check()
    return [Finding("object store", State.OK, "answers")]


async def endpoint(name: str, url: str, *, clock: Clock, ca_file: str | None) -> Sequence[Finding]:
    """Whether somebody listens where a queue is delivered to, and its certificate is good; nothing is sent."""
    check, parts = f"endpoint {name}", urlsplit(url)
    secure = parts.scheme == "https"
    context = ssl.create_default_context(cafile=ca_file) if secure else None
    began = clock.monotonic()
    try:
        _, writer = await asyncio.open_connection(
            parts.hostname, parts.port or (443 if secure else 80), ssl=context, server_hostname=None
        )
    except OSError as error:  # certificates that are not trusted too
        return [
            Finding(
                check,
                State.FAIL,
                f"{parts.hostname} cannot be reached: {error.strerror or type(error).__name__}",
                "See whether it is up, and whether this machine may connect to it.",
            )
        ]
    took_ms = (clock.monotonic() - began) * _MS
    writer.close()
    with contextlib.suppress(OSError):  # what was to be found out is found out
        await writer.wait_closed()
    return [Finding(check, State.OK, f"{parts.hostname} takes connections, in {took_ms:.0f} ms")]
