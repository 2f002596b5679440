"""JSON Schemas made ready: what fits, what does not, and what a hostile schema cannot do."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fluxa.events.schemas.compiled import check_data, compile_schema
from fluxa.events.schemas.registry import read_schema
from fluxa.kernel.errors import FluxaError


def refusal(call: Any, *args: Any, **options: Any) -> FluxaError:  # noqa: ANN401 - any function
    with pytest.raises(FluxaError) as caught:
        call(*args, **options)
    return caught.value


SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["n"],
    "properties": {
        "n": {"type": "integer", "minimum": 0},
        "list": {"items": {"properties": {"a/b~c": {"type": "string"}}}},
        "at": {"type": "string", "format": "date-time"},
    },
}


@pytest.mark.req("PIPE-2")
@pytest.mark.parametrize(
    ("data", "pointer"),
    [
        (b"{}", "/data"),
        (b'{"n":"x"}', "/data/n"),
        (b'{"n":-1}', "/data/n"),
        (b'{"n":1,"list":[{},{"a/b~c":1}]}', "/data/list/1/a~1b~0c"),
        (b'{"n":1,"at":"soon"}', "/data/at"),
        (b"[]", "/data"),
        (b'{"n":1,"n":1}', "/data"),
        (b'{"n":1,"x":{"a":1,"a":2}}', "/data"),
        (b'{"n":' + b"1" * 5000 + b"}", "/data"),
        (None, "/data"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_data_that_does_not_fit_is_named_by_its_pointer(data: bytes | None, pointer: str) -> None:
    error = refusal(check_data, compile_schema(SCHEMA), data, is_json=True)
    assert (error.code, error.pointer) == ("SchemaValidation", pointer)
    assert len(error.detail) < 400


@pytest.mark.req("PIPE-2")
def test_data_that_fits_passes() -> None:
    check_data(compile_schema(SCHEMA), b'{"n":1,"at":"2026-01-01T00:00:00Z","more":[1.5,null]}', is_json=True)
    check_data(compile_schema(True), b"1", is_json=True)


def test_data_of_another_media_type_cannot_fit() -> None:
    assert refusal(check_data, compile_schema(True), b"1", is_json=False).pointer == "/datacontenttype"


def test_the_refusal_does_not_quote_the_data() -> None:
    error = refusal(check_data, compile_schema(SCHEMA), b'{"n":"a secret"}', is_json=True)
    assert "a secret" not in error.detail


@pytest.fixture
def trap() -> Iterator[tuple[str, list[bytes]]]:
    """A server that notes every connection, and its URL."""
    heard: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.1)
    stop = threading.Event()

    def accept() -> None:
        while not stop.is_set():
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            heard.append(connection.recv(100))
            connection.close()

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/schema.json", heard
    finally:
        stop.set()
        thread.join()
        listener.close()


@pytest.mark.req("PIPE-2")
@pytest.mark.parametrize("keyword", ["$ref", "$dynamicRef", "$schema"])
def test_no_reference_is_ever_fetched_from_the_network(keyword: str, trap: tuple[str, list[bytes]]) -> None:
    url, heard = trap
    for schema in ({keyword: url}, {"properties": {"a": {keyword: url}}}, {"$id": url, keyword: "other.json"}):
        try:
            compiled = compile_schema(schema)
        except FluxaError as error:
            assert error.code == "InvalidRequest"  # noqa: PT017 - either refused or harmless
        else:
            check_data(compiled, b'{"a":1}', is_json=True)
    assert heard == []


@pytest.mark.req("PIPE-2")
def test_no_reference_is_ever_read_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "schema.json").write_text('{"type": "integer"}')
    for reference in ((tmp_path / "schema.json").as_uri(), str(tmp_path / "schema.json"), "schema.json"):
        assert refusal(compile_schema, {"$ref": reference}).code == "InvalidRequest"


@pytest.mark.req("PIPE-2")
@pytest.mark.parametrize(
    ("schema", "pointer"),
    [
        ({"type": "nonsense"}, "/type"),
        ({"properties": {"a": {"minimum": "x"}}}, "/properties/a/minimum"),
        ({"pattern": "("}, "/pattern"),
        ({"pattern": "(?=a)b"}, "/pattern"),
        ({"pattern": "(a)\\1"}, "/pattern"),
        ({"pattern": "(((a{1,99}){1,99}){1,99}){1,99}"}, "/pattern"),
        ({"$ref": "#/$defs/absent"}, ""),
    ],
    ids=str,
)
def test_what_is_no_usable_schema_is_refused_with_a_pointer(schema: dict[str, Any], pointer: str) -> None:
    error = refusal(compile_schema, schema)
    assert (error.code, error.pointer) == ("InvalidRequest", pointer)


def test_a_schema_nested_too_deeply_is_refused() -> None:
    nested: dict[str, Any] = {}
    for _ in range(600):
        nested = {"not": nested}
    assert refusal(compile_schema, nested).code == "InvalidRequest"


@pytest.mark.req("PIPE-2")
def test_references_that_multiply_are_refused() -> None:
    levels = {f"l{i}": {"allOf": [{"$ref": f"#/$defs/l{i + 1}"}] * 2} for i in range(40)}
    error = refusal(compile_schema, {"$defs": {**levels, "l40": {"type": "integer"}}, "$ref": "#/$defs/l0"})
    assert "multiply" in error.detail


@pytest.mark.req("PIPE-2")
def test_recursive_schemas_work() -> None:
    tree = {"type": "object", "properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}, "n": {"type": "integer"}}}
    compiled = compile_schema(tree)
    check_data(compiled, b'{"left":{"right":{"n":1}}}', is_json=True)
    error = refusal(check_data, compiled, b'{"left":{"right":{"n":"x"}}}', is_json=True)
    assert error.pointer == "/data/left/right/n"
    for loop in ({"$ref": "#"}, {"allOf": [{"$ref": "#"}]}):
        check_data(compile_schema(loop), b"1", is_json=True)


@pytest.mark.req("PIPE-2")
def test_a_pattern_takes_time_linear_to_the_text() -> None:
    compiled = compile_schema({"pattern": "^(a+)+$"})
    began = time.monotonic()
    refusal(check_data, compiled, json.dumps("a" * 500_000 + "!").encode(), is_json=True)
    assert time.monotonic() - began < 5


@pytest.mark.req("PIPE-2")
@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"", "MalformedJson"),
        (b"{", "MalformedJson"),
        (b"[]", "InvalidRequest"),
        (b"null", "InvalidRequest"),
        (b'"x"', "InvalidRequest"),
        (b'{"const":"\\u0000"}', "InvalidRequest"),
        (b'{"const":"\\\\\\u0000"}', "InvalidRequest"),
        (b'{"maximum":1e999}', "MalformedJson"),
        (b'{"const":"\\ud800"}', "MalformedJson"),
        (b" " * (256 * 1024 + 1), "RequestTooLarge"),
        (b"[" * 100_000, "MalformedJson"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_is_no_schema_text_is_refused(text: bytes, code: str) -> None:
    assert refusal(read_schema, text).code == code


def test_a_pattern_may_speak_of_nul_by_its_escape() -> None:
    assert read_schema(b'{"pattern":"\\\\u0000"}') == {"pattern": "\\u0000"}
