"""Object stores: the conformance suite over a folder and over memory, and what only a folder promises."""

import asyncio
import os
import shutil
import stat
import sys
from pathlib import Path

import pytest

from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.providers.object_store import ListedStore
from fluxa.providers.vendors.object_store import FolderObjects, S3Options, memory_objects, open_objects
from fluxa.testing.object_store_conformance import CHECKS, Check


@pytest.fixture(params=["folder", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ListedStore:
    return open_objects((tmp_path / "a folder").as_uri()) if request.param == "folder" else memory_objects()


@pytest.mark.req("PIPE-6")
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_every_store_conforms(check: Check, store: ListedStore) -> None:
    await check(store)


@pytest.fixture
def flushed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths that were flushed to disk, in order, and the names that existed by then."""
    paths: list[str] = []
    real = os.fsync

    def fsync(handle: int) -> None:
        paths.append(str(Path(f"/proc/self/fd/{handle}").readlink()))
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    return paths


@pytest.mark.req("PIPE-6")
@pytest.mark.skipif(sys.platform != "linux", reason="reads open files from /proc")
async def test_a_folder_flushes_the_content_before_it_gets_its_name_and_the_names_before_put_returns(
    tmp_path: Path, flushed: list[str]
) -> None:
    await FolderObjects(tmp_path).put("t/sha256/ab/abcd", b"content")
    assert Path(flushed[0]).parent == tmp_path / "incoming"
    assert flushed[1:] == [
        str(tmp_path / "t/sha256/ab"),
        str(tmp_path / "t/sha256"),
        str(tmp_path / "t"),
        str(tmp_path),
    ]


@pytest.mark.req("PIPE-6")
@pytest.mark.skipif(sys.platform != "linux", reason="reads open files from /proc")
async def test_an_object_that_exists_has_its_name_flushed_again_before_put_returns(
    tmp_path: Path, flushed: list[str]
) -> None:
    store = FolderObjects(tmp_path)
    await store.put("t/sha256/ab/abcd", b"content")
    flushed.clear()
    await store.put("t/sha256/ab/abcd", b"content")
    assert flushed == [str(tmp_path / "t/sha256/ab")]


async def test_nothing_is_left_in_the_incoming_folder(tmp_path: Path) -> None:
    store = FolderObjects(tmp_path)
    await store.put("t/a", b"1")
    await store.put("t/a", b"1")
    assert list((tmp_path / "incoming").iterdir()) == []


async def test_what_a_dead_process_left_half_written_is_swept_but_not_what_is_being_written(tmp_path: Path) -> None:
    FolderObjects(tmp_path)
    old, new = tmp_path / "incoming" / "old", tmp_path / "incoming" / "new"
    old.write_bytes(b"half")
    new.write_bytes(b"half")
    os.utime(old, (0, 0))
    FolderObjects(tmp_path)
    assert not old.exists()
    assert new.exists()


def _replace_by_a_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_bytes(b"")


@pytest.mark.req("PIPE-6")
async def test_a_folder_that_cannot_be_written_is_an_outage(tmp_path: Path) -> None:
    store = FolderObjects(tmp_path)
    await asyncio.to_thread(_replace_by_a_file, tmp_path)
    with pytest.raises(FluxaError) as caught:
        await store.put("t/a", b"1")
    assert caught.value.code == ErrorCode.OBJECT_STORE_UNAVAILABLE
    assert caught.value.retry_after_s is not None
    with pytest.raises(FluxaError, match="ObjectStoreUnavailable"):
        await store.check()


def test_the_incoming_folder_is_for_its_owner_alone(tmp_path: Path) -> None:
    FolderObjects(tmp_path / "objects")
    assert stat.S_IMODE((tmp_path / "objects" / "incoming").stat().st_mode) == 0o700


@pytest.mark.parametrize("url", ["", "/folder", "file://host/x", "file:x", "gs://bucket", "s3://", "http://x/y"])
def test_other_addresses_are_refused_by_name(url: str) -> None:
    with pytest.raises(FluxaError, match="must be file:///folder or s3://bucket/prefix"):
        open_objects(url)


@pytest.mark.req("PIPE-6")
async def test_a_bucket_that_does_not_answer_is_an_outage_within_its_timeout() -> None:
    options = S3Options("http://127.0.0.1:9", "us-east-1", "key", "secret", allow_http=True)
    store = open_objects("s3://bucket/prefix", options, timeout_s=0.5)
    for attempt in (store.put("t/a", b"1"), store.get("t/a"), store.check()):
        with pytest.raises(FluxaError, match="ObjectStoreUnavailable"):
            await attempt
