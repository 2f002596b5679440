"""Which user the server's programs run as; Postgres refuses root. Creates no users, opens no folders."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.postgres.embedded.binaries import Installation
from fluxa.postgres.embedded.layout import Layout

if sys.platform != "win32":
    import pwd

_NOBODY = 65534
_REACH = ("--inh-caps=+dac_override", "--ambient-caps=+dac_override")


@dataclass(frozen=True, slots=True)
class Identity:
    """A way to start a program.

    Attributes:
        prefix: what goes before the program's name.
        owner: the user id that must own the files.
    """

    prefix: tuple[str, ...]
    owner: int


def choose(installation: Installation, layout: Layout) -> Identity:
    """The first identity under which the server can be run and can write to its folder.

    As root, files that belong to another user are served as that user. Root's own files are served
    in a user namespace, where root is nobody but still owns them; where namespaces are not allowed,
    they are given to `nobody`.

    Raises:
        FluxaError: `EmbeddedPostgres`, if there is none.
    """
    reasons: list[str] = []
    for identity in _candidates(layout.base.stat().st_uid):
        if os.geteuid() == 0:
            layout.give_to(identity.owner)
        reason = _try(identity, installation, layout)
        if reason is None:
            return identity
        reasons.append(reason)
    raise FluxaError(
        ErrorCode.EMBEDDED_POSTGRES,
        f"Postgres cannot be run here on {layout.base}: {'; '.join(reasons) or 'no way to leave root was found'}. "
        "Run Fluxa as an ordinary user who owns that folder, or choose another folder with FLUXA_HOME, or set "
        "FLUXA_DATABASE_URL to a server you have.",
    )


def _candidates(owner: int) -> Iterator[Identity]:
    user = os.geteuid()
    unshare, setpriv = shutil.which("unshare"), shutil.which("setpriv")
    namespace = (unshare, "--user", "--") if unshare is not None else None
    if user != 0:
        # initdb refuses a user without a name, as containers run with any number; in a namespace it is nobody.
        if namespace is not None and not _has_name(user):
            yield Identity(namespace, user)
        yield Identity((), user)
        return
    if owner == 0 and namespace is not None:
        yield Identity(namespace, 0)
    if setpriv is not None:
        target = owner or _NOBODY
        drop = (setpriv, f"--reuid={target}", f"--regid={target}", "--clear-groups")
        if namespace is not None and not _has_name(target):
            yield Identity((*drop, "--", *namespace), target)
        yield Identity((*drop, "--"), target)
        # A home below a folder that only root may enter, as in containers: entering is the one right kept.
        yield Identity((*drop, *_REACH, "--"), target)


def _has_name(user: int) -> bool:
    try:
        pwd.getpwuid(user)
    except KeyError:
        return False
    return True


def _try(identity: Identity, installation: Installation, layout: Layout) -> str | None:
    test = 'test -w "$2" || { echo "$2 is not writable" >&2; exit 1; }; exec "$1" --version'
    try:
        answer = subprocess.run(  # noqa: S603 - fixed words and our own paths
            [*identity.prefix, "/bin/sh", "-c", test, "sh", installation.postgres, layout.base],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    return None if answer.returncode == 0 else answer.stderr.strip() or f"exit code {answer.returncode}"
