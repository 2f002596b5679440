"""The port for large payloads (PIPE-6): content-addressed objects, written once."""

from typing import Protocol


class ObjectStore(Protocol):
    """A folder or a bucket. An outage is `ObjectStoreUnavailable`, of class transient."""

    async def put(self, key: str, content: bytes) -> None:
        """Store an object durably; one that exists under the key already is left as it is."""
        ...

    async def get(self, key: str) -> bytes:
        """An object's content.

        Raises:
            FluxaError: `PayloadMissing` if there is none.
        """
        ...

    async def check(self) -> None:
        """Raise if the store does not answer."""
        ...


class ListedStore(ObjectStore, Protocol):
    """An object store that can say what is in it."""

    async def keys(self, folder: str) -> list[str]:
        """The keys of all objects under a folder, `/` after it understood, in order; none if there is no folder."""
        ...
