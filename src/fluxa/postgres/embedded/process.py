"""The server's processes: who they are, how they are started apart from us, and how they are ended."""

import contextlib
import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

import psutil

from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.postgres.embedded.binaries import Installation
from fluxa.postgres.embedded.identity import Identity
from fluxa.postgres.embedded.layout import PORT, Layout

_STATUS_LINE = 7
_SOCKET_LINE = 4
_TAIL_BYTES = 4096
_TAIL_LINES = 12
_LOGS_KEPT = 5

# The shell leaves at once, so the server belongs to the system and not to us: no signal of our terminal or our
# process group reaches it, and it is nobody's zombie when it ends.
_DETACH = 'umask 077; log=$1; shift; "$@" </dev/null >"$log" 2>&1 &'


@dataclass(frozen=True, slots=True)
class PidFile:
    """What `postmaster.pid` says.

    Attributes:
        pid: the server's process id.
        socket_folder: where its socket is.
        ready: whether it takes connections.
    """

    pid: int
    socket_folder: Path
    ready: bool


def read_pid_file(data: Path) -> PidFile | None:
    """What the server wrote about itself; None if there is no file, or it is not complete yet."""
    try:
        lines = (data / "postmaster.pid").read_text("utf-8").splitlines()
        pid = int(lines[0])
    except (FileNotFoundError, IndexError, ValueError):
        return None
    folder = lines[_SOCKET_LINE] if len(lines) > _SOCKET_LINE else ""
    status = lines[_STATUS_LINE].strip() if len(lines) > _STATUS_LINE else ""
    return PidFile(pid, Path(folder), status == "ready")


def is_server(pid: int, data: Path) -> bool:
    """Whether the process is a live Postgres of this data folder; a number may have passed to another program."""
    try:
        process = psutil.Process(pid)
        return _belongs(process, data) and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, OSError):
        return False


def orphans(data: Path) -> list[psutil.Process]:
    """All processes that work in the data folder; used when the server itself is gone."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and _belongs(process, data):
                found.append(process)
    return found


def kill(processes: list[psutil.Process]) -> None:
    """End processes at once; what they held in memory is recovered from the log.

    Raises:
        FluxaError: `EmbeddedPostgres`, if one belongs to another user.
    """
    for one in processes:
        signal_server(one.pid, signal.SIGKILL)


def _belongs(process: psutil.Process, data: Path) -> bool:
    # A server and its children work in the data folder and keep that as their current folder.
    return process.name().startswith("postgres") and Path(process.cwd()).samefile(data)


def clear_leftovers(layout: Layout, socket_folder: Path) -> None:
    """Remove what a killed server left: it would be taken for a running one if its number lives on elsewhere.

    Call only while the server's lock is free, so that no process of the data folder lives.
    """
    (layout.data / "postmaster.pid").unlink(missing_ok=True)
    for name in (f".s.PGSQL.{PORT}", f".s.PGSQL.{PORT}.lock"):
        (socket_folder / name).unlink(missing_ok=True)


def launch(
    installation: Installation, identity: Identity, layout: Layout, *, socket_folder: Path, lock_fd: int
) -> None:
    """Start the server as a session of its own; it inherits the open lock and holds it while it lives.

    Raises:
        FluxaError: `EmbeddedPostgres`, if the shell cannot be run; the server's own refusal is in its log.
    """
    prune_logs(layout)
    command = [
        *(*identity.prefix, "/bin/sh", "-c", _DETACH, "sh", str(layout.start_log)),
        *(str(installation.postgres), "-D", str(layout.data), "-k", str(socket_folder), "-p", str(PORT)),
    ]
    try:
        subprocess.run(  # noqa: S603 - fixed words and our own paths
            command,
            check=True,
            timeout=30,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=(lock_fd,),
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise FluxaError(ErrorCode.EMBEDDED_POSTGRES, f"The server could not be launched: {error}") from error


def signal_server(pid: int, number: signal.Signals) -> None:
    """Send a signal to the server; nothing happens if it is gone.

    Raises:
        FluxaError: `EmbeddedPostgres`, if it belongs to another user.
    """
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
    except PermissionError as error:
        raise FluxaError(
            ErrorCode.EMBEDDED_POSTGRES, f"The server (process {pid}) belongs to another user: {error}"
        ) from error


def log_tail(layout: Layout) -> str:
    """The last lines of what the server said, for an error's text."""
    files = [layout.start_log, *_logs(layout)[-1:]]
    lines: list[str] = []
    for path in files:
        with contextlib.suppress(OSError), path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            lines += file.read().decode("utf-8", "replace").splitlines()[-_TAIL_LINES:]
    return "\n".join(lines) or "(the server said nothing)"


def prune_logs(layout: Layout) -> None:
    """Keep the newest log files; each is at most 5 MB."""
    for path in _logs(layout)[:-_LOGS_KEPT]:
        path.unlink(missing_ok=True)


def _logs(layout: Layout) -> list[Path]:
    return sorted(layout.log.glob("server-*.log"))
