"""The register: every secret setting, what it is for, where it comes from and which form it has (GATE-4)."""

import re
from dataclasses import dataclass
from typing import Final

_TEXT: Final = re.compile(r"[^\x00-\x1f\x7f]{16,}\Z")
_LIST: Final = re.compile(r"\s*[^\x00-\x1f\x7f,]{16,}(?:\s*,\s*[^\x00-\x1f\x7f,]{16,})*\s*,?\s*\Z")
_SEALING: Final = re.compile(r"\s*[^\x00-\x1f\x7f,]{32,}(?:\s*,\s*[^\x00-\x1f\x7f,]{32,})*\s*\Z")
_POSTGRES: Final = re.compile(r"postgres(?:ql)?://\S+\Z")
_VALKEY: Final = re.compile(r"(?:(?:valkey|redis)s?|unix)://\S+\Z")
_ACCESS_KEY: Final = re.compile(r"[\x21-\x7e]{3,128}\Z")
_API_KEY: Final = re.compile(r"fx_[0-9a-f]{16}_[A-Za-z0-9_-]{20,}\Z")


@dataclass(frozen=True, slots=True)
class Secret:
    """One secret.

    Attributes:
        setting: the setting that holds it.
        why: what it is for.
        origin: where it comes from.
        without: what happens while it is not set.
        form: what its text looks like; None for tables, whose parts are checked when they are read.
        form_words: the same in words.
    """

    setting: str
    why: str
    origin: str
    without: str
    form: re.Pattern[str] | None = None
    form_words: str = "tables"


_MADE: Final = "made by you: openssl rand -hex 32"
_ROLE: Final = "the machine's own role is used"

REGISTER: Final = (
    Secret(
        "database_url",
        "opens the database",
        "whoever runs Postgres",
        "the embedded Postgres is used",
        _POSTGRES,
        "postgresql://user:password@host/name",
    ),
    Secret(
        "database_listen_url",
        "opens the database for wake-ups where a pooler stands before it",
        "whoever runs Postgres",
        "database_url is used",
        _POSTGRES,
        "postgresql://user:password@host/name",
    ),
    Secret(
        "valkey_url",
        "opens Valkey, for what processes share quickly",
        "whoever runs Valkey",
        "each process counts for itself, sessions are in Postgres",
        _VALKEY,
        "valkey://user:password@host:port/number",
    ),
    Secret(
        "object_store_access_key_id",
        "names the key of the bucket for large data",
        "the cloud account",
        _ROLE,
        _ACCESS_KEY,
        "3 to 128 visible characters",
    ),
    Secret(
        "object_store_secret_access_key",
        "opens the bucket for large data",
        "the cloud account",
        _ROLE,
        _TEXT,
        "at least 16 characters",
    ),
    Secret(
        "sqs_access_key_id",
        "names the key for queues in SQS",
        "the cloud account",
        _ROLE,
        _ACCESS_KEY,
        "3 to 128 visible characters",
    ),
    Secret("sqs_secret_access_key", "opens queues in SQS", "the cloud account", _ROLE, _TEXT, "at least 16 characters"),
    Secret(
        "secret_key",
        "seals the keys that sign access tokens",
        "made by you: openssl rand -hex 32, or by fluxa up",
        "no access token is made",
        _SEALING,
        "each at least 32 characters, with commas between",
    ),
    Secret(
        "oidc_client_secret",
        "proves this installation to the OpenID provider that people log in through",
        "the provider, where the installation is registered",
        "the provider must not ask for one",
        _TEXT,
        "at least 16 characters",
    ),
    Secret(
        "cron_secrets",
        "sign the calls of cron jobs",
        _MADE,
        "no cron job is let in",
        _LIST,
        "each at least 16 characters, with commas between",
    ),
    Secret(
        "queue_processor_override_token",
        "opens POST /process-queues in an emergency",
        _MADE,
        "there is no way around signatures",
        _TEXT,
        "at least 16 characters",
    ),
    Secret(
        "queue_processor_legacy_secret",
        "is accepted on POST /process-queues in legacy mode",
        "the callers of before",
        "legacy mode cannot be switched on",
        _TEXT,
        "at least 16 characters",
    ),
    Secret(
        "api_key",
        "is what fluxa's commands send",
        "fluxa apikey create",
        "the key in home/credentials.json is used",
        _API_KEY,
        "as fluxa apikey create prints it",
    ),
    Secret(
        "alarm_targets",
        "reach those who are told of alarms",
        "Discord, or whoever runs the receivers",
        "nobody is told of alarms",
    ),
    Secret(
        "otel_exporter_otlp_headers",
        "open the collector that takes traces",
        "whoever runs the collector",
        "the collector takes no traces",
    ),
    Secret(
        "external_queues",
        "hold bearers and signing secrets of endpoints",
        "whoever runs the endpoints",
        "nothing is delivered outside",
    ),
    Secret(
        "audit_sinks",
        "sign and open what the audit log is sent on to",
        "whoever runs the receivers",
        "the audit log is sent nowhere",
    ),
    Secret(
        "webhook_secrets",
        "prove who sends webhooks",
        "each provider's page on webhooks",
        "no webhook is let in",
    ),
)
"""All of them; a test compares it with the settings that are marked secret."""
