"""Loads named statements from the `.sql` files that stand beside their owners."""

import importlib.resources
import re
from collections.abc import Mapping
from types import MappingProxyType

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
    """The statements of a text by name."""
    parts = _NAME.split(text)[1:]
    statements: dict[str, str] = {}
    for name, body in zip(parts[::2], parts[1::2], strict=True):
        if name in statements:
            raise ValueError(f"two statements are named {name}")
        statements[name] = body.strip().rstrip(";")
    return MappingProxyType(statements)
