"""What an engine with small messages needs of an object store (PIPE-6). `providers.object_store` fills it."""

from typing import Protocol


class Spill(Protocol):
    """Keeps what is too large for a queue message, under the digest of its content."""

    async def put(self, key: str, content: bytes) -> None:
        """Store an object durably; one that exists under the key already is left as it is."""
        ...

    async def get(self, key: str) -> bytes:
        """An object's content.

        Raises:
            FluxaError: `PayloadMissing` if there is none.
        """
        ...
