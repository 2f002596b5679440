"""Objects in a folder or an S3 bucket, through obstore. Not: which objects, or when (claim check)."""

import asyncio
import contextlib
import datetime as dt
import functools
import os
import time
import uuid
from collections.abc import Awaitable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import unquote, urlsplit

import obstore
from obstore import exceptions
from obstore.store import LocalStore, MemoryStore, ObjectStore, S3Store

from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.providers import object_store as port

if TYPE_CHECKING:
    from obstore.store import S3Config  # exists for type checkers alone

T = TypeVar("T")

CONTENT_MAX_BYTES = 16 * 1024 * 1024
"""The largest object that is read: more than the door ever takes in, so a larger one is not ours."""
_INCOMING = "incoming"
_LEFT_BEHIND_S = 3600.0
_PROBE = "no-such-object"
_NO_BUCKET = "NoSuchBucket"


@dataclass(frozen=True, slots=True)
class S3Options:
    """How to reach an S3 bucket; what is None comes from the usual AWS sources.

    Attributes:
        endpoint: URL of the server, for other servers than AWS.
        region: the bucket's region.
        access_key_id: who.
        secret_access_key: the secret.
        allow_http: whether the connection may be unencrypted (local servers only).
    """

    endpoint: str | None = None
    region: str | None = None
    access_key_id: str | None = None
    secret_access_key: str | None = None
    allow_http: bool = False


class Objects:
    """An object store over any of obstore's. A `fluxa.providers.object_store.ObjectStore`.

    Args:
        store: obstore's.
        timeout_s: seconds after which a request is given up.
    """

    def __init__(self, store: ObjectStore, *, timeout_s: float = 10.0) -> None:
        self._store = store
        self._timeout_s = timeout_s

    async def put(self, key: str, content: bytes) -> None:
        """Store an object durably; one that exists under the key already is left as it is.

        Raises:
            FluxaError: `ObjectStoreUnavailable`.
        """
        with mapped(key, reads=False):
            try:
                await self._limited(obstore.put_async(self._store, key, content, mode="create", use_multipart=False))
            except exceptions.AlreadyExistsError:
                return

    async def get(self, key: str) -> bytes:
        """An object's content.

        Raises:
            FluxaError: `PayloadMissing` if there is none; `HashMismatch` if it is larger than any of ours;
                `ObjectStoreUnavailable`.
        """
        with mapped(key, reads=True):
            found = await self._limited(obstore.get_async(self._store, key))
            if found.meta["size"] > CONTENT_MAX_BYTES:
                raise FluxaError(
                    ErrorCode.HASH_MISMATCH,
                    f"the object {key} has {found.meta['size']} bytes, more than any event's data: it was replaced",
                )
            return bytes(await self._limited(found.bytes_async()))

    async def keys(self, folder: str) -> list[str]:
        """The keys of all objects under a folder, in order. Raises `ObjectStoreUnavailable`."""
        found: list[str] = []
        with mapped(folder, reads=False):
            pages = obstore.list(self._store, prefix=f"{folder}/")
            while True:
                try:
                    page = await self._limited(anext(pages))
                except StopAsyncIteration:
                    return sorted(found)
                found += [one["path"] for one in page]

    async def check(self) -> None:
        """Raise `ObjectStoreUnavailable` if the store does not answer."""
        try:
            with mapped(
                _PROBE, reads=True
            ):  # a GET: the answer to a HEAD cannot tell a missing object from a missing bucket
                await self._limited(obstore.get_async(self._store, _PROBE))
        except FluxaError as error:
            if error.code != ErrorCode.PAYLOAD_MISSING:
                raise

    async def _limited(self, work: Awaitable[T]) -> T:
        async with asyncio.timeout(self._timeout_s):
            return await work


class BucketObjects(Objects):
    """Objects in an S3 bucket, whose access key can be replaced while requests are under way.

    Args:
        name: the bucket.
        prefix: stands before all keys.
        options: how it is reached.
        timeout_s: seconds after which a request is given up.
    """

    def __init__(self, name: str, prefix: str, options: S3Options, *, timeout_s: float = 10.0) -> None:
        super().__init__(_bucket(name, prefix, options, timeout_s), timeout_s=timeout_s)
        self._open = functools.partial(_bucket, name, prefix, timeout_s=timeout_s)
        self._options = options

    async def use(self, options: S3Options) -> None:
        """Reach the bucket so from now on; requests under way end as they began.

        Raises:
            FluxaError: `ObjectStoreUnavailable`: so it does not answer, and all stays as it is.
        """
        if options == self._options:
            return
        store = self._open(options=options)
        # An id and its secret may come one after the other: half a pair opens nothing, and is not taken.
        await Objects(store, timeout_s=self._timeout_s).check()
        self._store, self._options = store, options


class FolderObjects:
    """Objects as files, durable when `put` returns.

    An object is written beside its place, flushed to disk, and only then given its name, so that under
    a name there is never half an object, whenever the power fails.

    Args:
        root: the folder; made if it does not exist.
        timeout_s: seconds after which a request is given up.
    """

    def __init__(self, root: Path, *, timeout_s: float = 10.0) -> None:
        try:
            (root / _INCOMING).mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise FluxaError(ErrorCode.CONFIGURATION, f"The object folder {root} cannot be made: {error}") from error
        self._store = LocalStore(root)
        self._objects = Objects(self._store, timeout_s=timeout_s)
        self._timeout_s = timeout_s
        self._root = root
        self._durable: set[Path] = set()
        self._sweep()

    async def put(self, key: str, content: bytes) -> None:
        """Store an object durably; one that exists under the key already is left as it is.

        Raises:
            FluxaError: `ObjectStoreUnavailable`, also when the disk is full.
        """
        incoming = f"{_INCOMING}/{uuid.uuid4().hex}"
        with mapped(key, reads=False):
            if not (self._root / key).exists():
                await self._limited(obstore.put_async(self._store, incoming, content, use_multipart=False))
                try:
                    await self._limited(asyncio.to_thread(_flush, self._root / incoming))
                    await self._limited(obstore.rename_async(self._store, incoming, key, overwrite=False))
                except exceptions.AlreadyExistsError:
                    pass  # another request stored the same content in the meantime
                finally:
                    with contextlib.suppress(FileNotFoundError):
                        (self._root / incoming).unlink()
            # Also where it exists: the one who named it may not have come so far yet.
            await self._limited(asyncio.to_thread(self._flush_names, key))

    async def get(self, key: str) -> bytes:
        """An object's content. Raises as `Objects.get` does."""
        return await self._objects.get(key)

    async def keys(self, folder: str) -> list[str]:
        """The keys of all objects under a folder, in order. Raises as `Objects.keys` does."""
        return await self._objects.keys(folder)

    async def check(self) -> None:
        """Raise `ObjectStoreUnavailable` if the folder is gone or cannot be written."""
        await self._objects.check()
        if not os.access(self._root / _INCOMING, os.W_OK | os.X_OK):
            raise FluxaError(ErrorCode.OBJECT_STORE_UNAVAILABLE, f"The folder {self._root} cannot be written.")

    async def _limited(self, work: Awaitable[T]) -> T:
        async with asyncio.timeout(self._timeout_s):
            return await work

    def _flush_names(self, key: str) -> None:
        """Make the object's name durable, and those of the folders on the way to it once."""
        folder = (self._root / key).parent
        _flush(folder)
        while folder != self._root and folder not in self._durable:
            _flush(folder.parent)
            self._durable.add(folder)
            folder = folder.parent

    def _sweep(self) -> None:
        """Remove what a process that died left half written."""
        for path in (self._root / _INCOMING).iterdir():
            with contextlib.suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > _LEFT_BEHIND_S:
                    path.unlink()


def _flush(path: Path) -> None:
    """Force a file or folder to disk."""
    if os.name == "nt" and path.is_dir():
        return  # Windows cannot open folders; its file systems journal names
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def mapped(key: str, *, reads: bool) -> Iterator[None]:
    """Turn obstore's errors into Fluxa's; what is missing when one writes is the store itself.

    Raises:
        FluxaError: `PayloadMissing` or `ObjectStoreUnavailable`.
    """
    try:
        yield
    except (exceptions.NotFoundError, FileNotFoundError) as error:
        if not reads or _NO_BUCKET in str(
            error
        ):  # a mistaken setting must not look like lost objects: those are parked for good
            raise FluxaError(
                ErrorCode.OBJECT_STORE_UNAVAILABLE,
                f"The folder or bucket does not exist; create it or correct the setting. {error}",
            ) from error
        raise FluxaError(ErrorCode.PAYLOAD_MISSING, f"There is no object {key}.") from error
    except TimeoutError as error:
        raise FluxaError(
            ErrorCode.OBJECT_STORE_UNAVAILABLE, "The object store did not answer in time.", retry_after_s=1.0
        ) from error
    except (exceptions.BaseError, OSError) as error:
        raise FluxaError(
            ErrorCode.OBJECT_STORE_UNAVAILABLE, f"{type(error).__name__}: {error}", retry_after_s=1.0
        ) from error


def memory_objects() -> Objects:
    """Objects that live as long as the process, for tests."""
    return Objects(MemoryStore())


def open_objects(url: str, s3: S3Options | None = None, *, timeout_s: float = 10.0) -> port.ListedStore:
    """The store that a URL names: `file:///folder` or `s3://bucket/prefix`.

    Raises:
        FluxaError: `Configuration` for any other URL.
    """
    parts = urlsplit(url)
    if parts.scheme == "file" and not parts.netloc and parts.path.startswith("/"):
        return FolderObjects(Path(unquote(parts.path)), timeout_s=timeout_s)
    if parts.scheme == "s3" and parts.netloc:
        return BucketObjects(parts.netloc, parts.path.strip("/"), s3 or S3Options(), timeout_s=timeout_s)
    raise FluxaError(
        ErrorCode.CONFIGURATION, f"The object store is {url!r}; it must be file:///folder or s3://bucket/prefix."
    )


def _bucket(name: str, prefix: str, options: S3Options, timeout_s: float) -> S3Store:
    config: S3Config = {}
    if options.endpoint is not None:
        config["endpoint"] = options.endpoint
    if options.region is not None:
        config["region"] = options.region
    if options.access_key_id is not None:
        config["access_key_id"] = options.access_key_id
    if options.secret_access_key is not None:
        config["secret_access_key"] = options.secret_access_key
    return S3Store(
        name,
        prefix=prefix or None,
        config=config,
        client_options={"allow_http": options.allow_http, "timeout": dt.timedelta(seconds=timeout_s)},
        retry_config={"max_retries": 3, "retry_timeout": dt.timedelta(seconds=timeout_s)},
    )
