"""The files that a local stack keeps in its home folder: who runs there, and the local user's credentials."""

import contextlib
import datetime as dt
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from fluxa.kernel.errors import ErrorCode, FluxaError

T = TypeVar("T")

CREDENTIALS = "credentials.json"
RUN_STATE = "run.json"
_LOCK = "run.lock"


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """The local user's API key, and the stack's own secrets.

    Attributes:
        tenant: whose data the key opens.
        key_id: its public part, as `fluxa apikey list` shows it.
        api_key: the whole key.
        cron_secret: what the stack knows its cron jobs by where the settings name nothing.
        secret_key: what it seals with, likewise.
    """

    tenant: str
    key_id: str
    api_key: str
    cron_secret: str = ""
    secret_key: str = ""


class RunState(msgspec.Struct, frozen=True, kw_only=True):
    """The stack that runs on a home now.

    Attributes:
        pid: of the supervisor.
        started_at: when it was ready.
        ingest_url: where events are sent.
        query_url: where they are asked for.
        processor_urls: health and metrics of each processor.
        station_url: where queues are shown and steered.
        worker_url: health and metrics of the worker; empty without one.
        children: process id of each child by name.
    """

    pid: int
    started_at: dt.datetime
    ingest_url: str
    query_url: str
    processor_urls: tuple[str, ...]
    children: dict[str, int]
    station_url: str = ""
    worker_url: str = ""


def prepare(home: Path) -> None:
    """Make the home folder, for its owner only, if it does not exist.

    Raises:
        FluxaError: `Configuration`, if it cannot be made.
    """
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise FluxaError(
            ErrorCode.CONFIGURATION,
            f"The home folder {home} cannot be made: {error.strerror}. Name another one with FLUXA_HOME.",
        ) from None


def write_credentials(home: Path, credentials: Credentials) -> Path:
    """Keep the key in a file that only its owner may read; returns the file."""
    return _write(home / CREDENTIALS, credentials)


def read_credentials(home: Path) -> Credentials | None:
    """The key, or None if this home has none yet."""
    return _read(home / CREDENTIALS, Credentials)


def write_run_state(home: Path, state: RunState) -> Path:
    """Tell commands where the stack is; returns the file."""
    return _write(home / RUN_STATE, state)


def remove_run_state(home: Path) -> None:
    """Tell commands that no stack runs here."""
    (home / RUN_STATE).unlink(missing_ok=True)


def read_run_state(home: Path) -> RunState | None:
    """The stack that runs on this home, or None; what a killed supervisor left behind does not count."""
    state = _read(home / RUN_STATE, RunState)
    if state is None or not _is_locked(home):
        return None
    return state


class RunLock:
    """One supervisor a home; the kernel lets go of it when its holder dies."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._fd: int | None = None

    async def start(self) -> None:
        """Take the lock.

        Raises:
            FluxaError: `Refused`, if a stack runs on this home already.
        """
        if self._fd is not None:
            return
        with _writing(self._home / _LOCK):
            fd = os.open(self._home / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            raise FluxaError(ErrorCode.REFUSED, _running_text(self._home)) from None
        self._fd = fd

    async def stop(self) -> None:
        """Let go of it."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)


def _running_text(home: Path) -> str:
    state = _read(home / RUN_STATE, RunState)
    who = f" (process {state.pid}, ingest at {state.ingest_url})" if state else ""
    return (
        f"A stack runs on {home} already{who}. Use it as it is, stop it with Ctrl-C in its terminal, "
        "or start this one elsewhere: fluxa --set home=/another/folder up"
    )


def _is_locked(home: Path) -> bool:
    try:
        fd = os.open(home / _LOCK, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _write(file: Path, value: msgspec.Struct) -> Path:
    """Replace a file as a whole, so that no reader sees half of it."""
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    with _writing(file):
        draft.unlink(missing_ok=True)
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "wb") as stream:
            stream.write(msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")
        draft.replace(file)
    return file


@contextlib.contextmanager
def _writing(file: Path) -> Iterator[None]:
    """Say which file could not be written, and why."""
    try:
        yield
    except OSError as error:
        raise FluxaError(
            ErrorCode.CONFIGURATION,
            f"{file} cannot be written: {error.strerror}. Run Fluxa as the user who owns its folder, "
            "or name another one with FLUXA_HOME.",
        ) from None


def _read(file: Path, kind: type[T]) -> T | None:
    try:
        content = file.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise FluxaError(ErrorCode.CONFIGURATION, f"{file} cannot be read: {error.strerror}.") from None
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.DecodeError as error:
        raise FluxaError(
            ErrorCode.CONFIGURATION, f"{file} is damaged ({error}). Delete it and run fluxa up again."
        ) from None
