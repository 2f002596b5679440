"""The port for secrets that a secret manager holds (GATE-4). Not: which setting is which secret (fluxa.apps)."""

from collections.abc import Collection, Mapping
from typing import Protocol


class SecretVault(Protocol):
    """Holds secrets by their names."""

    async def read(self, names: Collection[str]) -> Mapping[str, str]:
        """What these secrets hold now, as text, by name.

        Raises:
            FluxaError: `Configuration` for one that does not exist or is no text, or without credentials;
                `ProviderUnauthorized` for one that may not be read; `ProviderUnavailable` in an outage.
        """
        ...
