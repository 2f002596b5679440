"""Delivers records to an HTTP endpoint: signed, paced, and only to addresses that were checked. A `HttpEndpoint`."""

import asyncio
import contextlib
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

import httpcore

from fluxa.kernel.clock import Clock
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.kernel.ids import is_safe_correlation_id, new_traceparent
from fluxa.providers.answers import Answer, Progress, TransportError
from fluxa.providers.gateway import Gateway
from fluxa.providers.http_endpoint import Parcel
from fluxa.providers.signing import key_of, message_id, signed
from fluxa.providers.vendors.guarded_network import GuardedNetwork, Resolve, system_resolve
from fluxa.resilience.guard import GuardPolicy
from fluxa.telemetry import trace
from fluxa.telemetry.catalogue import Hook

_CONNECTIONS_MAX = 20
_IDLE_S = 5.0
_BODY_MAX_BYTES = 64 * 1024
"""What is read of an answer's body at most: a receiver has nothing to say to us but why it refused."""
_BODY_WAIT_S = 2.0
"""How long a body may dawdle: by then the status has said what there is to know."""
_CONTENT_TYPE = re.compile(r"[\x21-\x7e][\x20-\x7e]{0,254}\Z")
_BEARER = re.compile(r"[\x21-\x7e]{1,4096}\Z")
_AGENT = "fluxa"


@dataclass(frozen=True, slots=True)
class EndpointConfig:
    """One endpoint and how it is reached.

    Attributes:
        name: how it is named in metrics, logs and errors.
        url: where to; https, or http where `allow_private`.
        bearer: the credential; None for none.
        secrets: what deliveries are signed with, `whsec_…`; several while one is replaced.
        timeout_s: seconds from connecting to the answer's head.
        allow_private: whether it may be on this machine or in a private network.
        dedupes: whether it knows a repetition by its id; if not, no connection is used twice, because one that the
            receiver has just closed leaves open whether the request was read.
        ca_file: certificates to trust instead of the public ones.
        guard: its limits.
    """

    name: str
    url: str
    bearer: str | None = None
    secrets: tuple[str, ...] = ()
    timeout_s: float = 30.0
    allow_private: bool = False
    dedupes: bool = True
    ca_file: str | None = None
    guard: GuardPolicy = field(default_factory=GuardPolicy)


class SignedEndpoint:
    """An endpoint behind a `Gateway`; the caller ends it with `stop`.

    Raises:
        FluxaError: `Configuration` for a URL or a secret that cannot be used.
    """

    def __init__(
        self,
        config: EndpointConfig,
        *,
        clock: Clock,
        hook: Hook,
        chance: Callable[[], float],
        resolve: Resolve = system_resolve,
    ) -> None:
        self._config = self._former = config
        self._clock = clock
        self._url, self._host = _checked_url(config)
        self._bearer = _credential(config)
        self._keys = [key_of(secret) for secret in config.secrets]
        self._gateway = Gateway(
            config.name, config.guard, timeout_s=config.timeout_s, clock=clock, hook=hook, chance=chance
        )
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=_trust(config),
            max_connections=_CONNECTIONS_MAX,
            max_keepalive_connections=_CONNECTIONS_MAX if config.dedupes else 0,
            keepalive_expiry=_IDLE_S,
            network_backend=GuardedNetwork(allow_private=config.allow_private, resolve=resolve),
        )

    async def start(self) -> None:
        """Nothing to begin: connections are made when they are needed."""

    async def stop(self) -> None:
        """Close what is still connected."""
        await self._pool.aclose()

    def use(self, config: EndpointConfig) -> None:
        """Deliver to this URL with these credentials from now on; deliveries under way end as they began.

        Its limits, its trust and what it may connect to stay what they were.

        Raises:
            FluxaError: `Configuration`, as making one; then all stays as it is.
        """
        config = replace(self._config, url=config.url, bearer=config.bearer, secrets=config.secrets)
        url, host = _checked_url(config)
        bearer, keys = _credential(config), [key_of(secret) for secret in config.secrets]
        self._former = self._config
        self._config, self._url, self._host, self._bearer, self._keys = config, url, host, bearer, keys

    async def deliver(self, parcel: Parcel) -> None:
        """As `HttpEndpoint.deliver`."""
        await self._gateway.call(
            lambda progress: self._post(parcel, progress),
            retry=parcel.attempt > 1,
            correlation_id=parcel.correlation_id,
        )

    async def _post(self, parcel: Parcel, progress: Progress) -> Answer:
        headers = [(name.encode(), value.encode("ascii")) for name, value in self._headers(parcel).items()]

        async def progressed(event: str, _info: object) -> None:
            # From the first byte on, nobody knows what the other side has read.
            progress.sent = progress.sent or event == "http11.send_request_headers.started"

        try:
            async with self._pool.stream(
                "POST", self._url, headers=headers, content=parcel.body, extensions={"trace": progressed}
            ) as response:
                said = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
                progress.answered = Answer(response.status, said)
                return replace(progress.answered, body=self._without_secrets(await _beginning(response)))
        except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError, OSError) as error:
            raise TransportError(f"{_kind(error)}: {error}" if str(error) else _kind(error)) from error

    def _headers(self, parcel: Parcel) -> dict[str, str]:
        """All headers; the signature is made now, since the time of this attempt is in it."""
        if not _CONTENT_TYPE.match(parcel.content_type):
            raise FluxaError(ErrorCode.MALFORMED_MESSAGE, f"{parcel.content_type[:100]!r} is no content type.")
        message = message_id(parcel.id)
        headers = {
            "host": self._host,
            "user-agent": _AGENT,
            "accept-encoding": "identity",  # nothing that is small on the way and huge here
            "content-type": parcel.content_type,
            # The receiver knows a repetition by this id (Standard Webhooks names it so; many servers know the other
            # name): that is what makes it right to send again what may have arrived (decision 0013).
            **signed(self._keys, message=message, at_s=int(self._clock.now().timestamp()), body=parcel.body),
            "idempotency-key": message,
        }
        if is_safe_correlation_id(parcel.correlation_id):
            headers["x-correlation-id"] = parcel.correlation_id
        # Where tracing is off the story's id still goes out in this form, if it has it.
        if (place := trace.traceparent() or new_traceparent(parcel.correlation_id)) is not None:
            headers[trace.TRACEPARENT] = place
        if self._bearer is not None:
            headers["authorization"] = f"Bearer {self._bearer}"
        return headers

    def _without_secrets(self, body: bytes) -> bytes:
        """An answer's text as it may stand in a log: some servers repeat what they were sent."""
        for config in (self._config, self._former):  # it may repeat what was sent before the last change
            for secret in (config.bearer, *config.secrets):
                if secret:
                    body = body.replace(secret.encode(), b"****")
        return body


async def _beginning(response: httpcore.Response) -> bytes:
    """The beginning of a body. Its status is known: whatever happens here changes nothing about the ending."""
    content = bytearray()
    with contextlib.suppress(TimeoutError, httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError):
        async with asyncio.timeout(_BODY_WAIT_S):
            async for chunk in response.aiter_stream():
                content += chunk
                if len(content) >= _BODY_MAX_BYTES:
                    break
    return bytes(content[:_BODY_MAX_BYTES])


def _kind(error: Exception) -> str:
    return type(error).__name__


def _checked_url(config: EndpointConfig) -> tuple[str, str]:
    """The URL, and what stands in the Host header."""
    parts = urlsplit(config.url)
    schemes = ("https", "http") if config.allow_private else ("https",)
    try:
        plain = bool(parts.hostname) and parts.username is None and parts.password is None and parts.port != 0
    except ValueError:
        plain = False
    if parts.scheme not in schemes or not plain or not config.url.isascii() or parts.fragment:
        raise FluxaError(
            ErrorCode.CONFIGURATION,
            f"The endpoint of {config.name} is an https URL with a host, without user, password or fragment; "
            "http is for endpoints with allow_private.",
        )
    return config.url, parts.netloc


def _credential(config: EndpointConfig) -> str | None:
    if config.bearer is not None and not _BEARER.match(config.bearer):
        raise FluxaError(
            ErrorCode.CONFIGURATION, f"The bearer of {config.name} holds what no header can; it is not shown here."
        )
    return config.bearer


def _trust(config: EndpointConfig) -> ssl.SSLContext:
    if config.ca_file is None:
        return httpcore.default_ssl_context()
    try:
        return ssl.create_default_context(cafile=config.ca_file)
    except OSError as error:  # ssl's own errors are of this class
        raise FluxaError(
            ErrorCode.CONFIGURATION, f"The file {config.ca_file} of {config.name} holds no certificates: {error}."
        ) from None
