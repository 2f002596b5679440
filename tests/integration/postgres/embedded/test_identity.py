"""Whom the server runs as when root starts it, where namespaces are forbidden and where the home is another's."""

import os
import shutil
from pathlib import Path

import psutil
import pytest

from fluxa.postgres.embedded.layout import Layout
from making.servers import NOBODY, Begin

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root changes who it is; run the tests as root too")

_SOMEBODY = 54321


def _only(folder: Path, *programs: str) -> str:
    """A PATH with these programs and no others."""
    folder.mkdir()
    for program in programs:
        found = shutil.which(program)
        assert found is not None
        (folder / program).symlink_to(found)
    return str(folder)


def _owners(home: Path) -> set[int]:
    base = Layout(home / "postgres").base
    return {path.lstat().st_uid for path in (base, *base.rglob("*"))}


def test_root_serves_its_own_files_in_a_user_namespace(home: Path, begin: Begin) -> None:
    user = begin(home)
    server = psutil.Process(user.hear()["pid"])
    assert server.uids().real == 0
    status = Path(f"/proc/{server.pid}/status").read_text()
    assert "CapEff:\t0000000000000000" in status
    assert _owners(home) == {0}
    user.leave()


def test_without_namespaces_the_files_are_given_to_nobody_and_folders_above_stay_closed(
    tmp_path: Path, home: Path, begin: Begin
) -> None:
    above = {folder: folder.stat().st_mode for folder in home.parents}
    assert home.parent.stat().st_mode & 0o007 == 0
    path = _only(tmp_path / "programs", "setpriv")
    for _ in range(2):
        user = begin(home, path=path)
        assert psutil.Process(user.hear()["pid"]).uids().real == NOBODY
        user.leave()
    assert _owners(home) == {NOBODY}
    assert home.stat().st_uid == 0
    assert {folder: folder.stat().st_mode for folder in home.parents} == above
    later = begin(home)  # with namespaces again, the files are still nobody's
    assert psutil.Process(later.hear()["pid"]).uids().real == NOBODY
    later.leave()


def test_root_in_the_home_of_another_user_works_as_that_user(shared_home: Path, begin: Begin) -> None:
    os.chown(shared_home, _SOMEBODY, _SOMEBODY)
    user = begin(shared_home)
    answer = user.hear()
    assert "pid" in answer, answer
    assert psutil.Process(answer["pid"]).uids().real == _SOMEBODY
    user.leave()
    assert _owners(shared_home) == {_SOMEBODY}


def test_a_user_without_a_name_as_containers_have_them_works(shared_home: Path, begin: Begin) -> None:
    os.chown(shared_home, _SOMEBODY, _SOMEBODY)
    user = begin(shared_home, ordinary=True, uid=_SOMEBODY)
    answer = user.hear()
    assert "pid" in answer, answer
    user.leave()


def test_a_user_and_root_share_the_users_server(shared_home: Path, begin: Begin) -> None:
    user = begin(shared_home, ordinary=True)
    pid = user.hear()["pid"]
    root = begin(shared_home)
    assert root.hear()["pid"] == pid
    user.leave()
    root.leave()
    again = begin(shared_home, ordinary=True)
    again.hear()
    again.leave()


def test_a_home_of_roots_is_refused_to_others_in_plain_words(shared_home: Path, begin: Begin) -> None:
    os.chown(shared_home, 0, 0)
    shared_home.chmod(0o755)
    answer = begin(shared_home, ordinary=True).hear()
    assert answer["code"] == "EmbeddedPostgres"
    assert "FLUXA_HOME" in answer["detail"]


def test_root_that_cannot_become_anyone_is_told_what_to_do(tmp_path: Path, home: Path, begin: Begin) -> None:
    answer = begin(home, path=_only(tmp_path / "programs")).hear()
    assert answer["code"] == "EmbeddedPostgres"
    assert "Run Fluxa as an ordinary user" in answer["detail"]
