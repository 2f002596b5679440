"""How each kind of secret is replaced while everything runs: those of the register, and those in the database (SEC-5).

A test under load stands behind each row; another test sees to it that no kind is without.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of secret.

    Attributes:
        name: its setting; of what is in the database, what it is called there.
        steps: what to do, in order, so that no rightful request fails.
        former: what the former one still opens, and how long.
    """

    name: str
    steps: str
    former: str


_ACCESS_KEY: Final = (
    "Make a second access key. Write its id and its secret, in any order: half a pair is tried and not taken. "
    "Switch the first key off once all processes say secrets taken up."
)
_LOGIN: Final = (
    "Write the URL with the new password, then change it: alter role … password. Until then the old one stays in use; "
    "from the first login that the old one is refused, the new one counts."
)
_RECEIVER: Final = (
    "Let the receiver take a second bearer, write it, take the first away. Of signing secrets write new and old, let "
    "the receiver check by the new one, write the new one alone. Who is named anew waits for a restart."
)
_AT_ONCE: Final = "opens nothing once it is written out of the list"
_ENDS: Final = "what was begun with it ends as it began"

KINDS: Final = (
    Kind("database_url", _LOGIN, "connections in use finish what they do, and are made anew"),
    Kind("database_listen_url", _LOGIN, "the connection is made anew, and what was announced meanwhile looked for"),
    Kind(
        "valkey_url",
        "Give the user a second password (acl setuser NAME >new), write the URL, take the first one away.",
        _ENDS,
    ),
    Kind("object_store_access_key_id", _ACCESS_KEY, _ENDS),
    Kind("object_store_secret_access_key", _ACCESS_KEY, _ENDS),
    Kind("sqs_access_key_id", _ACCESS_KEY, _ENDS),
    Kind("sqs_secret_access_key", _ACCESS_KEY, _ENDS),
    Kind(
        "secret_key",
        "Write new,old. When all processes say secrets taken up: fluxa jwt reseal, then write new alone.",
        "opens what it has sealed as long as it is in the list",
    ),
    Kind("cron_secrets", "Write new,old. Give the new one to the callers, then write it alone.", _AT_ONCE),
    Kind(
        "queue_processor_override_token",
        "Write the new one and hand it out: there is one at a time.",
        "opens until secrets taken up, the new one from then on",
    ),
    Kind(
        "queue_processor_legacy_secret",
        "Write the new one and hand it out: there is one at a time. Better: sign, with cron_secrets.",
        "opens until secrets taken up, the new one from then on",
    ),
    Kind(
        "api_key",
        "Make another key, write it: each command reads it anew, no process holds it. Then revoke the first.",
        "as API keys",
    ),
    Kind("alarm_targets", _RECEIVER, _ENDS),
    Kind(
        "otel_exporter_otlp_headers",
        "Let the collector take a second key, write the header, take the first away.",
        "the export under way ends with it",
    ),
    Kind("external_queues", _RECEIVER, _ENDS),
    Kind("audit_sinks", _RECEIVER, _ENDS),
    Kind(
        "oidc_client_secret",
        "Let the provider take a second secret for the client, write it, take the first away.",
        _ENDS,
    ),
    Kind(
        "webhook_secrets",
        "Write new and old, let the provider sign with the new one, write it alone.",
        _AT_ONCE,
    ),
    Kind(
        "API keys",
        "fluxa apikey rotate, and give the new secret to whoever uses the key.",
        "opens until the overlap has ended; fluxa apikey revoke ends a key at once",
    ),
    Kind(
        "signing keys",
        "fluxa jwt rotate: the new one is published, then signs.",
        "verifies until its last token has ended; fluxa jwt retire ends it at once",
    ),
    Kind("refresh tokens", "By themselves: each use gives another one.", "10 seconds, for an answer that was lost"),
    Kind(
        "passwords of users",
        "fluxa user passwd, or PATCH /api/users/{id}.",
        "every session of the user ends at the next request, in every process",
    ),
)
"""All kinds: the settings of the register, then what the database keeps."""

KEPT: Final = frozenset({"API keys", "signing keys", "refresh tokens", "passwords of users"})
"""Those that are no settings."""
