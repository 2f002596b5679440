"""Builds the store of sessions that the settings name. Not: the stores themselves (auth)."""

from typing import Any, assert_never

from fluxa.apps.settings import Settings
from fluxa.auth.sessions import SessionLimits, Sessions
from fluxa.auth.sessions.postgres_store import PostgresSessions
from fluxa.auth.sessions.valkey_store import SendCommand, ValkeySessions
from fluxa.kernel.clock import Clock
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.postgres.pool import Database
from fluxa.providers.valkey import ValkeyLink, outages


def keep_sessions(settings: Settings, database: Database, valkey: ValkeyLink | None, clock: Clock) -> Sessions:
    """Who is logged in.

    Raises:
        FluxaError: `Configuration`, if sessions are to be in Valkey and there is none.
    """
    limits = SessionLimits(settings.session_idle_s, settings.session_absolute_s)
    match settings.session_store:
        case "postgres":
            return PostgresSessions(database, clock, limits)
        case "valkey":
            if valkey is None:
                raise FluxaError(ErrorCode.CONFIGURATION, "session_store is valkey, but valkey_url is not set.")
            return ValkeySessions(sending(valkey), clock, limits)
        case _:
            assert_never(settings.session_store)


def sending(valkey: ValkeyLink) -> SendCommand:
    """Sends commands over this link; what goes wrong on the way is an outage."""

    async def send(*words: str | bytes | int) -> Any:  # noqa: ANN401 - each command answers in its own way
        with outages():
            return await valkey.client.execute_command(*words)  # type: ignore[no-untyped-call]  # the library leaves it out

    return send
