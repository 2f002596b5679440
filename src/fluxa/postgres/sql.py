"""Loads named statements from the `.sql` files that stand beside their owners."""

import importlib.resources
import re
from collections.abc import Mapping
from types import MappingProxyType

_NAMED = re.compile(r"/\* fluxa:(\w+) \*/ ")
UNNAMED = "unnamed"
"""What a statement is called that is no named one of ours; its text may hold what is nobody's business."""

_NAME = re.compile(r"^-- name: (\w+)[^\n]*\n", re.MULTILINE)


def load(package: str, *files: str) -> Mapping[str, str]:
    """The statements of a file by name, or of several that share one owner.

    A statement begins with a line `-- name: verb_noun`; what stands before the first name is a
    description of the file.

    Raises:
        ValueError: if a name appears twice.
    """
    folder = importlib.resources.files(package)
    return parse("\n".join(folder.joinpath(file).read_text("utf-8") for file in files))


def parse(text: str) -> Mapping[str, str]:
    """The statements of a text by name; each begins with its name, which the server shows beside what runs long."""
    parts = _NAME.split(text)[1:]
    statements: dict[str, str] = {}
    for name, body in zip(parts[::2], parts[1::2], strict=True):
        if name in statements:
            raise ValueError(f"two statements are named {name}")
        statements[name] = f"/* fluxa:{name} */ " + body.strip().rstrip(";")
    return MappingProxyType(statements)


def name_of(statement: str) -> str:
    """The name of a statement that was loaded here, also after its places were filled; `unnamed` for any other."""
    found = _NAMED.match(statement)
    return found[1] if found else UNNAMED
