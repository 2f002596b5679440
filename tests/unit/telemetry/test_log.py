"""How loudly a signal is logged."""

import io
import json

import pytest

from fluxa.telemetry.catalogue import RecordParked
from fluxa.telemetry.log import LogHook, make_logger


@pytest.mark.req("PIPE-3", "PIPE-10", "HARDEN-4")
@pytest.mark.parametrize(
    ("code", "retry_class", "level"),
    [("HashMismatch", "security", "error"), ("SchemaValidation", "permanent", "warning")],
)
def test_a_parked_record_that_was_tampered_with_is_an_error(code: str, retry_class: str, level: str) -> None:
    stream = io.StringIO()
    hook = LogHook(make_logger("processor", stream=stream))
    hook.hear(RecordParked("events", code, retry_class, event_id="e", correlation_id="c"))
    line = json.loads(stream.getvalue())
    assert (line["level"], line["event"], line["error_code"]) == (level, "record parked", code)
    assert (line["event_id"], line["correlation_id"], line["service"]) == ("e", "c", "processor")
