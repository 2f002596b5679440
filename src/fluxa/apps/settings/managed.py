"""Secrets that a secret manager holds: which they are, and how they are read. They are part of `Settings`."""

import asyncio
import concurrent.futures
from collections.abc import Mapping
from typing import Annotated, Final, Literal, assert_never

import msgspec
from msgspec import Meta

from fluxa.apps.settings.integrity import IntegritySettings
from fluxa.kernel import json
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.providers.secret_manager import SecretVault
from fluxa.providers.vendors.aws_secrets import AwsSecrets, AwsSecretsOptions

FROM_MANAGER: Final = "secret manager"
"""The source of such a setting."""
_PART: Final = "#"


class ManagedSettings(IntegritySettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where secrets are that nobody writes into settings or files."""

    managed_secrets: Annotated[
        dict[str, Annotated[str, Meta(min_length=1, max_length=2048)]],
        Meta(
            description="Secrets that a secret manager holds: the setting's name, and what they are called there; "
            "name#key takes one part of a secret that is a JSON object. In a variable: the same as JSON."
        ),
    ] = msgspec.field(default_factory=dict)
    secret_manager: Annotated[
        Literal["aws"], Meta(description="Which secret manager that is: aws, with the machine's own role.")
    ] = "aws"  # noqa: S105 - the name of a product
    secret_manager_endpoint: Annotated[
        str | None, Meta(description="URL of the secret manager, where it is not Amazon's.")
    ] = None
    secret_manager_region: Annotated[str | None, Meta(description="Region of the secrets.")] = None
    secret_manager_reload_s: Annotated[
        float, Meta(ge=0.1, le=86400, description="How often running processes read managed_secrets again.")
    ] = 60.0


def manager_of(settings: ManagedSettings) -> SecretVault:
    """The secret manager that the settings name."""
    match settings.secret_manager:
        case "aws":
            return AwsSecrets(AwsSecretsOptions(settings.secret_manager_endpoint, settings.secret_manager_region))
        case _:
            assert_never(settings.secret_manager)


async def read_managed(settings: ManagedSettings) -> dict[str, str]:
    """What the secret manager holds now, by setting, as it would stand in a file.

    Raises:
        FluxaError: as `SecretVault.read`; `Configuration` for a part that is not there.
    """
    places = {setting: name.partition(_PART) for setting, name in settings.managed_secrets.items()}
    try:
        held = await manager_of(settings).read({name for name, _, _ in places.values()})
    except FluxaError as error:
        raise FluxaError(
            error.code, f"{error.detail} It holds {', '.join(sorted(places))}.", retry_after_s=error.retry_after_s
        ) from error
    return {setting: _part(held[name], name, part) for setting, (name, _, part) in places.items()}


def read_managed_now(settings: ManagedSettings) -> dict[str, str]:
    """The same for a caller who cannot await, in a thread of its own: its own may have a loop that runs."""
    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        return threads.submit(lambda: asyncio.run(read_managed(settings))).result()


def _part(text: str, name: str, part: str) -> str:
    if not part:
        return text
    try:
        whole = json.decode(text)
    except FluxaError:  # its text could quote the secret
        whole = None
    found = whole.get(part) if isinstance(whole, Mapping) else None
    if found is None:
        raise FluxaError(ErrorCode.CONFIGURATION, f"The secret {name} is no JSON object with {part}.")
    return found if isinstance(found, str) else json.text(found)
