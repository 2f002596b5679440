"""Loads named statements from the `.sql` files that stand beside their owners."""

import importlib.resources
import re
from collections.abc import Mapping
from types import MappingProxyType

_NAME = re.compile(r"^-- name: (\w+)[^\n]*\n", re.MULTILINE)


def load(package: str, file: str) -> Mapping[str, str]:
    """The statements of one file by name.

    A statement begins with a line `-- name: verb_noun`; what stands before the first name is a
    description of the file.

    Raises:
        ValueError: if a name appears twice.
    """
    text = importlib.resources.files(package).joinpath(file).read_text("utf-8")
    return parse(text)


def parse(text: str) -> Mapping[str, str]:
    """The statements of a text by name."""
    parts = _NAME.split(text)[1:]
    statements: dict[str, str] = {}
    for name, body in zip(parts[::2], parts[1::2], strict=True):
        if name in statements:
            raise ValueError(f"two statements are named {name}")
        statements[name] = body.strip().rstrip(";")
    return MappingProxyType(statements)
