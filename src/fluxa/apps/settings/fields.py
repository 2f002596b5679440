"""Every setting of Fluxa: its type, range, default and text. Not: where values come from (sources)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import platformdirs
from msgspec import Meta

from fluxa.apps.settings.managed import ManagedSettings
from fluxa.apps.settings.secret_notes import SecretNote
from fluxa.apps.settings.tables.alarms import AlarmTarget, AlarmTuning
from fluxa.apps.settings.tables.buckets import BucketTuning
from fluxa.apps.settings.tables.external import ExternalQueue
from fluxa.apps.settings.tables.tuning import QueueTuning
from fluxa.apps.settings.tables.webhooks import WebhookSource
from fluxa.apps.settings.tracing import NAMES as TRACING_NAMES
from fluxa.auth.webhooks import SchemeName
from fluxa.web.routes import Bucket

SECRET = {"secret": True}
"""Marks a setting that is never shown in full."""

Port = Annotated[int, Meta(ge=0, le=65535)]
_LOOPBACK = "127.0.0.1"


def default_home() -> str:
    """The folder that the operating system gives to this user's data."""
    return str(platformdirs.user_data_path("fluxa", appauthor=False))


class Settings(ManagedSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a process needs to know. Names end in their unit; the text of each stands beside it."""

    home: Annotated[
        str,
        Meta(min_length=1, description="Folder of the embedded Postgres, the object store and this user's API key."),
    ] = msgspec.field(default_factory=default_home)
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="The least severe log line that is written.")
    ] = "info"

    database_url: Annotated[
        str | None,
        Meta(
            description="Postgres 15 or later, as postgresql://user:password@host/name. None: the embedded one.",
            extra=SECRET,
        ),
    ] = None
    database_listen_url: Annotated[
        str | None,
        Meta(
            description="A direct way to the same database for LISTEN, where database_url leads through PgBouncer.",
            extra=SECRET,
        ),
    ] = None
    database_prepared: Annotated[
        bool, Meta(description="Prepare statements. Set to false behind PgBouncer in transaction mode.")
    ] = True
    valkey_url: Annotated[
        str | None,
        Meta(
            description="Valkey or Redis, as valkey://user:password@host:6379/0, for what all processes share quickly: "
            "rate buckets and, where chosen, sessions. None: each process counts for itself.",
            extra=SECRET,
        ),
    ] = None
    database_pool_min: Annotated[int, Meta(ge=0, le=1000, description="Connections a process keeps open.")] = 1
    database_pool_max: Annotated[int, Meta(ge=1, le=1000, description="Connections a process opens at most.")] = 8
    database_connect_timeout_s: Annotated[
        float, Meta(gt=0, le=300, description="How long to wait for a connection.")
    ] = 5.0
    database_statement_timeout_s: Annotated[
        float, Meta(gt=0, le=3600, description="After this a statement is cancelled.")
    ] = 30.0
    database_slow_ms: Annotated[
        float, Meta(ge=0, le=3_600_000, description="A statement that takes longer is logged and counted. 0: none is.")
    ] = 500.0

    ingest_host: Annotated[str, Meta(description="Address the ingest service listens on; 0.0.0.0 for all of IPv4.")] = (
        _LOOPBACK
    )
    ingest_port: Annotated[Port, Meta(description="Port of the ingest service; 0 takes a free one.")] = 8700
    query_host: Annotated[str, Meta(description="Address the query service listens on.")] = _LOOPBACK
    query_port: Annotated[Port, Meta(description="Port of the query service; 0 takes a free one.")] = 8701
    processor_host: Annotated[str, Meta(description="Address of the processor's health and metrics pages.")] = _LOOPBACK
    processor_port: Annotated[
        Port, Meta(description="Port of the processor's health and metrics pages; 0 takes a free one.")
    ] = 8702
    worker_host: Annotated[str, Meta(description="Address of the worker's health and metrics pages.")] = _LOOPBACK
    worker_port: Annotated[
        Port, Meta(description="Port of the worker's health and metrics pages; 0 takes a free one.")
    ] = 8740
    worker_queues: Annotated[
        str | None, Meta(description="Queues that a worker serves, with commas between. None: all with a handler.")
    ] = None
    worker_concurrency: Annotated[
        int,
        Meta(
            ge=0,
            le=10_000,
            description="Handler calls that run at once in a worker, all queues together. 0: each queue's own number.",
        ),
    ] = 0
    worker_memory_max_bytes: Annotated[
        int,
        Meta(ge=0, le=2**50, description="A worker that holds more memory claims nothing until it holds less. 0: off."),
    ] = 0
    station_host: Annotated[str, Meta(description="Address the station (queues over HTTP) listens on.")] = _LOOPBACK
    station_port: Annotated[Port, Meta(description="Port of the station; 0 takes a free one.")] = 8720
    http_backlog: Annotated[
        int, Meta(ge=1, le=65535, description="Connections the kernel keeps waiting for a service.")
    ] = 2048
    http_keep_alive_s: Annotated[int, Meta(ge=1, le=3600, description="How long an idle connection is kept open.")] = 75
    http_trusted_proxies: Annotated[
        str,
        Meta(
            description="Addresses and networks of proxies whose X-Forwarded-For is believed, with commas between. "
            "Without them all clients behind a proxy are one."
        ),
    ] = ""
    http_body_timeout_s: Annotated[
        float, Meta(gt=0, le=3600, description="How long a request's body may take to arrive.")
    ] = 30.0
    shutdown_notice_s: Annotated[
        float,
        Meta(
            ge=0,
            le=300,
            description="How long readiness says 503 before the port closes, so that load balancers look away first.",
        ),
    ] = 0.0
    shutdown_timeout_s: Annotated[
        float, Meta(gt=0, le=300, description="How long requests in flight may take to finish when stopping.")
    ] = 20.0

    event_max_bytes: Annotated[
        int, Meta(ge=1024, le=16 * 1024 * 1024, description="Largest event that is accepted.")
    ] = 1024 * 1024
    request_max_bytes: Annotated[
        int, Meta(ge=1024, le=256 * 1024 * 1024, description="Largest request body that is accepted.")
    ] = 10 * 1024 * 1024
    request_max_events: Annotated[int, Meta(ge=1, le=100_000, description="Most events in one request.")] = 10_000
    claim_check_over_bytes: Annotated[
        int, Meta(ge=0, le=16 * 1024 * 1024, description="Data larger than this goes to the object store.")
    ] = 65536
    collector_max_events: Annotated[
        int, Meta(ge=1, le=10_000_000, description="Events waiting for their commit; beyond it the answer is 429.")
    ] = 40_000
    collector_max_bytes: Annotated[
        int, Meta(ge=1024, le=16 * 1024**3, description="Bytes waiting for their commit; beyond it the answer is 429.")
    ] = 64 * 1024 * 1024
    envelope_max_records: Annotated[
        int, Meta(ge=1, le=100_000, description="Events packed into one queue message at most.")
    ] = 500
    envelope_max_bytes: Annotated[
        int, Meta(ge=1024, le=64 * 1024 * 1024, description="Bytes packed into one queue message at most.")
    ] = 512 * 1024

    object_store_url: Annotated[
        str | None,
        Meta(description="Where large data goes: s3://bucket/prefix or file:///folder. None: a folder under home."),
    ] = None
    object_store_endpoint: Annotated[
        str | None, Meta(description="URL of a server that speaks S3, where it is not Amazon's.")
    ] = None
    object_store_region: Annotated[str | None, Meta(description="Region of the bucket.")] = None
    object_store_access_key_id: Annotated[
        str | None, Meta(description="Access key of the bucket. None: the machine's own role.", extra=SECRET)
    ] = None
    object_store_secret_access_key: Annotated[
        str | None, Meta(description="Secret of the access key.", extra=SECRET)
    ] = None

    queue_engine: Annotated[
        Literal["pgmq", "sqs"], Meta(description="Where queues are: in Postgres (pgmq) or in Amazon SQS.")
    ] = "pgmq"
    sqs_queues: Annotated[
        str, Meta(description="Queues that are in SQS while the others are in Postgres: names with commas between.")
    ] = ""
    sqs_endpoint: Annotated[
        str | None, Meta(description="URL of a server that speaks SQS, where it is not Amazon's.")
    ] = None
    sqs_region: Annotated[str | None, Meta(description="Region of the SQS queues.")] = None
    sqs_access_key_id: Annotated[
        str | None, Meta(description="Access key for SQS. None: the machine's own role.", extra=SECRET)
    ] = None
    sqs_secret_access_key: Annotated[str | None, Meta(description="Secret of the access key.", extra=SECRET)] = None
    sqs_prefix: Annotated[
        str,
        Meta(
            pattern=r"^[A-Za-z0-9_-]{0,30}\Z",
            description="Stands before the names of queues in SQS, so that several installations share an account.",
        ),
    ] = "fluxa-"

    processor_lanes: Annotated[int, Meta(ge=1, le=256, description="Batches a processor works on side by side.")] = 2
    processor_claim_messages: Annotated[
        int, Meta(ge=1, le=10_000, description="Queue messages a lane claims at once at most; bounds its memory.")
    ] = 64
    processor_batch_records: Annotated[
        int, Meta(ge=1, le=100_000, description="Events stored in one transaction, about.")
    ] = 4000
    lease_s: Annotated[
        float, Meta(ge=1, le=43200, description="How long a claimed message is kept from others; renewed while needed.")
    ] = 30.0
    retry_attempts_max: Annotated[
        int, Meta(ge=1, le=1000, description="Attempts in all, crashes included, before an event is parked.")
    ] = 14
    retry_base_s: Annotated[
        float, Meta(ge=0, le=3600, description="Pause before the second attempt; doubled for each one after it.")
    ] = 0.5
    retry_cap_s: Annotated[float, Meta(ge=0, le=86400, description="Longest pause between two attempts.")] = 300.0
    queue_probe_timeout_s: Annotated[
        float,
        Meta(gt=0, le=60, description="How long one question about a queue may take; then the answer is UNKNOWN."),
    ] = 2.0
    queue_probe_retries: Annotated[
        int, Meta(ge=0, le=10, description="Repeats of a question about a queue that failed in a way that may pass.")
    ] = 1
    queue_watch_period_s: Annotated[
        float, Meta(ge=0.1, le=3600, description="How often queues are looked at for their watermarks and gauges.")
    ] = 5.0
    retention_months: Annotated[
        int, Meta(ge=0, le=1200, description="Whole months of events that are kept; 0 keeps them for good.")
    ] = 0

    cron_secrets: Annotated[
        str | None,
        Meta(
            description="Secrets that sign the calls of cron jobs, newest first, separated by commas; each at least 16 "
            "characters. Two while they are rotated.",
            extra=SECRET,
        ),
    ] = None
    queue_processor_budget_max_s: Annotated[
        float,
        Meta(
            gt=0, le=3600, description="How long one POST /process-queues may work at most; also what it takes unasked."
        ),
    ] = 50.0
    queue_processor_override_token: Annotated[
        str | None,
        Meta(description="Opens POST /process-queues without a signature; every use is a warning.", extra=SECRET),
    ] = None
    queue_processor_legacy_mode: Annotated[
        bool,
        Meta(description="Accept X-Internal-Secret on POST /process-queues as well; every use is a warning."),
    ] = False
    queue_processor_legacy_secret: Annotated[
        str | None, Meta(description="The static secret that legacy mode accepts.", extra=SECRET)
    ] = None

    buckets: Annotated[
        dict[Bucket, BucketTuning],
        Meta(
            description="How often one client may call, a table a bucket: "
            + ", ".join(BucketTuning.__struct_fields__)
            + ". In a variable: the same as JSON."
        ),
    ] = msgspec.field(default_factory=dict)
    api_key: Annotated[
        str | None,
        Meta(description="API key that fluxa's commands send. None: the key in home/credentials.json.", extra=SECRET),
    ] = None
    app: Annotated[str | None, Meta(description="Your own queues and handlers: module:attribute of a fluxa.Fluxa.")] = (
        None
    )
    queues: Annotated[
        dict[str, QueueTuning],
        Meta(
            description="How queues are worked on, a table each, over what the code says: "
            + ", ".join(QueueTuning.__struct_fields__)
            + ". In a variable: the same as JSON."
        ),
    ] = msgspec.field(default_factory=dict)
    cron_history_days: Annotated[
        int, Meta(ge=1, le=3650, description="How long it is remembered what schedules have run.")
    ] = 90
    alarms: Annotated[
        dict[str, AlarmTuning],
        Meta(
            description="When alarms fire, a table each, over what the code says: "
            + ", ".join(AlarmTuning.__struct_fields__)
            + ". In a variable: the same as JSON."
        ),
    ] = msgspec.field(default_factory=dict)
    alarm_targets: Annotated[
        dict[str, AlarmTarget],
        Meta(
            description="Who is told of alarms, a table each: " + ", ".join(AlarmTarget.__struct_fields__) + ".",
            extra=SECRET,
        ),
    ] = msgspec.field(default_factory=dict)
    alarm_period_s: Annotated[float, Meta(ge=0.2, le=300, description="How often alarms are looked at.")] = 5.0
    alarm_repeat_s: Annotated[
        float, Meta(ge=1, le=604800, description="After which an alarm that fires unacknowledged is told again.")
    ] = 14400.0
    alarm_expected: Annotated[
        str, Meta(description="Services that must be heard of, with commas between, whether they ever were or not.")
    ] = ""
    database_cores: Annotated[
        int, Meta(ge=0, le=4096, description="Processors of a database on another machine; 0: nobody knows.")
    ] = 0
    runbook_url: Annotated[
        str,
        Meta(description="Where runbooks are read: their ids are put behind it, or in the place of {runbook}."),
    ] = ""
    external_queues: Annotated[
        dict[str, ExternalQueue],
        Meta(
            description="Endpoints of external queues, a table each: url, bearer, secrets, timeout_s, rate_per_s, "
            "burst, dedupe_s, allow_private, ca_file. In a variable: the same as JSON.",
            extra=SECRET,
        ),
    ] = msgspec.field(default_factory=dict)
    webhook_secrets: Annotated[
        dict[str, WebhookSource],
        Meta(
            description="Who may send webhooks, a table each: secrets (newest first, two while one is replaced) and "
            "scheme: " + ", ".join(SchemeName) + ". In a variable: the same as JSON.",
            extra=SECRET,
        ),
    ] = msgspec.field(default_factory=dict)
    secret_files: Annotated[
        dict[str, str],
        Meta(
            description="Files that hold secrets: the setting's name and a path. The variable of a secret with _FILE "
            "behind it does the same for one. Tables are JSON there."
        ),
    ] = msgspec.field(default_factory=dict)
    secrets_reload_s: Annotated[
        float, Meta(ge=0.1, le=86400, description="How often running processes read secret_files again.")
    ] = 10.0
    secret_notes: Annotated[
        dict[str, SecretNote],
        Meta(description="Who replaces a secret and when it ends, a table each: owner, expires. fluxa doctor tells."),
    ] = msgspec.field(default_factory=dict)

    ingest_url: Annotated[
        str | None,
        Meta(description="Where commands send events. None: the stack that fluxa up runs, else ingest_port."),
    ] = None
    query_url: Annotated[
        str | None, Meta(description="Where commands ask. None: the stack that fluxa up runs, else query_port.")
    ] = None
    station_url: Annotated[
        str | None,
        Meta(description="Where commands steer queues. None: the stack that fluxa up runs, else station_port."),
    ] = None

    @property
    def cron_secret_list(self) -> tuple[bytes, ...]:
        """`cron_secrets`, one by one, newest first."""
        return tuple(one.encode() for one in listed(self.cron_secrets))

    @property
    def home_folder(self) -> Path:
        """`home` as an absolute path."""
        return Path(self.home).expanduser().absolute()


def listed(text: str | None) -> list[str]:
    """The parts of a setting that is text with commas between."""
    return [part.strip() for part in (text or "").split(",") if part.strip()]


NAMES: tuple[str, ...] = (
    *(name for name in Settings.__struct_fields__ if name not in TRACING_NAMES),
    *TRACING_NAMES,
)
"""All settings, in the order they are shown."""

FIELDS: Mapping[str, msgspec.structs.FieldInfo] = {field.name: field for field in msgspec.structs.fields(Settings)}


def is_secret(name: str) -> bool:
    """Whether a setting is never shown in full."""
    kind = msgspec.inspect.type_info(FIELDS[name].type)
    return isinstance(kind, msgspec.inspect.Metadata) and (kind.extra or {}).get("secret") is True
