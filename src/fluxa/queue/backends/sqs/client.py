"""The connection to SQS: its calls, how long they may take, and its errors as ours. Not: what is said over it."""

import asyncio
import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from fluxa.kernel.errors import ErrorCode, FluxaError

_CALL_S = 15.0
"""Longer than the client's own tries of a call take together while the server is slow."""
_MISSING_QUEUE = frozenset({"AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist"})
_THROTTLED = frozenset(
    {
        "Throttling",
        "ThrottlingException",
        "RequestThrottled",
        "RequestLimitExceeded",
        "TooManyRequestsException",
        "KmsThrottled",
        "OverLimit",
        "AWS.SimpleQueueService.OverLimit",
    }
)
_UNKNOWN_KEY = frozenset(
    {
        "InvalidClientTokenId",
        "InvalidAccessKeyId",
        "UnrecognizedClientException",
        "SignatureDoesNotMatch",
        "InvalidSignatureException",
        "IncompleteSignature",
        "AuthFailure",
        "ExpiredToken",
        "ExpiredTokenException",
    }
)
_FORBIDDEN = frozenset({"AccessDenied", "AccessDeniedException"})
"""Of a key that is known: it may not ask this, or not about this queue."""
_DELETED_RECENTLY = frozenset({"AWS.SimpleQueueService.QueueDeletedRecently", "QueueDeletedRecently"})
_DELETED_FOR_S = 60.0


@dataclass(frozen=True, slots=True)
class SqsOptions:
    """How to reach SQS; what is None comes from the usual AWS sources.

    Attributes:
        endpoint: URL of the server, where it is not Amazon's.
        region: the queues' region.
        access_key_id: who.
        secret_access_key: the secret.
        prefix: stands before the name of every queue of ours, so that several installations share an account.
    """

    endpoint: str | None = None
    region: str | None = None
    access_key_id: str | None = None
    secret_access_key: str | None = None
    prefix: str = ""


class MissingQueueError(FluxaError):
    """The queue does not exist in SQS."""

    def __init__(self, detail: str) -> None:
        super().__init__(ErrorCode.CONFIGURATION, detail)


class _Line:
    """Connections by one access key; closed when nobody calls over them any more."""

    def __init__(self) -> None:
        self._stack = contextlib.AsyncExitStack()
        self._client: Any = None
        self._calls = 0
        self._is_left = False

    async def open(self, options: SqsOptions) -> None:
        """Make the client; no request is sent yet. Raises as `Sqs.start` does."""
        try:
            # An extra: who stays on Postgres needs neither the package nor the half second it takes to load.
            from aiobotocore.config import AioConfig  # noqa: PLC0415 - see above
            from aiobotocore.session import get_session  # noqa: PLC0415 - see above
        except ImportError as error:
            raise FluxaError(
                ErrorCode.CONFIGURATION, "A queue is set to SQS, which needs a package: pip install 'fluxa[sqs]'."
            ) from error
        config = AioConfig(
            connect_timeout=3,
            read_timeout=30,
            max_pool_connections=100,
            retries={"mode": "standard", "max_attempts": 3},
        )
        with _mapped("the settings"):
            context = get_session().create_client(
                "sqs",
                endpoint_url=options.endpoint,
                region_name=options.region,
                aws_access_key_id=options.access_key_id,
                aws_secret_access_key=options.secret_access_key,
                config=config,
            )
            self._client = await self._stack.enter_async_context(context)

    async def call(self, verb: str, arguments: Mapping[str, object]) -> dict[str, Any]:
        """One request; errors are botocore's."""
        self._calls += 1
        try:
            answer: dict[str, Any] = await getattr(self._client, verb)(**arguments)
        finally:
            self._calls -= 1
            if self._is_left and not self._calls:
                await self._stack.aclose()
        return answer

    async def leave(self) -> None:
        """Close as soon as the last call has ended."""
        self._is_left = True
        if not self._calls:
            await self._stack.aclose()

    async def close(self) -> None:
        """Close now."""
        await self._stack.aclose()


class Sqs:
    """A pool of connections to one SQS. A `fluxa.kernel.lifecycle.Service`."""

    def __init__(self, options: SqsOptions) -> None:
        self.options = options
        self._line: _Line | None = None

    async def start(self) -> None:
        """Make the client; no request is sent yet.

        Raises:
            FluxaError: `Configuration`, if the extra is not installed or the options cannot work.
        """
        if self._line is None:
            line = _Line()
            await line.open(self.options)
            self._line = line

    async def use(self, access_key_id: str | None, secret_access_key: str | None) -> None:
        """Sign what is to come with this key; calls under way end as they began.

        Raises:
            FluxaError: `ProviderUnauthorized`, if SQS does not know the key; an outage. Then all stays as it is.
        """
        options = replace(self.options, access_key_id=access_key_id, secret_access_key=secret_access_key)
        if options == self.options:
            return
        line = _Line()
        await line.open(options)
        try:
            await _try_key(line, options.prefix)
        except BaseException:
            await line.close()
            raise
        former, self._line, self.options = self._line, line, options
        if former is not None:
            await former.leave()

    async def stop(self) -> None:
        """Close the connections."""
        line, self._line = self._line, None
        if line is not None:
            await line.close()

    async def call(self, verb: str, *, patience_s: float = 0.0, **arguments: object) -> dict[str, Any]:
        """One request, repeated by the client itself while the server says it is busy.

        Args:
            verb: as botocore names it.
            patience_s: seconds that the server may take on purpose, over the usual.
            **arguments: as SQS names them.

        Raises:
            FluxaError: `ProviderUnavailable` or `ProviderThrottled` in an outage; `Configuration` for a queue or
                credentials that do not exist; `ProviderRejected` for anything else SQS refuses.
        """
        line = self._line
        if line is None:
            raise FluxaError(ErrorCode.PROVIDER_UNAVAILABLE, "The connection to SQS is not open.")
        with _mapped(str(arguments.get("QueueUrl") or arguments.get("QueueName") or verb)):
            async with asyncio.timeout(_CALL_S + patience_s):
                return await line.call(verb, arguments)


async def _try_key(line: _Line, prefix: str) -> None:
    """Ask for a queue that need not exist: whatever SQS answers about it, it knows the key."""
    from botocore import exceptions  # noqa: PLC0415 - comes with the extra

    with _mapped("the new access key"):
        try:
            async with asyncio.timeout(_CALL_S):
                await line.call("get_queue_url", {"QueueName": f"{prefix}events"})
        except exceptions.ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            if code in _UNKNOWN_KEY:
                raise FluxaError(
                    ErrorCode.PROVIDER_UNAUTHORIZED, f"SQS does not let the new access key in: {code}."
                ) from None
            if code not in _MISSING_QUEUE and code not in _FORBIDDEN:
                raise


@contextlib.contextmanager
def _mapped(what: str) -> Iterator[None]:
    from botocore import exceptions  # noqa: PLC0415 - comes with the extra

    try:
        yield
    except exceptions.ClientError as error:
        raise _refusal(error.response, what) from error
    except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError, exceptions.NoRegionError) as error:
        raise FluxaError(ErrorCode.CONFIGURATION, f"SQS: {error}") from error
    except TimeoutError as error:
        raise FluxaError(ErrorCode.PROVIDER_UNAVAILABLE, "SQS did not answer in time.", retry_after_s=1.0) from error
    except (exceptions.BotoCoreError, OSError) as error:
        raise FluxaError(
            ErrorCode.PROVIDER_UNAVAILABLE, f"SQS: {type(error).__name__}: {error}", retry_after_s=1.0
        ) from error
    except ValueError as error:
        raise FluxaError(ErrorCode.CONFIGURATION, f"SQS: {error}") from error


def _refusal(response: dict[str, Any], what: str) -> FluxaError:
    code = str(response.get("Error", {}).get("Code", ""))
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    detail = f"SQS: {code}: {response.get('Error', {}).get('Message', '')} ({what})"
    if code in _MISSING_QUEUE:
        return MissingQueueError(f"There is no such queue in SQS: {what}.")
    if code in _DELETED_RECENTLY:
        return FluxaError(ErrorCode.PROVIDER_UNAVAILABLE, detail, retry_after_s=_DELETED_FOR_S)
    if code in _THROTTLED:
        return FluxaError(ErrorCode.PROVIDER_THROTTLED, detail, retry_after_s=1.0)
    if status >= 500:  # noqa: PLR2004 - the class of the server's own faults
        return FluxaError(ErrorCode.PROVIDER_UNAVAILABLE, detail, retry_after_s=1.0)
    return FluxaError(ErrorCode.PROVIDER_REJECTED, detail)
