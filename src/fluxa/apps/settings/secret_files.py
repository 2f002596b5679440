"""Secrets that are in files of their own, as Docker and Kubernetes hand them over. Not: which settings there are."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from fluxa.kernel.errors import ErrorCode, FluxaError

SUFFIX: Final = "_FILE"
"""Behind the name of a secret's variable: the value is the path of a file that holds the secret."""
_MAX_BYTES: Final = 64 * 1024


def read_secret(name: str, path: str) -> str:
    """What a file holds, without the line's end that editors put there.

    Raises:
        FluxaError: `Configuration`, naming the setting and the file, and nothing that is in it.
    """
    file = Path(path).expanduser()
    try:
        content = file.read_bytes()
        if len(content) > _MAX_BYTES:
            raise FluxaError(ErrorCode.CONFIGURATION, f"The file {file} for {name} is larger than {_MAX_BYTES} bytes.")
        text = content.decode()
    except OSError as error:
        raise FluxaError(
            ErrorCode.CONFIGURATION, f"The file {file} for {name} cannot be read: {error.strerror}."
        ) from None
    except UnicodeDecodeError:
        raise FluxaError(ErrorCode.CONFIGURATION, f"The file {file} for {name} is not UTF-8.") from None
    text = text.removesuffix("\n").removesuffix("\r")
    if not text.strip():
        raise FluxaError(ErrorCode.CONFIGURATION, f"The file {file} for {name} is empty.")
    return text


def read_secrets(files: Mapping[str, str]) -> dict[str, str]:
    """What all of them hold, by setting. Raises as `read_secret` does."""
    return {name: read_secret(name, path) for name, path in files.items()}


def named_in(variables: Mapping[str, str], prefix: str, secrets: frozenset[str]) -> dict[str, str]:
    """The files that variables name: `FLUXA_CRON_SECRETS_FILE=/run/secrets/cron` and the like, by setting."""
    found = {}
    for variable, path in variables.items():
        name = variable.removeprefix(prefix).removesuffix(SUFFIX).lower()
        if variable.startswith(prefix) and variable.endswith(SUFFIX) and path and name in secrets:
            found[name] = path
    return found
