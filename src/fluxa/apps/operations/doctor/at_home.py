"""What can be found out without asking anybody: secrets, their files, the disk. Not: what is reached by network."""

import asyncio
import datetime as dt
import shutil
import stat
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import msgspec

from fluxa.apps.operations.doctor.examination import Finding, State
from fluxa.apps.settings import FROM_MANAGER, Effective, Settings, is_secret
from fluxa.apps.stack import home
from fluxa.kernel.errors import FluxaError
from fluxa.operations.secrets import REGISTER, Note, Secret, judged

_WARN_FREE: Final = 0.10
_WARN_BYTES: Final = 2 * 1024**3
_FAIL_BYTES: Final = 256 * 1024**2
_GIB: Final = 1024**3
_MADE_HERE: Final = "home"
_FOR_COMMANDS: Final = "api_key"
"""What commands take from the home whoever started the stack; the rest `fluxa up` hands to its own processes only."""


def with_kept(effective: Effective) -> tuple[Effective, Sequence[Finding]]:
    """The settings with what `fluxa up` made in this home where they name nothing, as it and the commands use it."""
    settings = effective.settings
    try:
        kept = home.read_credentials(settings.home_folder)
    except FluxaError as error:
        return effective, [Finding("home", State.FAIL, error.detail, error.spec.action)]
    if kept is None:
        return effective, ()
    made = {"api_key": kept.api_key, "cron_secrets": kept.cron_secret, "secret_key": kept.secret_key}
    taken = {
        name: secret
        for name, secret in made.items()
        if secret and not getattr(settings, name) and effective.sources[name] != FROM_MANAGER
    }
    sources = {**effective.sources, **dict.fromkeys(taken, _MADE_HERE)}
    return replace(effective, settings=msgspec.structs.replace(settings, **taken), sources=sources), ()


def secrets(settings: Settings, sources: Mapping[str, str], *, today: dt.date) -> list[Finding]:
    """Whether each secret of the register is there, of its form, and valid for a while yet, and where it is from."""
    return [_secret(row, settings, sources[row.setting], today) for row in REGISTER]


def _secret(row: Secret, settings: Settings, source: str, today: dt.date) -> Finding:
    given = settings.secret_notes.get(row.setting)
    note = Note(given.owner, given.expires) if given is not None else Note()
    found = judged(row, getattr(settings, row.setting), note, today=today)
    check, owner = f"secret {row.setting}", f" Its owner: {note.owner}." if note.owner else ""
    if not found.is_set and source == FROM_MANAGER:
        said = "it is in the secret manager, which did not give it"
        return Finding(check, State.UNKNOWN, said, f"See what the check of the secret manager says.{owner}")
    if not found.is_set:
        return Finding(check, State.OK, f"not set: {row.without}")
    if found.wrong:
        return Finding(check, State.FAIL, found.wrong, f"Get another one ({row.origin}) and set it.{owner}")
    if found.ending:
        return Finding(check, State.WARN, found.ending, f"Replace it before that ({row.origin}).{owner}")
    if source == _MADE_HERE:
        said = f"made by fluxa up, in {settings.home_folder / home.CREDENTIALS}; {row.why}"
        alone = "" if row.setting == _FOR_COMMANDS else "; a process that is started alone does not read it"
        return Finding(check, State.OK, said + alone)
    return Finding(check, State.OK, f"set by the {source}; {row.why}")


async def settings_file(effective: Effective) -> Sequence[Finding]:
    """Whether others on this machine can read secrets in the settings file or in files of their own."""
    return await asyncio.to_thread(_files, effective)


def _files(effective: Effective) -> Sequence[Finding]:
    files = {name: Path(path).expanduser() for name, path in effective.settings.secret_files.items()}
    in_file = [name for name, source in effective.sources.items() if source == "file" and is_secret(name)]
    if effective.file is not None and in_file:
        files["the settings file"] = effective.file
    kept = effective.settings.home_folder / home.CREDENTIALS
    if kept.exists():
        files["what fluxa up made"] = kept
    open_to_all = [str(file) for file in files.values() if _mode(file) & (stat.S_IRWXO | stat.S_IWGRP)]
    if open_to_all:
        return [
            Finding(
                "files with secrets",
                State.WARN,
                f"others may read or change {', '.join(sorted(set(open_to_all)))}",
                "Take their rights away: chmod 600",
            )
        ]
    return [Finding("files with secrets", State.OK, f"{len(set(files.values()))} files, none open to others")]


def _mode(file: Path) -> int:
    return file.stat().st_mode


async def disk(settings: Settings) -> Sequence[Finding]:
    """How much room is left where the embedded Postgres and the objects are."""
    folder = settings.home_folder
    while not folder.exists():
        folder = folder.parent
    usage = await asyncio.to_thread(shutil.disk_usage, folder)
    said = f"{usage.free / _GIB:.1f} GiB free of {usage.total / _GIB:.1f} where {settings.home_folder} is"
    if usage.free < _FAIL_BYTES:
        return [Finding("disk", State.FAIL, said, "Make room now: Postgres stops when it cannot write.")]
    if usage.free < _WARN_BYTES or usage.free < _WARN_FREE * usage.total:
        return [Finding("disk", State.WARN, said, "Make room, or move home; see the page on retention.")]
    return [Finding("disk", State.OK, said)]
