"""Values that are each in range but cannot work, alone or side by side. Not: ranges and forms (fields)."""

import re

from fluxa.apps.settings.fields import Settings, listed
from fluxa.apps.settings.identity import check_identity
from fluxa.apps.settings.tables.webhooks import check_webhooks
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.web.limits import networks

_HOST = r"(?:\[[^\]/]*\]|[^:/@,\[\]]*)(?::\d+)?"
_DATABASE_URL = re.compile(rf"postgres(?:ql)?://(?:[^@/]*@)?{_HOST}(?:,{_HOST})*(?:[/?].*)?\Z")
_VALKEY_URL = re.compile(r"(?:(?:valkey|redis)s?|unix)://.")
_SECRET_MIN_BYTES = 16
_LEGACY = "queue_processor_legacy_secret"


def check_together(settings: Settings) -> None:
    """Refuse values that cannot work.

    Raises:
        FluxaError: `Configuration`, naming the setting and never a secret.
    """
    for name in ("database_url", "database_listen_url"):
        url = getattr(settings, name)
        if url is not None and not _DATABASE_URL.match(url):
            raise FluxaError(
                ErrorCode.CONFIGURATION,
                f"{name} is not of the form postgresql://user:password@host:port/name. In a password, write "
                "characters such as / @ : as %2F %40 %3A. The value is not shown here.",
            )
    if settings.valkey_url is not None and not _VALKEY_URL.match(settings.valkey_url):
        raise FluxaError(
            ErrorCode.CONFIGURATION,
            "valkey_url is not of the form valkey://user:password@host:port/number. The value is not shown here.",
        )
    _check_secrets(settings)
    check_webhooks(settings.webhook_secrets)
    networks(listed(settings.http_trusted_proxies))
    check_identity(settings)
    rules = (
        ("database_pool_min", "database_pool_max"),
        ("event_max_bytes", "request_max_bytes"),
        ("request_max_events", "collector_max_events"),
        ("request_max_bytes", "collector_max_bytes"),
        ("retry_base_s", "retry_cap_s"),
        ("session_idle_s", "session_absolute_s"),
    )
    for low, high in rules:
        if getattr(settings, low) > getattr(settings, high):
            raise FluxaError(
                ErrorCode.CONFIGURATION,
                f"{low} is {getattr(settings, low)}, which is more than {high} ({getattr(settings, high)}).",
            )


def _check_secrets(settings: Settings) -> None:
    """Refuse secrets that could be guessed, and a mode that could not work."""
    given = [("cron_secrets", one) for one in settings.cron_secret_list]
    for name in ("queue_processor_override_token", "queue_processor_legacy_secret"):
        value: str | None = getattr(settings, name)
        given += [] if value is None else [(name, value.encode())]
    for name, secret in given:
        if len(secret) < _SECRET_MIN_BYTES:
            raise FluxaError(
                ErrorCode.CONFIGURATION,
                f"{name} has a secret of {len(secret)} characters; it needs {_SECRET_MIN_BYTES}. Make one with: "
                "openssl rand -hex 32",
            )
    absent = settings.queue_processor_legacy_secret is None
    if settings.queue_processor_legacy_mode and absent and _LEGACY not in settings.managed_secrets:
        raise FluxaError(
            ErrorCode.CONFIGURATION,
            "queue_processor_legacy_mode is on, but queue_processor_legacy_secret is not set.",
        )
    values = [secret for _, secret in given]
    if len(set(values)) < len(values):
        raise FluxaError(
            ErrorCode.CONFIGURATION,
            "Two of cron_secrets, queue_processor_override_token and queue_processor_legacy_secret are the same. A "
            "secret that is sent as it is must not be one that signs.",
        )
