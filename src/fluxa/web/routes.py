"""The route table: the one way to add an HTTP route; each row states its authentication."""

import enum
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from fluxa.auth.principal import Principal
from fluxa.auth.roles import Role
from fluxa.auth.scopes import Scope as KeyScope
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.kernel.ids import CorrelationId

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


_MIB = 1024 * 1024


class Auth(enum.StrEnum):
    """How a route knows its caller."""

    OPEN = "open"
    """Anybody who can reach the port: health, metrics, and what makes a credential of a password."""
    BEARER = "bearer"
    """`Authorization: Bearer <api key or access token>`; names the tenant and the role."""
    CRON = "cron"
    """A call that is signed with a secret of `cron_secrets` (`fluxa.auth.hmac_signature`), or the override token."""
    WEBHOOK = "webhook"
    """A provider's own signature (`fluxa.auth.webhooks`), made with a secret of `webhook_secrets`."""


class Call(msgspec.Struct, frozen=True):
    """What the table knows about a request when the endpoint gets it.

    Attributes:
        route: the row that matched.
        principal: the caller; None where the route is open.
        correlation_id: from `traceparent`, `X-Correlation-ID` or new (PIPE-10).
        path_params: values of `{name}` parts of the path.
    """

    route: "Route"
    principal: Principal | None
    correlation_id: CorrelationId
    path_params: dict[str, str] = {}

    @property
    def caller(self) -> Principal:
        """Who calls.

        Raises:
            FluxaError: `Unauthenticated`, where the route is open.
        """
        if self.principal is None:
            raise FluxaError(ErrorCode.UNAUTHENTICATED)
        return self.principal


class Bucket(enum.StrEnum):
    """What a route's requests are counted in (STATION-buckets); how many it holds, the settings say.

    Each bucket counts each client apart: one client never uses up what another may have.
    """

    NONE = "none"
    """Not counted: health and metrics, which must answer when all else is full."""
    PUBLIC = "public"
    """Whatever anybody may ask for."""
    EMAIL = "email"
    """Whatever sends mail."""
    QUEUE_WORKER = "queue_worker"
    """Whatever cron and queues call."""
    LOGIN = "login"
    """Whatever takes a password or a refresh token."""
    EVENTS = "events"
    """The door for events."""
    QUERY = "query"
    """Reading events."""
    OPERATION = "operation"
    """What operators call."""
    WEBHOOK = "webhook"
    """What providers call."""
    FAILED_CREDENTIALS = "failed_credentials"
    """No route's: each credential that is refused, by the address it came from."""


Endpoint = Callable[[Call, Scope, Receive, Send], Awaitable[None]]
"""Answers one request, as an ASGI application does. A raised `FluxaError` becomes a problem document."""


@dataclass(frozen=True, slots=True)
class Media:
    """An answer that is not JSON, for the documentation.

    Attributes:
        type: its media type.
        schema: its JSON Schema, usually of a string.
    """

    type: str
    schema: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Operation:
    """What OpenAPI says about a route (schemas are msgspec types).

    Attributes:
        summary: one line.
        parameters: query and header parameters as OpenAPI objects.
        request: media type to msgspec type (or a JSON Schema) of the body.
        request_optional: whether it may come without a body.
        responses: status to (description, msgspec type, JSON Schema, `Media` or None); from 400 on, None is a problem.
    """

    summary: str
    parameters: tuple[dict[str, Any], ...] = ()
    request: dict[str, Any] = field(default_factory=dict)
    responses: dict[int, tuple[str, Any]] = field(default_factory=dict)
    request_optional: bool = False


@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms a route is called.

    Attributes:
        bucket: what its requests are counted in.
        roles: who may call it, where callers have roles; bindings in the database may narrow or widen this (SEC-2).
        platform: whether it acts on what all tenants share: then only callers of the default tenant may.
        body_max_bytes: the longest body; a longer one is refused before it is read.
        timeout_s: seconds that its endpoint may take, until its last byte.
        asked_again_s: seconds between two looks at whether a caller whose answer lasts is still let in; None: no look.
        origins: whose pages may read its answers in a browser: `https://host`, or `*` for all.
        scope: what an API key that is narrowed must be narrowed to; None: no such key may.
    """

    bucket: Bucket
    roles: frozenset[Role] = frozenset()
    platform: bool = False
    body_max_bytes: int = _MIB
    timeout_s: float = 60.0
    asked_again_s: float | None = None
    origins: frozenset[str] = frozenset()
    scope: KeyScope | None = None


UNCOUNTED = Terms(Bucket.NONE)
"""Health and metrics."""
PAPERS = Terms(Bucket.NONE, origins=frozenset({"*"}))
"""What explains the API itself, to pages too that show it."""


@dataclass(frozen=True, slots=True)
class Route:
    """One row.

    Attributes:
        name: unique; labels metrics.
        path: exact, or with `{name}` parts.
        methods: upper case.
        auth: how the caller is known.
        endpoint: who answers.
        operation: its documentation.
        terms: who may call it, and how often.
        sources: for `Auth.WEBHOOK`: whose webhooks it takes, as `webhook_secrets` names them; of no other.
    """

    name: str
    path: str
    methods: tuple[str, ...]
    auth: Auth
    endpoint: Endpoint
    operation: Operation
    terms: Terms
    sources: tuple[str, ...] = ()
