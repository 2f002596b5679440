"""What the settings make of synthetic checks: where they look, with what credential, and how often."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Final

import httpx
import msgspec
from typing_extensions import override

from fluxa.apps.database import migrated, open_valkey, open_wakeups
from fluxa.apps.operations.metrics import pages_of
from fluxa.apps.serving.ground import Ground
from fluxa.apps.serving.identity import signing_keys
from fluxa.apps.serving.sessions import keep_sessions
from fluxa.apps.settings import Settings, listed
from fluxa.apps.stack import home
from fluxa.auth.principal import Kind, Principal
from fluxa.auth.roles import Role
from fluxa.auth.scopes import Scope
from fluxa.auth.sessions.port import NewSession, Sessions
from fluxa.auth.tokens import AccessTokens, KeyRing, Names, Tokens
from fluxa.events.store import EventStore
from fluxa.kernel.clock import Clock, SystemClock
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.kernel.ids import SYNTHETIC
from fluxa.kernel.lifecycle import Lifetime
from fluxa.operations.alarms.measuring import nothing_done
from fluxa.operations.alarms.rule import Reading
from fluxa.operations.ledger import Ledger
from fluxa.operations.synthetic.canary import Canary, CanaryLimits, Permit, Way
from fluxa.operations.synthetic.check import PAGES, CheckName, Outcome, Result, named
from fluxa.operations.synthetic.prober import Pace, Prober, Tidy
from fluxa.operations.synthetic.round import Places, Round
from fluxa.operations.synthetic.rules import Patience, readings
from fluxa.operations.synthetic.store import SyntheticStore
from fluxa.postgres.pool import Database
from fluxa.queue.health.reports import worker_id
from fluxa.station.synthetic.routes import SyntheticDoor
from fluxa.telemetry.catalogue import silent
from fluxa.web.routes import Route

_SPARE_S: Final = 60.0
"""What a credential lasts longer than a canary may take."""
_OLD_S: Final = 3600.0
"""A canary of this age is nobody's any more: whoever sent it has died, or has given it up."""
_FRESH_ROUNDS: Final = 3
_FRESH_LEAST_S: Final = 30.0
_UNASKED: Final = FluxaError(ErrorCode.INTERNAL, "no canary was asked for")
_GAUGE: Final = "fluxa_synthetic_success"


async def serve_synthetic(on: Ground) -> None:
    """Do the checks again and again, where the settings want it, until the process ends.

    Raises:
        FluxaError: `Configuration` for a check or a place that is none.
    """
    settings = on.settings
    checks = named(listed(settings.synthetic_checks))
    if not settings.synthetic_every_s:
        return
    pages_of(settings)  # a wrong URL is told at the start
    sessions = keep_sessions(_brief(settings), on.database, on.valkey, on.clock)
    await on.life.start(
        Prober(
            on.database,
            SyntheticStore(on.database),
            _round(settings, checks, _permit(settings, sessions, on.identity.tokens), on.clock),
            _tidy(on.database),
            Pace(settings.synthetic_every_s, Patience(settings.synthetic_fail_after, settings.synthetic_ok_after)),
            holder=worker_id("synthetic"),
            clock=on.clock,
            hook=on.told.hook,
        )
    )


def synthetic_readings(on: Ground) -> Callable[[], Awaitable[Sequence[Reading]]]:
    """What alarms look at: nothing, where no checks are done."""
    if not on.settings.synthetic_every_s:
        return nothing_done
    store, fresh_s = SyntheticStore(on.database), _fresh_s(on.settings)

    async def read() -> Sequence[Reading]:
        return readings(await store.all(), fresh_s=fresh_s)

    return read


def synthetic_routes(on: Ground) -> tuple[Route, ...]:
    """The rows of synthetic checks."""
    return SyntheticDoor(SyntheticStore(on.database), on.settings.synthetic_every_s).routes()


class SyntheticGauges:
    """How checks stand, in the metrics of every station, whichever of them does them."""

    def __init__(self, on: Ground) -> None:
        self._store = SyntheticStore(on.database)
        self._fresh_s = _fresh_s(on.settings)
        self._metrics = on.told.metrics
        self._shown: set[tuple[str, str]] = set()
        self._is_on = bool(on.settings.synthetic_every_s)

    async def refresh(self) -> None:
        """Bring the gauges up to date; what is not known is absent.

        Raises:
            FluxaError: an outage.
        """
        if not self._is_on:
            return
        try:
            found = await self._store.all()
        except BaseException:  # cut short, too
            self._show({})
            raise
        known = [one for one in found if one.age_s <= self._fresh_s and one.standing.result is not Result.UNKNOWN]
        self._show({(one.outcome.check, one.outcome.target): one.standing.result is Result.OK for one in known})

    def _show(self, values: Mapping[tuple[str, str], bool]) -> None:
        for gone in self._shown - set(values):
            self._metrics.forget_gauge(_GAUGE, *gone)
        for labels, is_well in values.items():
            self._metrics.set_gauge(_GAUGE, is_well, *labels)
        self._shown = set(values)


async def check_now(settings: Settings, names: Sequence[str]) -> Sequence[Outcome]:
    """Do checks once, from here; nothing of it is kept, and no station's own checks are disturbed.

    Without a database the pages are asked all the same, and of the canary nothing is known.

    Args:
        settings: say where everything is.
        names: of the checks; none: all.

    Raises:
        FluxaError: `Configuration` for a check or a place that is none.
    """
    checks, clock = named(names), SystemClock()
    async with contextlib.AsyncExitStack() as life:
        if CheckName.CANARY not in checks:
            return (await _round(settings, checks, _barred(_UNASKED), clock).run()).outcomes
        try:
            database, permit = await life.enter_async_context(_opened(settings, clock))
        except FluxaError as error:
            if error.code == ErrorCode.CONFIGURATION:
                raise
            return (await _round(settings, checks, _barred(error), clock).run()).outcomes
        done = await _round(settings, checks, permit, clock).run()
        await _tidy(database)(done.arrived)
        return done.outcomes


@contextlib.asynccontextmanager
async def _opened(settings: Settings, clock: Clock) -> AsyncIterator[tuple[Database, Permit]]:
    """The database, and what lets canaries in; the secret of a stack on this home counts where none is set."""
    kept = None if settings.secret_key else home.read_credentials(settings.home_folder)
    if kept is not None and kept.secret_key:
        settings = msgspec.structs.replace(settings, secret_key=kept.secret_key)
    life = Lifetime()
    async with migrated(settings, "synthetic") as database:
        try:
            listener, _ = await open_wakeups(life, settings, database)
            sessions = keep_sessions(_brief(settings), database, await open_valkey(life, settings), clock)
            keys = signing_keys(settings, database, audit=Ledger(database))
            ring = KeyRing(keys, listener=listener, clock=clock, hook=silent)
            await life.start(ring)
            names = Names(settings.jwt_issuer, settings.jwt_audience)
            tokens = AccessTokens(ring, sessions, names=names, clock=clock, hook=silent)
            yield database, _permit(settings, sessions, tokens)
        finally:
            await life.stop()


def _round(settings: Settings, checks: tuple[CheckName, ...], permit: Permit, clock: Clock) -> Round:
    limits = CanaryLimits(settings.synthetic_deadline_s, settings.synthetic_timeout_s)

    async def places() -> Places:
        return await asyncio.to_thread(places_of, settings)  # a stack that was started again has other ports

    return Round(
        places,
        Canary(permit, clock=clock, limits=limits),
        checks,
        clock=clock,
        timeout_s=settings.synthetic_timeout_s,
    )


def places_of(settings: Settings) -> Places:
    """Where the processes are: as `fluxa metrics check` finds them.

    Raises:
        FluxaError: `Configuration`, for what is no URL.
    """
    state = home.read_run_state(settings.home_folder)
    ingest = settings.ingest_url or (state.ingest_url if state else _local(settings.ingest_port))
    query = settings.query_url or (state.query_url if state else _local(settings.query_port))
    way = Way(ingest.rstrip("/"), query.rstrip("/")) if ingest and query else None
    bases = [page.removesuffix(PAGES[CheckName.METRICS]) for page in pages_of(settings)]
    # Port 0 is a free one, which nobody but the process itself and its stack know.
    return Places([base for base in dict.fromkeys(bases) if httpx.URL(base).port != 0], way)


def _local(port: int) -> str:
    return f"http://127.0.0.1:{port}" if port else ""


def _permit(settings: Settings, sessions: Sessions, tokens: Tokens) -> Permit:
    """Lets a canary in with a token of the installation itself: no secret more, and none that lasts.

    It opens a tenant that nobody else can have, for sending and reading events only, while its session lasts.
    """
    ttl_s = min(_lasting_s(settings), 3600.0)

    @contextlib.asynccontextmanager
    async def permit() -> AsyncIterator[str]:
        session = await sessions.create(NewSession(SYNTHETIC, SYNTHETIC, agent="synthetic check"))
        try:
            yield await tokens.mint(
                Principal(
                    SYNTHETIC,
                    "synthetic check",
                    Role.INTEGRATION,
                    Kind.USER,
                    subject=SYNTHETIC,
                    session_id=session.session_id,
                    scopes=frozenset({Scope.EVENTS_WRITE, Scope.EVENTS_READ}),
                ),
                ttl_s=ttl_s,
            )
        finally:
            await sessions.delete(session.session_id)

    return permit


def _brief(settings: Settings) -> Settings:
    """The same, with sessions that end by themselves soon after a canary: whoever dies leaves nothing open."""
    lasting_s = _lasting_s(settings)
    return msgspec.structs.replace(settings, session_idle_s=lasting_s, session_absolute_s=lasting_s)


def _lasting_s(settings: Settings) -> float:
    return settings.synthetic_deadline_s + 4 * settings.synthetic_timeout_s + _SPARE_S


class _Barred(contextlib.AbstractAsyncContextManager[str]):
    """No credential, and why."""

    def __init__(self, error: FluxaError) -> None:
        self._error = error

    @override
    async def __aenter__(self) -> str:
        raise self._error

    @override
    async def __aexit__(self, *_: object) -> None:
        """Nothing was opened."""


def _barred(error: FluxaError) -> Permit:
    return lambda: _Barred(error)


def _tidy(database: Database) -> Tidy:
    events = EventStore()

    async def tidy(arrived: Sequence[str]) -> None:
        async with database.transaction() as tx:
            await events.erase(tx, SYNTHETIC, arrived, older_than_s=_OLD_S)

    return tidy


def _fresh_s(settings: Settings) -> float:
    """After which nothing is known of a check that was not done again; a round may take as long as a canary."""
    return max(_FRESH_LEAST_S, _FRESH_ROUNDS * settings.synthetic_every_s) + settings.synthetic_deadline_s
