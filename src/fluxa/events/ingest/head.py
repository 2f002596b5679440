"""What the headers of a request say to the door: the form of its body, its digest, how to answer. Not: the body."""

import base64
import binascii
import enum
import hashlib
import re
from collections.abc import Iterable

import msgspec

from fluxa.kernel.errors import ErrorCode, FluxaError

HeaderList = Iterable[tuple[bytes, bytes]]
"""Headers as ASGI gives them: names in lower case."""

_DIGEST_MEMBER = re.compile(r"\s*([a-z*][a-z0-9_.*-]*)=:([A-Za-z0-9+/=]*):\s*(?:;[^,]*)?\Z")
_ALGORITHMS = ("sha-256", "sha-512")


class Form(enum.StrEnum):
    """The four ways in which events come over HTTP (PIPE-1)."""

    STRUCTURED = "structured"
    """One event as JSON."""
    BATCH = "batch"
    """A JSON array of events."""
    BINARY = "binary"
    """One event: attributes in `ce-` headers, the data is the body."""
    LINES = "lines"
    """One event a line (NDJSON)."""


_FORMS = {
    "application/cloudevents+json": Form.STRUCTURED,
    "application/cloudevents-batch+json": Form.BATCH,
    "application/x-ndjson": Form.LINES,
    "application/jsonl": Form.LINES,
}


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """What the door takes from the headers.

    Attributes:
        form: how to read the body.
        content_type: the media type as sent, with its parameters; None if there is none.
        content_digest: the digests the sender states, in `Content-Digest`'s own form.
        attributes: `ce-` headers in the order they came, without the prefix.
        minimal: whether the answer should leave out the events that were accepted.
    """

    form: Form
    content_type: str | None
    content_digest: str | None
    attributes: tuple[tuple[str, bytes], ...]
    minimal: bool


def read_head(headers: HeaderList) -> Head:
    """Read the headers.

    Raises:
        FluxaError: `UnsupportedMediaType` if the body is in none of the four forms; `InvalidRequest`
            for a header that is repeated where only one can be meant.
    """
    content_type: str | None = None
    digests: list[str] = []
    attributes: list[tuple[str, bytes]] = []
    minimal = False
    for name, value in headers:
        if name.startswith(b"ce-"):
            attributes.append((name[3:].decode("latin-1"), value))
        elif name == b"content-type":
            if content_type is not None:
                raise FluxaError(ErrorCode.INVALID_REQUEST, "Content-Type is sent twice; send it once.")
            content_type = value.decode("latin-1")
        elif name == b"content-digest":
            digests.append(value.decode("latin-1"))
        elif name == b"prefer":
            minimal = minimal or b"return=minimal" in value.lower().replace(b" ", b"")
    return Head(
        form=_form(content_type, has_attributes=bool(attributes)),
        content_type=content_type,
        content_digest=", ".join(digests) if digests else None,
        attributes=tuple(attributes),
        minimal=minimal,
    )


def _form(content_type: str | None, *, has_attributes: bool) -> Form:
    media_type, _, parameters = (content_type or "").partition(";")
    media_type = media_type.strip().lower()
    form = _FORMS.get(media_type)
    if form is Form.LINES and has_attributes:
        return Form.BINARY  # its data are the lines
    if form is not None:
        _check_charset(parameters)
        return form
    if has_attributes and not media_type.startswith("application/cloudevents"):
        return Form.BINARY
    raise FluxaError(
        ErrorCode.UNSUPPORTED_MEDIA_TYPE,
        f"The body is {media_type[:64] or 'of no stated type'}; events come as application/cloudevents+json, "
        "application/cloudevents-batch+json, application/x-ndjson, or with ce- headers.",
    )


def _check_charset(parameters: str) -> None:
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset" and value.strip(' "').lower() not in {"utf-8", "utf8", "us-ascii"}:
            raise FluxaError(ErrorCode.UNSUPPORTED_MEDIA_TYPE, "JSON over HTTP is UTF-8; send it so.")


def check_digest(stated: str | None, body: bytes) -> None:
    """Compare the body as received with what `Content-Digest` states (RFC 9530); other algorithms are passed over.

    Raises:
        FluxaError: `HashMismatch`; `InvalidRequest` if the header is not in its form.
    """
    if stated is None:
        return
    for member in stated.split(","):
        match = _DIGEST_MEMBER.match(member)
        if match is None:
            raise _not_a_digest()
        algorithm = match[1]
        if algorithm not in _ALGORITHMS:
            continue
        try:
            wanted = base64.b64decode(match[2], validate=True)
        except (binascii.Error, ValueError):
            raise _not_a_digest() from None
        found = (hashlib.sha256 if algorithm == "sha-256" else hashlib.sha512)(body).digest()
        if wanted != found:
            raise FluxaError(ErrorCode.HASH_MISMATCH, f"Content-Digest: {algorithm} is not the digest of the body.")


def _not_a_digest() -> FluxaError:
    return FluxaError(ErrorCode.INVALID_REQUEST, "Content-Digest is not valid; send it as sha-256=:BASE64: (RFC 9530).")
