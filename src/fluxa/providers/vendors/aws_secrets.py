"""AWS Secrets Manager. Not: which setting is which secret (fluxa.apps)."""

import asyncio
import contextlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from fluxa.kernel.errors import ErrorCode, FluxaError

_ABSENT: Final = frozenset({"ResourceNotFoundException", "InvalidRequestException", "InvalidParameterException"})
_FORBIDDEN: Final = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "UnrecognizedClientException",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "SignatureDoesNotMatch",
        "ExpiredTokenException",
        "IncompleteSignature",
        "DecryptionFailure",
    }
)
_AT_ONCE: Final = 8
"""Secrets asked for side by side: the service lets an account ask thousands of times a second, a process needs few."""


@dataclass(frozen=True, slots=True)
class AwsSecretsOptions:
    """How to reach it; what is None comes from the usual AWS sources, and so do the credentials: the machine's role.

    Attributes:
        endpoint: URL of the server, where it is not Amazon's.
        region: the secrets' region.
        timeout_s: seconds that reading all of them may take.
    """

    endpoint: str | None = None
    region: str | None = None
    timeout_s: float = 15.0


class AwsSecrets:
    """A `fluxa.providers.secret_manager.SecretVault`; connections are made for each reading and end with it."""

    def __init__(self, options: AwsSecretsOptions) -> None:
        self._options = options

    async def read(self, names: Collection[str]) -> Mapping[str, str]:
        """As `SecretVault.read`."""
        try:
            # An extra: who names no secret manager needs neither the package nor the half second it takes to load.
            from aiobotocore.config import AioConfig  # noqa: PLC0415 - see above
            from aiobotocore.session import get_session  # noqa: PLC0415 - see above
        except ImportError as error:
            raise FluxaError(
                ErrorCode.CONFIGURATION, "managed_secrets needs a package: pip install 'fluxa[sqs]'."
            ) from error
        config = AioConfig(connect_timeout=3, read_timeout=10, retries={"mode": "standard", "max_attempts": 3})
        found: dict[str, str] = {}
        with _mapped("the settings"):
            context = get_session().create_client(
                "secretsmanager",
                endpoint_url=self._options.endpoint,
                region_name=self._options.region,
                config=config,
            )
            places = asyncio.Semaphore(_AT_ONCE)

            async def fetch(client: Any, name: str) -> None:  # noqa: ANN401 - the library has no types
                async with places:
                    found[name] = await _fetched(client, name)

            async with asyncio.timeout(self._options.timeout_s), context as client:
                results = await asyncio.gather(*(fetch(client, name) for name in names), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return found


async def _fetched(client: Any, name: str) -> str:  # noqa: ANN401 - the library has no types
    with _mapped(name):
        answer = await client.get_secret_value(SecretId=name)
    text = answer.get("SecretString")
    if not isinstance(text, str) or not text.strip():
        raise FluxaError(ErrorCode.CONFIGURATION, f"The secret {name} holds no text.")
    return text


@contextlib.contextmanager
def _mapped(what: str) -> Iterator[None]:
    from botocore import exceptions  # noqa: PLC0415 - comes with the extra

    where = "AWS Secrets Manager"
    try:
        yield
    except exceptions.ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code in _ABSENT:
            raise FluxaError(
                ErrorCode.CONFIGURATION, f"{where} has no secret {what} that can be read: {code}."
            ) from None
        if code in _FORBIDDEN:
            raise FluxaError(ErrorCode.PROVIDER_UNAUTHORIZED, f"{where} does not give {what}: {code}.") from None
        raise FluxaError(ErrorCode.PROVIDER_UNAVAILABLE, f"{where}: {code} ({what}).", retry_after_s=1.0) from error
    except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError, exceptions.NoRegionError) as error:
        raise FluxaError(ErrorCode.CONFIGURATION, f"{where}: {error}") from error
    except TimeoutError as error:
        raise FluxaError(
            ErrorCode.PROVIDER_UNAVAILABLE, f"{where} did not answer in time.", retry_after_s=1.0
        ) from error
    except (exceptions.BotoCoreError, OSError) as error:
        raise FluxaError(
            ErrorCode.PROVIDER_UNAVAILABLE, f"{where} cannot be reached: {type(error).__name__}.", retry_after_s=1.0
        ) from error
    except ValueError as error:
        raise FluxaError(ErrorCode.CONFIGURATION, f"{where}: {error}") from error
