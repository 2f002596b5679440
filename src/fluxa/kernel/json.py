"""JSON at the borders: one encoder and one strict decoder, so that all of Fluxa agrees on the form."""

from typing import Any

import msgspec

from fluxa.kernel.errors import ErrorCode, FluxaError

_encoder = msgspec.json.Encoder(uuid_format="canonical")
_decoder = msgspec.json.Decoder(strict=True)


def encode(value: object) -> bytes:
    """Compact UTF-8 JSON of a value that msgspec knows."""
    return _encoder.encode(value)


def text(value: object) -> str:
    """The same as `encode`, as text (for Postgres `jsonb` parameters)."""
    return _encoder.encode(value).decode()


def decode(data: bytes | str) -> Any:  # noqa: ANN401 - JSON is any value until a type is asked for
    """A JSON value.

    Raises:
        FluxaError: `MalformedJson` if it is not well formed, or nested too deeply.
    """
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FluxaError(ErrorCode.MALFORMED_JSON, str(error)) from None
