"""The one error root and the one table of error codes (spec PIPE-9).

A code says what happened; its class says what may be done about it. Handlers, the door and the
command line all read the same table; errors of one vendor or driver are mapped where it is called.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


class RetryClass(enum.StrEnum):
    """What may be done with work that failed."""

    TRANSIENT = "transient"
    """The same work may succeed later: retry with backoff."""
    PERMANENT = "permanent"
    """The same work will fail again: park it for a person."""
    SECURITY = "security"
    """The work may have been tampered with: park it and raise an alarm."""


class ErrorCode(enum.StrEnum):
    """Stable, machine-readable names; they appear in APIs, logs, metrics and dead letters."""

    HASH_MISMATCH = "HashMismatch"
    SCHEMA_VALIDATION = "SchemaValidation"
    INVALID_EVENT = "InvalidEvent"
    MALFORMED_JSON = "MalformedJson"
    MALFORMED_MESSAGE = "MalformedMessage"
    PAYLOAD_MISSING = "PayloadMissing"
    DB_CONNECTION_ERROR = "DBConnectionError"
    DB_REJECTED = "DBRejected"
    QUERY_TIMEOUT = "QueryTimeout"
    OBJECT_STORE_UNAVAILABLE = "ObjectStoreUnavailable"
    LEASE_LOST = "LeaseLost"
    HANDLER_TIMEOUT = "HandlerTimeout"
    HANDLER_CRASH = "HandlerCrash"
    HANDLER_ERROR = "HandlerError"
    PROVIDER_THROTTLED = "ProviderThrottled"
    PROVIDER_UNAVAILABLE = "ProviderUnavailable"
    PROVIDER_UNAUTHORIZED = "ProviderUnauthorized"
    PROVIDER_REJECTED = "ProviderRejected"
    OUTCOME_UNKNOWN = "OutcomeUnknown"
    EVENT_TOO_LARGE = "EventTooLarge"
    REQUEST_TOO_LARGE = "RequestTooLarge"
    TOO_MANY_EVENTS = "TooManyEvents"
    REQUEST_TIMEOUT = "RequestTimeout"
    UNSUPPORTED_MEDIA_TYPE = "UnsupportedMediaType"
    INVALID_REQUEST = "InvalidRequest"
    UNAUTHENTICATED = "Unauthenticated"
    FORBIDDEN = "Forbidden"
    NOT_FOUND = "NotFound"
    METHOD_NOT_ALLOWED = "MethodNotAllowed"
    AMBIGUOUS_ID = "AmbiguousId"
    IDEMPOTENCY_IN_FLIGHT = "IdempotencyInFlight"
    IDEMPOTENCY_MISMATCH = "IdempotencyMismatch"
    OVERLOADED = "Overloaded"
    RATE_LIMITED = "RateLimited"
    SHUTTING_DOWN = "ShuttingDown"
    SCHEMA_VERSION = "SchemaVersion"
    CONFIGURATION = "Configuration"
    EMBEDDED_POSTGRES = "EmbeddedPostgres"
    PROCESS_FAILED = "ProcessFailed"
    REFUSED = "Refused"
    INTERNAL = "Internal"


@dataclass(frozen=True, slots=True)
class ErrorSpec:
    """What a code means.

    Attributes:
        retry: what may be done with the work.
        status: the HTTP status when it ends a request (RFC 9110).
        title: a short phrase, the same for every occurrence (RFC 9457).
        action: what the reader should do next.
    """

    retry: RetryClass
    status: int
    title: str
    action: str


_T, _P, _S = RetryClass.TRANSIENT, RetryClass.PERMANENT, RetryClass.SECURITY

ERRORS: Mapping[ErrorCode, ErrorSpec] = MappingProxyType(
    {
        ErrorCode.HASH_MISMATCH: ErrorSpec(
            _S,
            400,
            "The data does not match its digest",
            "Find out who altered it; do not send it again before that.",
        ),
        ErrorCode.SCHEMA_VALIDATION: ErrorSpec(
            _P, 422, "The data does not fit the schema of its type", "Correct the producer, or the schema."
        ),
        ErrorCode.INVALID_EVENT: ErrorSpec(
            _P, 422, "The event is not a valid CloudEvent", "Correct the attribute that the pointer names."
        ),
        ErrorCode.MALFORMED_JSON: ErrorSpec(
            _P, 400, "The body is not valid JSON", "Send well-formed UTF-8 JSON without repeated names."
        ),
        ErrorCode.MALFORMED_MESSAGE: ErrorSpec(
            _P,
            422,
            "The queue message cannot be read",
            "Look at the raw message; correct the program that sent it.",
        ),
        ErrorCode.PAYLOAD_MISSING: ErrorSpec(
            _P,
            404,
            "The stored payload is missing",
            "Restore the object from backup, then redrive with --force PayloadMissing.",
        ),
        ErrorCode.DB_CONNECTION_ERROR: ErrorSpec(
            _T, 503, "Postgres cannot be reached", "Wait and retry; if it lasts, look at the database."
        ),
        ErrorCode.DB_REJECTED: ErrorSpec(
            _P,
            500,
            "Postgres refused the statement",
            "Read the detail; this is a defect or a missing permission.",
        ),
        ErrorCode.QUERY_TIMEOUT: ErrorSpec(
            _T,
            503,
            "The query took too long and was stopped",
            "Narrow it: a shorter time range, a type, a source, or a smaller limit.",
        ),
        ErrorCode.OBJECT_STORE_UNAVAILABLE: ErrorSpec(
            _T,
            503,
            "The object store cannot be reached",
            "Wait and retry; if it lasts, look at the object store.",
        ),
        ErrorCode.LEASE_LOST: ErrorSpec(
            _T,
            503,
            "The lease ran out and another worker has the message",
            "Nothing: the other worker finishes it.",
        ),
        ErrorCode.HANDLER_TIMEOUT: ErrorSpec(
            _T,
            504,
            "The handler took longer than its limit",
            "Retry; if it repeats, raise the limit or mend the handler.",
        ),
        ErrorCode.HANDLER_CRASH: ErrorSpec(
            _T,
            500,
            "The worker died while it held the message",
            "Look at the worker's last log lines for this message.",
        ),
        ErrorCode.HANDLER_ERROR: ErrorSpec(
            _T, 500, "The handler raised an error", "Read the detail; mend the handler and redrive."
        ),
        ErrorCode.PROVIDER_THROTTLED: ErrorSpec(
            _T, 429, "The provider asked us to slow down", "Nothing: it is retried at the provider's pace."
        ),
        ErrorCode.PROVIDER_UNAVAILABLE: ErrorSpec(
            _T, 503, "The provider cannot be reached", "Wait; if it lasts, look at the provider's status."
        ),
        ErrorCode.PROVIDER_UNAUTHORIZED: ErrorSpec(
            _T, 503, "The provider refused our credential", "Correct the credential in the settings; work waits for it."
        ),
        ErrorCode.PROVIDER_REJECTED: ErrorSpec(
            _P, 422, "The provider refused the request", "Read the detail and correct what was sent."
        ),
        ErrorCode.OUTCOME_UNKNOWN: ErrorSpec(
            _P,
            504,
            "It was sent, and no answer came",
            "Ask the provider whether it was done; redrive with --force OutcomeUnknown if it was not.",
        ),
        ErrorCode.EVENT_TOO_LARGE: ErrorSpec(
            _P,
            413,
            "The event is larger than allowed",
            "Send at most 1 MiB an event; put larger data in an object store.",
        ),
        ErrorCode.REQUEST_TOO_LARGE: ErrorSpec(
            _P, 413, "The request is larger than allowed", "Send at most 10 MiB a request; split it."
        ),
        ErrorCode.TOO_MANY_EVENTS: ErrorSpec(
            _P, 413, "The request holds too many events", "Send at most 10 000 events a request; split it."
        ),
        ErrorCode.REQUEST_TIMEOUT: ErrorSpec(
            _T,
            408,
            "The request body took too long to arrive",
            "Send it again over a faster connection, or in parts.",
        ),
        ErrorCode.UNSUPPORTED_MEDIA_TYPE: ErrorSpec(
            _P,
            415,
            "The media type is not supported",
            "Send application/cloudevents+json, …-batch+json, application/x-ndjson, or ce- headers.",
        ),
        ErrorCode.INVALID_REQUEST: ErrorSpec(
            _P, 400, "The request is not valid", "Correct the parameter that the pointer names."
        ),
        ErrorCode.UNAUTHENTICATED: ErrorSpec(
            _P,
            401,
            "No valid credential",
            "Send what the detail names; a key for Authorization: Bearer is made with fluxa apikey create.",
        ),
        ErrorCode.FORBIDDEN: ErrorSpec(_P, 403, "The credential does not allow this", "Use a key that has the right."),
        ErrorCode.NOT_FOUND: ErrorSpec(
            _P, 404, "There is no such thing", "Check the id; a new event appears once it has been processed."
        ),
        ErrorCode.METHOD_NOT_ALLOWED: ErrorSpec(
            _P, 405, "The method is not allowed here", "Use a method that the Allow header names."
        ),
        ErrorCode.AMBIGUOUS_ID: ErrorSpec(_P, 409, "Several sources use this event id", "Name one with ?source=."),
        ErrorCode.IDEMPOTENCY_IN_FLIGHT: ErrorSpec(
            _T, 409, "A request with this Idempotency-Key is being handled", "Wait and repeat the request."
        ),
        ErrorCode.IDEMPOTENCY_MISMATCH: ErrorSpec(
            _P, 422, "This Idempotency-Key was used for another request", "Use a new key for a new request."
        ),
        ErrorCode.OVERLOADED: ErrorSpec(
            _T, 429, "More arrives than can be stored", "Repeat the request after the time in Retry-After."
        ),
        ErrorCode.RATE_LIMITED: ErrorSpec(
            _T, 429, "This client calls too often", "Wait as long as Retry-After says; RateLimit says what is left."
        ),
        ErrorCode.SHUTTING_DOWN: ErrorSpec(
            _T, 503, "The service is shutting down", "Repeat the request; another process will take it."
        ),
        ErrorCode.SCHEMA_VERSION: ErrorSpec(
            _P, 503, "The database schema does not fit this version", "Run fluxa db migrate, or update Fluxa."
        ),
        ErrorCode.CONFIGURATION: ErrorSpec(
            _P, 500, "A setting is missing or not valid", "Correct the setting that the detail names."
        ),
        ErrorCode.EMBEDDED_POSTGRES: ErrorSpec(
            _P,
            500,
            "The embedded Postgres could not be started",
            "Read the detail and the server's log it names.",
        ),
        ErrorCode.PROCESS_FAILED: ErrorSpec(
            _P,
            500,
            "A process of the stack did not start",
            "Read its last lines above; they say what is in the way.",
        ),
        ErrorCode.REFUSED: ErrorSpec(
            _P,
            409,
            "Refused, to keep you from harm",
            "Read why; if you are sure, repeat it with the option named there.",
        ),
        ErrorCode.INTERNAL: ErrorSpec(
            _T,
            500,
            "Something went wrong inside Fluxa",
            "Repeat the request; if it lasts, report it with the correlation id.",
        ),
    }
)


def retry_class(code: str) -> RetryClass:
    """The class of a code; a code of the user's own that no table lists is transient."""
    try:
        return ERRORS[ErrorCode(code)].retry
    except ValueError:
        return RetryClass.TRANSIENT


class FluxaError(Exception):
    """The root of all errors that Fluxa raises on purpose.

    Attributes:
        code: the stable name, a member of `ErrorCode` or a code of the user's own.
        detail: what happened this time; never holds a secret.
        pointer: a JSON Pointer (RFC 6901) to the part that is wrong, if one part is.
        retry_after_s: seconds after which a repeat makes sense, if known.
    """

    def __init__(
        self,
        code: str,
        detail: str = "",
        *,
        pointer: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        self.code = str(code)
        self.detail = detail or self.spec.title
        self.pointer = pointer
        self.retry_after_s = retry_after_s
        super().__init__(f"{self.code}: {self.detail}")

    @property
    def spec(self) -> ErrorSpec:
        """The table's row for this code."""
        try:
            return ERRORS[ErrorCode(self.code)]
        except ValueError:
            return ERRORS[ErrorCode.HANDLER_ERROR]

    @property
    def retry(self) -> RetryClass:
        """What may be done with the work that failed."""
        return retry_class(self.code)


class LeaseLostError(FluxaError):
    """The message is another worker's now; what was done for it must be rolled back."""

    def __init__(self, detail: str = "") -> None:
        super().__init__(ErrorCode.LEASE_LOST, detail)


class DatabaseUnavailableError(FluxaError):
    """Postgres did not answer, or ended the connection; the same work may succeed later."""

    def __init__(self, detail: str = "") -> None:
        super().__init__(ErrorCode.DB_CONNECTION_ERROR, detail, retry_after_s=1.0)
