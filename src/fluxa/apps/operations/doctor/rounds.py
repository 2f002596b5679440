"""Which checks there are for these settings. Not: how each is made, or how they are shown."""

import functools
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from fluxa.apps.operations.doctor import at_home, reach
from fluxa.apps.operations.doctor.examination import Check, Finding, State, examine, secret_values
from fluxa.apps.settings import Effective, Settings
from fluxa.kernel.clock import Clock

TIMEOUT_S: Final = 10.0


async def rounds(effective: Effective, clock: Clock, *, timeout_s: float = TIMEOUT_S) -> list[Finding]:
    """Everything there is to say, in an order that people can follow.

    Args:
        effective: what the settings say, and where each came from.
        clock: judges ends and clocks, and measures.
        timeout_s: seconds that each check may take.
    """
    settings, manager = await reach.managed(effective.settings, clock, timeout_s=timeout_s)
    effective, kept = at_home.with_kept(replace(effective, settings=settings))
    settings = effective.settings
    url = reach.database_url(settings)
    checks: dict[str, Check] = {
        "secret manager": functools.partial(_told, manager),
        "home": functools.partial(_told, kept),
        "secrets": functools.partial(_secrets, effective, clock),
        "files with secrets": functools.partial(at_home.settings_file, effective),
        "disk": functools.partial(at_home.disk, settings),
    }
    if url is None:
        checks["postgres"] = _asleep
    else:
        checks["postgres"] = functools.partial(reach.postgres, settings, url, clock)
        checks["listener"] = functools.partial(reach.listener, settings, url)
        checks["API keys"] = functools.partial(reach.api_keys, settings, url, clock)
        checks["signing keys"] = functools.partial(reach.tokens, settings, url)
        checks["queue engine"] = functools.partial(reach.queues, settings, url)
    checks["valkey"] = functools.partial(reach.valkey, settings)
    checks["OpenID provider"] = functools.partial(reach.logins, settings, clock)
    checks["object store"] = functools.partial(reach.objects, settings)
    for name, (url_there, ca_file) in _endpoints(settings).items():
        checks[f"endpoint {name}"] = functools.partial(reach.endpoint, name, url_there, clock=clock, ca_file=ca_file)
    return await examine(checks, timeout_s=timeout_s, clock=clock, hidden=secret_values(settings))


def _endpoints(settings: Settings) -> dict[str, tuple[str, str | None]]:
    """Where something is sent to over HTTP, and which certificates are trusted there, by a name for people."""
    found = {name: (given.url, given.ca_file) for name, given in settings.external_queues.items()}
    found |= {f"of alarms: {name}": (given.url, given.ca_file) for name, given in settings.alarm_targets.items()}
    found |= {f"of the audit log: {name}": (given.url, given.ca_file) for name, given in settings.audit_sinks.items()}
    if settings.is_traced:
        found["of traces"] = (settings.traces_url, None)
    return {name: there for name, there in found.items() if there[0]}


async def _told(findings: Sequence[Finding]) -> Sequence[Finding]:
    return findings


async def _secrets(effective: Effective, clock: Clock) -> Sequence[Finding]:
    return at_home.secrets(effective.settings, effective.sources, today=clock.now().date())


async def _asleep() -> Sequence[Finding]:
    said = "the embedded Postgres does not run, so its queues, clock and migrations are not known"
    return [Finding("postgres", State.UNKNOWN, said, "Start it: fluxa up, or fluxa db start")]
