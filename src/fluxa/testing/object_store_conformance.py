"""What every object store must do; a test module makes a store and calls each check."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable

from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.providers.object_store import ListedStore, ObjectStore

Check = Callable[[ListedStore], Awaitable[None]]


def _key(content: bytes) -> str:
    digest = hashlib.sha256(content).hexdigest()
    return f"tenant-a/sha256/{digest[:2]}/{digest}"


def _expect(*, holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)


async def returns_what_was_put(store: ObjectStore) -> None:
    """The bytes come back as they were, whatever they are."""
    for content in (b"", b"\x00\xff" * 1000, b"x" * (2 * 1024 * 1024)):
        key = _key(content)
        await store.put(key, content)
        _expect(holds=await store.get(key) == content, otherwise=f"{len(content)} bytes came back altered")


async def keeps_the_first_of_two(store: ObjectStore) -> None:
    """A second put under a key succeeds and changes nothing."""
    key = _key(b"first")
    await store.put(key, b"first")
    await store.put(key, b"second")
    _expect(holds=await store.get(key) == b"first", otherwise="the object was overwritten")


async def takes_the_same_object_from_many_at_once(store: ObjectStore) -> None:
    """Concurrent puts of one content all succeed, and it is whole."""
    content = b"same" * 50_000
    key = _key(content)
    await asyncio.gather(*(store.put(key, content) for _ in range(20)))
    _expect(holds=await store.get(key) == content, otherwise="the object is not whole")


async def says_what_is_missing(store: ObjectStore) -> None:
    """A missing object is `PayloadMissing`, not an outage."""
    try:
        await store.get(_key(b"nobody put this"))
    except FluxaError as error:
        _expect(holds=error.code == ErrorCode.PAYLOAD_MISSING, otherwise=f"a missing object raised {error.code}")
    else:
        raise AssertionError("a missing object was found")


async def refuses_what_is_too_large_to_be_ours(store: ObjectStore) -> None:
    """An object that was replaced by a huge one is not read into memory."""
    key = _key(b"small")
    await store.put(key, b"x" * (16 * 1024 * 1024 + 1))
    try:
        await store.get(key)
    except FluxaError as error:
        _expect(holds=error.code == ErrorCode.HASH_MISMATCH, otherwise=f"a huge object raised {error.code}")
    else:
        raise AssertionError("a huge object was read")


async def lists_what_is_in_a_folder(store: ListedStore) -> None:
    """All keys of a folder and its folders, in order; not those of one whose name begins alike."""
    keys = [f"listed/{number:04d}/x.json" for number in range(30)]
    for key in [*reversed(keys), "listed-too/1.json"]:
        await store.put(key, b"x")
    _expect(holds=await store.keys("listed") == keys, otherwise="not all keys came back, or others too")
    _expect(holds=await store.keys("nobody-made-this") == [], otherwise="a folder that is not there is not empty")


async def answers_the_check(store: ObjectStore) -> None:
    """A store that works passes its own check."""
    await store.check()


CHECKS: tuple[Check, ...] = (
    returns_what_was_put,
    keeps_the_first_of_two,
    takes_the_same_object_from_many_at_once,
    says_what_is_missing,
    refuses_what_is_too_large_to_be_ours,
    lists_what_is_in_a_folder,
    answers_the_check,
)
"""All of them."""
