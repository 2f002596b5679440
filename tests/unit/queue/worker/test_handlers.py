"""Signatures are read when a handler is registered, and records become what it takes."""

import datetime as dt
import functools
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest

import fluxa
from fluxa import DONE, Fluxa, FluxaError, JobInfo, Outcome, QueueSpec, Record, Transaction
from fluxa.queue.worker.handlers import Form, Handlers, read_signature

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


class Resize(msgspec.Struct):
    width: int


def _record(body: bytes) -> Record:
    return Record(id="r1", body=body, created_at=NOW)


async def single(job: Resize, info: JobInfo) -> None: ...
async def batch(jobs: Sequence[Resize], infos: Sequence[JobInfo]) -> Sequence[Outcome] | None: ...
async def exact(job: Resize, tx: Transaction) -> None: ...
async def bare(job) -> None: ...  # type: ignore[no-untyped-def]  # noqa: ANN001 - users may write so
async def raw(record: Record) -> None: ...
async def whole_list(job: list[int]) -> None: ...
def plain(job: dict[str, Any]) -> None: ...


class Called:
    async def __call__(self, job: Resize) -> None: ...

    async def method(self, job: Resize, *, story: JobInfo) -> None: ...


@pytest.mark.req("QUEUE-4")
def test_the_forms_are_read_from_the_signature() -> None:
    assert read_signature("q", single).form is Form.SINGLE
    assert read_signature("q", single).info == "info"
    assert read_signature("q", batch).form is Form.BATCH
    assert read_signature("q", batch).info == "infos"
    assert read_signature("q", exact).tx == "tx"
    assert read_signature("q", whole_list).form is Form.SINGLE
    assert read_signature("q", plain).threaded
    assert not read_signature("q", Called()).threaded
    assert read_signature("q", Called().method).info == "story"
    assert not read_signature("q", functools.partial(single)).threaded


@pytest.mark.req("QUEUE-4")
def test_a_body_becomes_what_the_handler_takes() -> None:
    record = _record(b'{"width": 3}')
    assert read_signature("q", single).decode(record) == Resize(3)
    assert read_signature("q", batch).decode(record) == Resize(3)
    assert read_signature("q", bare).decode(record) == {"width": 3}
    assert read_signature("q", raw).decode(record) is record
    assert read_signature("q", whole_list).decode(_record(b"[1]")) == [1]


@pytest.mark.req("QUEUE-4")
@pytest.mark.parametrize("body", [b'{"width": "secret-word"}', b"{", b"\xff", b"[" * 5000, b"null"])
def test_a_body_that_does_not_fit_is_permanent_and_not_told(body: bytes) -> None:
    with pytest.raises(FluxaError) as caught:
        read_signature("q", single).decode(_record(body))
    assert caught.value.code == "SchemaValidation"
    assert "secret-word" not in caught.value.detail
    if body.startswith(b'{"'):
        assert caught.value.pointer == "/width"


async def nothing() -> None: ...
async def unknown(job: Resize, colour: str) -> None: ...
async def stars(job: Resize, *args: object) -> None: ...
async def wrong_infos(jobs: Sequence[Resize], info: JobInfo) -> None: ...
async def wrong_info(job: Resize, infos: Sequence[JobInfo]) -> None: ...
async def twice(job: Resize, tx: Transaction, other: Transaction) -> None: ...
async def unreadable(job: object, info: JobInfo) -> None: ...
async def sockets(job: Callable[[], None]) -> None: ...
def thread_tx(job: Resize, tx: Transaction) -> None: ...


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (nothing, "takes nothing"),
        (unknown, "colour, which nothing fills"),
        (stars, r"takes \*args"),
        (wrong_infos, r"info is Sequence\[JobInfo\]"),
        (wrong_info, "infos is JobInfo"),
        (twice, "as tx and as other"),
        (sockets, "cannot be read from JSON"),
        (thread_tx, "transactions need async def"),
        (Called, "is no function"),
    ],
)
def test_a_signature_that_fits_no_form_is_told(function: Callable[..., Any], says: str) -> None:
    with pytest.raises(FluxaError, match=says) as caught:
        Handlers().add("q", function)
    assert caught.value.code == "Configuration"
    assert function.__qualname__ in caught.value.detail


def test_an_application_knows_the_built_in_queues_and_the_users_own() -> None:
    app = Fluxa()
    app.queue(QueueSpec("thumbnails", concurrency=9))
    app.queue(QueueSpec("pulse", concurrency=1))

    @app.handler("thumbnails")
    async def resize(job: Resize) -> Outcome:
        assert job.width
        return DONE

    assert app.handlers.get("thumbnails").function is resize
    assert app.registry.get("pulse").concurrency == 1
    with pytest.raises(FluxaError, match="has a handler already"):
        app.handler("thumbnails")(single)
    with pytest.raises(FluxaError, match="Did you mean thumbnails") as caught:
        app.handler("thumbnail")(single)
    assert caught.value.code == "Configuration"
    with pytest.raises(FluxaError, match="No handler is registered for the queue pulse"):
        app.handlers.get("pulse")


def test_every_public_name_is_there() -> None:
    assert all(getattr(fluxa, name) is not None for name in fluxa.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = fluxa.nonsense
