"""A JSON Schema (draft 2020-12) made ready to check data. Not: where schemas are kept (store).

Nothing is ever fetched: a reference that the schema itself does not contain is refused.
"""

import json
from collections.abc import Sequence
from typing import Any, Protocol

import jsonschema_rs

from fluxa.kernel.errors import ErrorCode, FluxaError

SCHEMA_MAX_BYTES = 256 * 1024
"""The largest schema, as sent."""
STEPS_MAX = 20_000
"""The most subschemas that one value may have to pass, references followed."""

_DETAIL_MAX = 300
_POINTER_MAX = 500

Schema = dict[str, Any] | bool
"""A schema as JSON."""


class Compiled(Protocol):
    """A validator of the library: `validate` raises its `ValidationError`."""

    def validate(self, instance: object) -> None:
        """Return if the value fits."""
        ...


def compile_schema(schema: Schema) -> Compiled:
    """Make a schema ready.

    Raises:
        FluxaError: `InvalidRequest` with a pointer into the schema if it is not a schema, refers to
            something outside itself, or could take too long.
    """
    steps = _Steps(schema).of(schema, ())
    if steps > STEPS_MAX:
        raise FluxaError(
            ErrorCode.INVALID_REQUEST,
            f"The schema's references multiply to more than {STEPS_MAX} steps for one value.",
            pointer="",
        )
    try:
        compiled: Compiled = jsonschema_rs.Draft202012Validator(
            schema,
            offline=True,
            validate_formats=True,
            mask="the value",
            # Patterns run in time linear to the text; those that cannot (look-around, back-references) are refused.
            pattern_options=jsonschema_rs.RegexOptions(size_limit=1 << 20, dfa_size_limit=8 << 20),
        )
    except jsonschema_rs.ValidationError as error:
        raise FluxaError(
            ErrorCode.INVALID_REQUEST,
            f"This is not a JSON Schema that can be used: {_short(error.message)}",
            pointer=_pointer(error.instance_path),
        ) from None
    except (ValueError, jsonschema_rs.ReferencingError) as error:
        raise FluxaError(
            ErrorCode.INVALID_REQUEST, f"This schema cannot be used: {_short(str(error))}", pointer=""
        ) from None
    return compiled


def check_data(compiled: Compiled, data: bytes | None, *, is_json: bool) -> None:
    """Check an event's data.

    Raises:
        FluxaError: `SchemaValidation`, the pointer beginning with `/data`.
    """
    if data is None:
        raise FluxaError(
            ErrorCode.SCHEMA_VALIDATION, "The event has no data, but its type has a schema.", pointer="/data"
        )
    if not is_json:
        raise FluxaError(
            ErrorCode.SCHEMA_VALIDATION,
            "The data is not JSON, but its type has a schema.",
            pointer="/datacontenttype",
        )
    try:
        compiled.validate(_read(data))
    except jsonschema_rs.ValidationError as error:
        raise FluxaError(
            ErrorCode.SCHEMA_VALIDATION, _short(error.message), pointer="/data" + _pointer(error.instance_path)
        ) from None


class _RepeatedNameError(ValueError):
    """Two members of one object have the same name, so readers would differ in what the data is."""


def _read(data: bytes) -> object:
    try:
        return json.loads(data, object_pairs_hook=_once, parse_constant=_no_constant)
    except _RepeatedNameError as error:
        raise FluxaError(ErrorCode.SCHEMA_VALIDATION, str(error), pointer="/data") from None
    except (ValueError, RecursionError) as error:
        raise FluxaError(
            ErrorCode.SCHEMA_VALIDATION, f"The data cannot be checked: {_short(str(error))}", pointer="/data"
        ) from None


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise _RepeatedNameError(f"The data has the name {_short(name)} twice in one object.")
            seen.add(name)
    return members


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _short(text: str) -> str:
    return text if len(text) <= _DETAIL_MAX else text[:_DETAIL_MAX] + "…"


def _pointer(path: Sequence[str | int]) -> str:
    parts = (str(part).replace("~", "~0").replace("/", "~1") for part in path)
    return "".join("/" + part for part in parts)[:_POINTER_MAX]


class _Steps:
    """Counts how many subschemas a value may have to pass when references inside the schema are followed.

    A reference to a place that is being counted already is a loop; it goes on with a part of the value
    or not at all, and counts once.
    """

    def __init__(self, root: Schema) -> None:
        self._root = root
        self._known: dict[str, int] = {}

    def of(self, node: object, below: tuple[str, ...]) -> int:
        """The count of a node; `below` are the references it is reached by."""
        if isinstance(node, list):
            return sum(self.of(item, below) for item in node)
        if not isinstance(node, dict):
            return 0
        steps = 1
        for name, value in node.items():
            if name in {"$ref", "$dynamicRef"} and isinstance(value, str):
                steps += self._target(value, below)
            elif name not in {"$defs", "definitions", "enum", "const", "examples", "default"}:
                steps += self.of(value, below)
        return min(steps, STEPS_MAX + 1)

    def _target(self, reference: str, below: tuple[str, ...]) -> int:
        if reference in below:
            return 1
        if reference not in self._known:
            self._known[reference] = self.of(self._find(reference), (*below, reference))
        return self._known[reference]

    def _find(self, reference: str) -> object:
        if not reference.startswith("#"):
            return None
        node: object = self._root
        for part in reference[1:].split("/")[1:]:
            name = part.replace("~1", "/").replace("~0", "~")
            if isinstance(node, dict):
                node = node.get(name)
            elif isinstance(node, list) and name.isdigit() and int(name) < len(node):
                node = node[int(name)]
            else:
                return None
        return node
