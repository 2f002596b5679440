"""The data folder: made once, checked against the programs' version, given its settings at every start."""

import os
import shutil
import subprocess
import uuid
from collections.abc import Mapping
from pathlib import Path

import psutil

from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.postgres.embedded import tuning
from fluxa.postgres.embedded.binaries import Installation
from fluxa.postgres.embedded.identity import Identity
from fluxa.postgres.embedded.layout import Layout

USER = "fluxa"
_BUILTIN_LOCALE = 17
_INITDB_TIMEOUT_S = 120
_CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - only its size is read
_INCLUDES = "\ninclude_if_exists = 'fluxa.conf'\ninclude_if_exists = 'local.conf'\n"


def data_major(data: Path) -> int | None:
    """The major version that made the data folder; None if there is no folder.

    Raises:
        FluxaError: `EmbeddedPostgres`, if something is there that is not a data folder.
    """
    try:
        return int((data / "PG_VERSION").read_text("ascii"))
    except FileNotFoundError:
        if not data.exists():
            return None
    except ValueError:
        pass
    raise FluxaError(
        ErrorCode.EMBEDDED_POSTGRES,
        f"{data} exists but is not a Postgres data folder (its PG_VERSION is missing or damaged). "
        "Nothing was changed. Restore it from backup, or move it away and start again with an empty one.",
    )


def create(installation: Installation, identity: Identity, layout: Layout) -> None:
    """Make the data folder; a half-made one of an earlier attempt is removed. Blocks for about half a second.

    Raises:
        FluxaError: `EmbeddedPostgres`, with what `initdb` said.
    """
    for leftover in layout.base.glob("data.new-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    fresh = layout.base / f"data.new-{uuid.uuid4().hex}"
    if installation.major >= _BUILTIN_LOCALE:
        # The built-in locale sorts the same on every machine, so an update of the system harms no index.
        locale: tuple[str, ...] = ("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C")
    else:
        locale = ("--locale=C",)
    command = [
        *identity.prefix,
        str(installation.initdb),
        f"--username={USER}",
        "--auth-local=trust",  # the socket's folder admits its owner only
        "--auth-host=scram-sha-256",
        "--encoding=UTF8",
        *locale,
        "--data-checksums",
        "--no-instructions",
        f"--pgdata={fresh}",
    ]
    try:
        answer = subprocess.run(  # noqa: S603 - fixed words and our own paths
            command, capture_output=True, text=True, timeout=_INITDB_TIMEOUT_S, check=False, cwd="/"
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise FluxaError(ErrorCode.EMBEDDED_POSTGRES, f"initdb could not be run: {error}") from error
    if answer.returncode != 0:
        said = answer.stderr.strip() or answer.stdout.strip()
        advice = " Give that user a name: a line in /etc/passwd." if "look up effective user" in said else ""
        raise FluxaError(ErrorCode.EMBEDDED_POSTGRES, f"initdb could not make {layout.data}: {said}{advice}")
    with (fresh / "postgresql.conf").open("a", encoding="utf-8") as file:
        file.write(_INCLUDES)
    own = fresh / layout.own_settings.name
    own.write_text("# Your own server settings; they win over Fluxa's. Restart the server to apply them.\n", "utf-8")
    own.chmod(0o600)
    if os.geteuid() == 0:
        os.chown(own, identity.owner, -1)
    fresh.rename(layout.data)


def configure(layout: Layout, identity: Identity, extra: Mapping[str, str]) -> None:
    """Write the settings for this machine as it is today; `extra` wins over ours, the user's `local.conf` over both."""
    shared = shutil.disk_usage(_SHARED_MEMORY).total if _SHARED_MEMORY.is_dir() else None
    values = tuning.settings(memory_bytes(), shutil.disk_usage(layout.base).free, shared)
    values |= {"log_directory": str(layout.log), **extra}
    target = layout.data / "fluxa.conf"
    fresh = target.with_suffix(".new")
    fresh.write_text(tuning.render(values), "utf-8")
    fresh.chmod(0o600)
    if os.geteuid() == 0:
        os.chown(fresh, identity.owner, -1)
    fresh.replace(target)


def memory_bytes() -> int:
    """The memory this machine, or this container, may use."""
    total: int = psutil.virtual_memory().total
    for path in _CGROUP_LIMITS:
        try:
            text = path.read_text("ascii").strip()
        except OSError:
            continue
        if text.isdigit():
            return min(total, int(text))
    return total
