"""Where everything of the embedded server lies under Fluxa's home, and who owns it."""

import contextlib
import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from fluxa.kernel.errors import ErrorCode, FluxaError

PORT = 5432
"""Names the socket's file; no TCP port is opened."""

_SOCKET_BYTES_MAX = 100  # sockaddr_un holds 104 bytes on macOS, 108 on Linux


@dataclass(frozen=True, slots=True)
class Layout:
    """Paths of one server.

    Attributes:
        base: the folder that holds all of them, Fluxa's home plus `postgres`.
    """

    base: Path

    @property
    def data(self) -> Path:
        """The data folder (PGDATA)."""
        return self.base / "data"

    @property
    def log(self) -> Path:
        """The folder of the server's logs."""
        return self.base / "log"

    @property
    def start_log(self) -> Path:
        """What the server says before its logger runs; begun anew at every start."""
        return self.log / "start.log"

    @property
    def change_lock(self) -> Path:
        """Held while the server is started or stopped."""
        return self.base / "change.lock"

    @property
    def users_lock(self) -> Path:
        """Held, shared, by every process that uses the server."""
        return self.base / "users.lock"

    @property
    def server_lock(self) -> Path:
        """Held by the server's own processes as long as one of them lives."""
        return self.base / "server.lock"

    @property
    def stay(self) -> Path:
        """Present when the server shall go on after its last user."""
        return self.base / "stay"

    @property
    def halted(self) -> Path:
        """Present when somebody stopped the server on purpose; its users then do not start it again."""
        return self.base / "halted"

    @property
    def own_settings(self) -> Path:
        """The user's own server settings; read last, never written."""
        return self.data / "local.conf"

    def make(self) -> None:
        """Make the folders, for their owner only.

        Raises:
            FluxaError: `EmbeddedPostgres`, if that is not possible.
        """
        try:
            self.base.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not self.base.exists():
                self.base.mkdir(mode=0o700)
                if os.geteuid() == 0:
                    # Root in another user's home works for that user, who must get in again without root.
                    os.lchown(self.base, self.base.parent.stat().st_uid, -1)
            self.log.mkdir(mode=0o700, exist_ok=True)
            for path in (self.change_lock, self.users_lock, self.server_lock):
                path.touch(mode=0o600)
        except OSError as error:
            raise FluxaError(
                ErrorCode.EMBEDDED_POSTGRES,
                f"The folder {self.base} cannot be used: {error}. Run Fluxa as the user who owns it, "
                "or choose another folder with FLUXA_HOME.",
            ) from error

    def socket_folder(self, owner: int) -> Path:
        """The folder for the server's socket: beside the data, or a private temporary one if that is too deep.

        Args:
            owner: the user id the server runs as.

        Raises:
            FluxaError: `EmbeddedPostgres`, if somebody else has prepared a folder of that name.
        """
        near = self.base / "run"
        if _fits(near):
            near.mkdir(mode=0o700, exist_ok=True)
            return near
        # The same for every process, whatever its environment, so that a restart does not move the socket.
        far = Path("/tmp") / f"fluxa-{hashlib.sha256(os.fsencode(self.base.resolve())).hexdigest()[:20]}"  # noqa: S108
        far.mkdir(mode=0o700, exist_ok=True)
        found = far.lstat()
        # Anyone may create names in a temporary folder; a socket in another's folder could be replaced by theirs.
        if not stat.S_ISDIR(found.st_mode) or found.st_uid not in {owner, os.geteuid()} or found.st_mode & 0o077:
            raise FluxaError(
                ErrorCode.EMBEDDED_POSTGRES,
                f"{far} exists and is not a private folder of this user. Find out who made it and remove it.",
            )
        return far

    def drop_socket_folder(self, folder: Path) -> None:
        """Leave no empty temporary folder behind; the one beside the data stays."""
        if folder.parent != self.base:
            with contextlib.suppress(OSError):  # not empty: somebody else's file is no business of ours
                folder.rmdir()

    def give_to(self, owner: int) -> None:
        """Hand everything below `base` to a user (as root only). Folders outside are not touched."""
        for folder, names, files in os.walk(self.base, topdown=False):
            for name in (*files, *names):
                path = Path(folder) / name
                if path.lstat().st_uid != owner:
                    os.lchown(path, owner, -1)
        if self.base.stat().st_uid != owner:
            os.lchown(self.base, owner, -1)

    def size_bytes(self) -> int:
        """What the data folder takes on the disk."""
        total = 0
        for folder, _names, files in os.walk(self.data):
            for name in files:
                try:
                    total += (Path(folder) / name).lstat().st_size
                except FileNotFoundError:
                    continue  # the server removes files while we look
        return total


def _fits(folder: Path) -> bool:
    return len(os.fsencode(folder / f".s.PGSQL.{PORT}.lock")) < _SOCKET_BYTES_MAX
