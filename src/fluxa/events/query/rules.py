"""Pure decisions of the query slice: positions and their cursors, the JSON form of a stored event."""

import base64
import re
from typing import Any, Protocol
from urllib.parse import quote

import msgspec

from fluxa.events.event import is_json
from fluxa.events.query.schemas import EventItem, Position
from fluxa.kernel import json
from fluxa.kernel.errors import ErrorCode, FluxaError

CURSOR_PATTERN = r"^([0-9]{1,18})\.([0-9]{1,9})$"
"""What a cursor looks like, as OpenAPI says it."""

_CURSOR = re.compile(CURSOR_PATTERN.replace("$", r"\Z"))
_TEXT_TYPE = re.compile(r"text/|application/xml\b|[^;]*\+xml\b", re.IGNORECASE)
_OPTIONAL = ("subject", "time", "datacontenttype", "dataschema")


class Columns(Protocol):
    """A row, by the names of its columns."""

    def __getitem__(self, name: str, /) -> Any:  # noqa: ANN401 - a column of any type
        """The value of a column."""
        ...


def cursor(position: Position) -> str:
    """A position as clients hold it: the transaction, and how many of its events come before."""
    return f"{position.tx}.{position.ord + 1}"


def position(text: str, name: str) -> Position:
    """The position of a cursor.

    Args:
        text: what the client sent.
        name: the parameter it came in.

    Raises:
        FluxaError: `InvalidRequest`.
    """
    match = _CURSOR.match(text)
    if match is None:
        raise FluxaError(ErrorCode.INVALID_REQUEST, f"{name} is not one that Fluxa gave out.", pointer=f"/{name}")
    return Position(int(match[1]), int(match[2]) - 1)


def position_of(row: Columns) -> Position:
    """The position of a row."""
    return Position(int(row["tx"]), int(row["ord"]))


def item(row: Columns, data: bytes | None, *, referred: bool = False) -> EventItem:
    """The JSON form of a stored event.

    Args:
        row: its row.
        data: the bytes as received; None if it has none.
        referred: whether the data is left out and referred to by `dataref`.
    """
    event: dict[str, Any] = {"specversion": "1.0", "id": row["id"], "source": row["source"], "type": row["type"]}
    event |= {name: row[name] for name in _OPTIONAL if row[name] is not None}
    if row["extensions"] is not None:
        event |= json.decode(row["extensions"])
    if referred:
        event["dataref"] = f"/v1/events/{quote(row['id'], safe='')}?source={quote(row['source'], safe='')}"
    elif data is not None:
        _add_data(event, data)
    return EventItem(
        event=event,
        received_at=row["received_at"],
        stored_at=row["stored_at"],
        sha256=bytes(row["sha256"]).hex(),
        correlation_id=row["correlation_id"],
        attempt=row["attempt"],
        data_bytes=row["data_bytes"],
    )


def listed_item(row: Columns) -> EventItem:
    """The form in lists and streams: long data is referred to."""
    referred = row["data"] is None and row["data_bytes"] > 0
    return item(row, None if row["data"] is None else bytes(row["data"]), referred=referred)


def _add_data(event: dict[str, Any], data: bytes) -> None:
    """JSON stands as it was received; text as a string; anything else in base64."""
    media_type = event.get("datacontenttype")
    if is_json(media_type):
        event["data"] = msgspec.Raw(data)
        return
    if _TEXT_TYPE.match(media_type or ""):
        try:
            event["data"] = data.decode()
        except UnicodeDecodeError:
            pass  # called text, but not in UTF-8
        else:
            return
    event["data_base64"] = base64.b64encode(data).decode()
