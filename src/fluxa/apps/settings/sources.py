"""Gathers the settings in force, and is the only place that reads the environment.

Lowest to highest: defaults, one TOML file, `FLUXA_*` variables, the command line. Secrets may be in files of their own.
"""

import difflib
import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from fluxa.apps.settings.agreement import check_together
from fluxa.apps.settings.fields import FIELDS, NAMES, Settings, default_home, is_secret
from fluxa.apps.settings.managed import FROM_MANAGER, read_managed_now
from fluxa.apps.settings.secret_files import SUFFIX, named_in, read_secret
from fluxa.apps.settings.tracing import NAMES as TRACING_NAMES
from fluxa.kernel import json
from fluxa.kernel.errors import ErrorCode, FluxaError

PREFIX = "FLUXA_"
FILE_VARIABLE = "FLUXA_SETTINGS"
"""Names the settings file; the one variable that is no setting itself."""
FILE_NAME = "fluxa.toml"
_FROM_FILE = "secret file"
_SECRETS = frozenset(name for name in NAMES if is_secret(name))


@dataclass(frozen=True, slots=True)
class Effective:
    """Settings, and where each came from.

    Attributes:
        settings: the values in force.
        sources: by name: `default`, `file`, `environment` or `command line`.
        file: the settings file that was read, if there was one.
    """

    settings: Settings
    sources: Mapping[str, str]
    file: Path | None


def load(
    overrides: Mapping[str, object] | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    working_folder: Path | None = None,
    managed: bool = True,
) -> Effective:
    """Gather the settings in force.

    Args:
        overrides: what the command line says; None values say nothing.
        environment: instead of the process's own.
        working_folder: instead of the process's own.
        managed: whether to ask the secret manager as well; without it what it holds is not set.

    Raises:
        FluxaError: `Configuration`, naming the setting, its source and the nearest known name; an outage of the
            secret manager.
    """
    variables = os.environ if environment is None else environment  # noqa: TID251 - the one place that may
    given = {name: value for name, value in (overrides or {}).items() if value is not None}
    _refuse_unknown(given, NAMES, "The command line")
    exported = _from_environment(variables)
    home = str(given.get("home") or exported.get("home") or default_home())
    file = _find_file(variables, Path(home).expanduser(), working_folder or Path.cwd())
    written = _read_file(file) if file else {}
    values: dict[str, Any] = {}
    sources = dict.fromkeys(NAMES, "default")
    for source, layer in (("file", written), ("environment", exported), ("command line", given)):
        for name, value in layer.items():
            values[name] = _convert(name, value, source, file)
            sources[name] = source
    values["secret_files"] = {**values.get("secret_files", {}), **named_in(variables, PREFIX, _SECRETS)}
    _read_secrets(values, sources)
    settings = Settings(**values)
    _refuse_twice(settings, values, sources)
    sources |= dict.fromkeys(settings.managed_secrets, FROM_MANAGER)
    if managed and settings.managed_secrets:
        settings = with_secrets(settings, read_managed_now(settings))
    check_together(settings)
    return Effective(settings=settings, sources=sources, file=file)


def _refuse_twice(settings: Settings, values: Mapping[str, object], sources: Mapping[str, str]) -> None:
    for name in settings.managed_secrets:
        if name not in _SECRETS:
            raise FluxaError(ErrorCode.CONFIGURATION, f"managed_secrets names {name}, which is no secret setting.")
        if name in values:
            raise FluxaError(
                ErrorCode.CONFIGURATION,
                f"{name} is given by the {sources[name]} and in the secret manager; give it once.",
            )


def with_secrets(settings: Settings, found: Mapping[str, str]) -> Settings:
    """The same settings with these secrets, as they stand in files of their own.

    Raises:
        FluxaError: `Configuration`, for what cannot be used; it names the setting and shows nothing of its value.
    """
    values = {name: _convert(name, text, _FROM_FILE, None) for name, text in found.items()}
    changed = msgspec.structs.replace(settings, **values)
    check_together(changed)
    return changed


def _read_secrets(values: dict[str, Any], sources: dict[str, str]) -> None:
    """Fill in what is in files of its own.

    Raises:
        FluxaError: `Configuration`, also for a secret that is given twice: nobody could say which of them counts.
    """
    for name, path in values["secret_files"].items():
        if name not in _SECRETS:
            raise FluxaError(ErrorCode.CONFIGURATION, f"secret_files names {name}, which is no secret setting.")
        if name in values:
            raise FluxaError(
                ErrorCode.CONFIGURATION, f"{name} is given by the {sources[name]} and as a file; give it once."
            )
        values[name] = _convert(name, read_secret(name, path), _FROM_FILE, None)
        sources[name] = _FROM_FILE


def environment_of(settings: Settings) -> dict[str, str]:
    """Variables for a child process that make it see exactly these settings."""
    # The child must not pick up a file or variables that differ from what its parent saw.
    kept = {
        name: value
        for name, value in os.environ.items()  # noqa: TID251 - the one place that may
        if not name.startswith(PREFIX)
    }
    # What is in a file or in the secret manager is read there by the child as well, so that it sees it change.
    values = {
        name: getattr(settings, name)
        for name in NAMES
        if name not in {*settings.secret_files, *settings.managed_secrets}
    }
    ours = {PREFIX + name.upper(): _written(value) for name, value in values.items() if value is not None}
    return {**kept, **ours, FILE_VARIABLE: os.devnull}


def _written(value: object) -> str:
    """A value as a variable holds it: tables as JSON."""
    return json.text(value) if isinstance(value, dict) else str(value)


def _from_environment(variables: Mapping[str, str]) -> dict[str, str]:
    found = {
        name: value for name, value in variables.items() if name.startswith(PREFIX) and name != FILE_VARIABLE and value
    }
    for name in named_in(variables, PREFIX, _SECRETS):
        del found[PREFIX + name.upper() + SUFFIX]
    _refuse_unknown(found, [*(PREFIX + name.upper() for name in NAMES), FILE_VARIABLE], "The environment")
    standard = {name: variables[name.upper()] for name in TRACING_NAMES if variables.get(name.upper())}
    return {**standard, **{name.removeprefix(PREFIX).lower(): value for name, value in found.items()}}


def _find_file(variables: Mapping[str, str], home: Path, working_folder: Path) -> Path | None:
    if named := variables.get(FILE_VARIABLE):
        file = Path(named).expanduser()
        if not file.exists():
            raise FluxaError(ErrorCode.CONFIGURATION, f"{FILE_VARIABLE} names {file}, which does not exist.")
        return file
    for file in (home / FILE_NAME, working_folder / FILE_NAME):
        if file.is_file():
            return file
    return None


def _read_file(file: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(file.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FluxaError(ErrorCode.CONFIGURATION, f"The settings file {file} is not valid TOML: {error}.") from None
    except OSError as error:
        raise FluxaError(
            ErrorCode.CONFIGURATION, f"The settings file {file} cannot be read: {error.strerror}."
        ) from None
    _refuse_unknown(values, NAMES, f"The settings file {file}")
    return values


def _refuse_unknown(given: Iterable[str], known: Iterable[str], where: str) -> None:
    names = list(known)
    for name in given:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
            hint = f"Did you mean {near[0]}?" if near else "fluxa settings lists those that exist."
            raise FluxaError(ErrorCode.CONFIGURATION, f"{where} has {name}, which is no setting. {hint}")


def _is_table(name: str) -> bool:
    kind = msgspec.inspect.type_info(FIELDS[name].type)
    return isinstance(kind, msgspec.inspect.Metadata) and isinstance(kind.type, msgspec.inspect.DictType)


def _convert(name: str, value: object, source: str, file: Path | None) -> object:
    try:
        # A file has TOML's types; a variable or an option is text and is read as what the setting wants.
        if isinstance(value, str) and _is_table(name):
            value = msgspec.json.decode(value)
        return msgspec.convert(value, FIELDS[name].type, strict=source == "file")
    except msgspec.DecodeError as error:
        where = {
            _FROM_FILE: "A secret file, or the secret manager, sets",
            "file": f"The settings file {file} sets",
            "environment": "The environment sets",
        }.get(source, "The command line sets")
        shown = "a value that is not shown" if is_secret(name) else repr(value)
        problem = str(error).removesuffix(" - at `$`")
        raise FluxaError(ErrorCode.CONFIGURATION, f"{where} {name} to {shown}: {problem}.") from None
