"""Finds the user's `Fluxa` by `module:attribute`, and says in words what is wrong with it. Not: running it."""

import difflib
import importlib
import sys
import traceback
from pathlib import Path
from types import ModuleType

from fluxa.application import Fluxa
from fluxa.kernel.errors import ErrorCode, FluxaError

_ATTRIBUTE = "app"


def load_app(place: str) -> Fluxa:
    """The application of a place such as `shop.work:app`; the working folder is looked in first.

    Args:
        place: module and attribute; the attribute is `app` if it is left out.

    Raises:
        FluxaError: `Configuration`, saying what is missing or what the module raised, and where.
    """
    module_name, _, attribute = place.partition(":")
    attribute = attribute or _ATTRIBUTE
    if not all(part.isidentifier() for part in (*module_name.split("."), *attribute.split("."))):
        raise _wrong(f"{place!r} is not of the form module:attribute, such as shop.work:app.")
    found: object = _import(module_name)
    for name in attribute.split("."):
        if not hasattr(found, name):
            raise _wrong(_missing(module_name, found, name))
        found = getattr(found, name)
    if not isinstance(found, Fluxa):
        raise _wrong(f"{place} is a {type(found).__name__} and not a Fluxa: write {attribute} = Fluxa() there.")
    return found


def _import(module_name: str) -> ModuleType:
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        return importlib.import_module(module_name)
    except FluxaError as error:
        raise FluxaError(error.code, f"{error.detail}{_where(error)}", pointer=error.pointer) from None
    except ModuleNotFoundError as error:
        if error.name and (module_name == error.name or module_name.startswith(f"{error.name}.")):
            raise _wrong(f"There is no module {error.name} in {folder} or among what is installed.") from None
        raise _wrong(f"The module {module_name} needs {error.name}, which is not installed{_where(error)}.") from None
    except SyntaxError as error:
        raise _wrong(f"{error.filename}, line {error.lineno}: {error.msg}.") from None
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a stranger's module may raise
        raise _wrong(f"The module {module_name} raised {type(error).__name__}: {error}{_where(error)}.") from None


def _where(error: BaseException) -> str:
    """The place in the user's code, which is the last one outside of the machinery that imports."""
    own = str(Path(__file__).parents[1])
    steps = [
        step
        for step in traceback.extract_tb(error.__traceback__)
        if not step.filename.startswith(("<frozen", own)) and "importlib" not in step.filename
    ]
    return f" ({steps[-1].filename}, line {steps[-1].lineno})" if steps else ""


def _missing(module_name: str, holder: object, name: str) -> str:
    apps = [key for key, value in getattr(holder, "__dict__", {}).items() if isinstance(value, Fluxa)]
    near = difflib.get_close_matches(name, apps, n=1, cutoff=0)
    hint = f"Did you mean {module_name}:{near[0]}?" if near else f"Write {name} = Fluxa() there."
    return f"The module {module_name} has no {name}. {hint}"


def _wrong(detail: str) -> FluxaError:
    return FluxaError(ErrorCode.CONFIGURATION, detail)
