"""Where the services are and how to ask them; their problems become our errors. Not: sending in bulk."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

import fluxa
from fluxa.apps.settings import Settings
from fluxa.apps.stack import home
from fluxa.cli.errors import CommandError
from fluxa.kernel import json
from fluxa.kernel.errors import ErrorCode, FluxaError

_TIMEOUT = httpx.Timeout(30.0, connect=5.0)


@dataclass(frozen=True, slots=True)
class Target:
    """Whom to ask, and as whom.

    Attributes:
        ingest_url: where events are sent.
        query_url: where they are asked for.
        api_key: names the tenant.
    """

    ingest_url: str
    query_url: str
    api_key: str


def find_target(settings: Settings) -> Target:
    """The services and the key: what the settings say, else the stack that `fluxa up` runs on this home.

    Raises:
        CommandError: `Unauthenticated`, if there is no key.
    """
    state = home.read_run_state(settings.home_folder)
    kept = None if settings.api_key else home.read_credentials(settings.home_folder)
    api_key = settings.api_key or (kept.api_key if kept else None)
    if api_key is None:
        raise CommandError(
            ErrorCode.UNAUTHENTICATED,
            f"There is no API key: none is set, and {settings.home_folder} holds none.",
            action="Run fluxa up, which makes one; or set FLUXA_API_KEY to one that fluxa apikey create printed.",
        )
    ingest = settings.ingest_url or (state.ingest_url if state else _local(settings.ingest_port))
    query = settings.query_url or (state.query_url if state else _local(settings.query_port))
    return Target(_checked(ingest, "ingest_url"), _checked(query, "query_url"), api_key)


def station_url(settings: Settings) -> str:
    """Where the station is: what the settings say, else the stack that runs on this home, else this machine.

    Raises:
        FluxaError: `Configuration`, for a setting that is no URL.
    """
    state = home.read_run_state(settings.home_folder)
    found = settings.station_url or (state.station_url if state else "") or _local(settings.station_port)
    return _checked(found, "station_url")


def relocate(settings: Settings, known: Target) -> Target:
    """The same target where it is now: a stack that was started again may have other ports."""
    return find_target(settings) if home.read_run_state(settings.home_folder) is not None else known


def _checked(url: str, setting: str) -> str:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise FluxaError(ErrorCode.CONFIGURATION, f"{setting} is {url!r}, which is not a URL: {error}.") from None
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise FluxaError(ErrorCode.CONFIGURATION, f"{setting} is {url!r}; it must begin with http:// or https://.")
    return url.rstrip("/")


def _local(port: int) -> str:
    return f"http://127.0.0.1:{port}"


@contextlib.asynccontextmanager
async def connect(target: Target) -> AsyncIterator[httpx.AsyncClient]:
    """An HTTP client that carries the key."""
    headers = {"authorization": f"Bearer {target.api_key}", "user-agent": f"fluxa-cli/{fluxa.__version__}"}
    # The machine's proxy variables are for the outside world; a service of ours is named by its URL.
    async with httpx.AsyncClient(headers=headers, timeout=_TIMEOUT, trust_env=False) as client:
        yield client


async def get(target: Target, path: str, params: Mapping[str, str | int] | None = None) -> Any:  # noqa: ANN401 - JSON
    """Ask the query service.

    Raises:
        FluxaError: what the service answered, or that it cannot be reached.
    """
    async with connect(target) as client, reaching(target.query_url, "query"):
        response = await client.get(target.query_url + path, params=dict(params or {}))
    return answer(response)


@contextlib.asynccontextmanager
async def reaching(url: str, service: str) -> AsyncIterator[None]:
    """Explain failures to reach a service."""
    try:
        yield
    except httpx.HTTPError as error:
        raise unreachable(url, service, error) from None


def unreachable(url: str, service: str, error: Exception) -> CommandError:
    """That a service does not answer, and what to do."""
    problem = str(error) or type(error).__name__
    return CommandError(
        ErrorCode.PROVIDER_UNAVAILABLE,
        f"The {service} service at {url} does not answer: {problem}.",
        action=f"Start it with fluxa up, or say where it is: fluxa --set {service}_url=http://…",
    )


def answer(response: httpx.Response) -> Any:  # noqa: ANN401 - JSON is any value
    """The JSON of a good answer.

    Raises:
        FluxaError: the problem of any other.
    """
    if response.is_success:
        return json.decode(response.content)
    raise problem(response)


def problem(response: httpx.Response) -> FluxaError:
    """The error that a problem document (RFC 9457) tells of."""
    members: dict[str, Any] = {}
    if "json" in response.headers.get("content-type", ""):
        with contextlib.suppress(FluxaError):
            decoded = json.decode(response.content)
            members = decoded if isinstance(decoded, dict) else {}
    code = str(members.get("code") or ErrorCode.PROVIDER_UNAVAILABLE)
    detail = str(members.get("detail") or members.get("title") or f"{response.url} answered {response.status_code}.")
    return FluxaError(code, detail, pointer=members.get("pointer"), retry_after_s=retry_after_s(response))


def retry_after_s(response: httpx.Response) -> float | None:
    """Seconds that the service asks to wait, if it says so in seconds."""
    text = response.headers.get("retry-after", "")
    return float(text) if text.isdigit() else None
