"""Handlers as they are registered: their form, read from the signature, and how a record becomes what they take.

Not: how they are called (calls), or which queues there are (fluxa.queue.registry).
"""

import collections.abc
import datetime as dt
import enum
import inspect
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.postgres.transaction import Transaction
from fluxa.queue.record import Record

Handler = Callable[..., Any]
"""A function of the user's; what it may take is told by its signature."""


class Form(enum.StrEnum):
    """What one call of a handler gets."""

    SINGLE = "single"
    BATCH = "batch"


class JobInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a record besides its body (QUEUE-4).

    Attributes:
        queue: where it came from.
        id: names the record, the same at every attempt.
        attempt: which attempt this is; 1 is the first.
        enqueued_at: when the engine took the message that carried it this time.
        created_at: when it was first sent.
        correlation_id: the story it belongs to; empty if none.
        deadline: when the call is cancelled, aware.
        key: what records are kept in order or apart by.
        redrives: how often it was sent back from the dead letters.
        headers: small facts that the producer gave along.
        content_type: what the body is.
    """

    queue: str
    id: str
    attempt: int
    enqueued_at: dt.datetime
    created_at: dt.datetime
    correlation_id: str
    deadline: dt.datetime
    key: str | None
    redrives: int
    headers: Mapping[str, str]
    content_type: str


@dataclass(frozen=True, slots=True)
class HandlerSpec:
    """A registered handler.

    Attributes:
        queue: whose records it takes.
        function: what to call: the job or the jobs by position, the rest by name.
        form: what one call gets.
        decode: makes of a record what the handler takes; raises `FluxaError` of `SchemaValidation`.
        info: the name of the parameter for `JobInfo` (a sequence of them in the batch form), if it has one.
        tx: the name of the parameter for the transaction, if it has one.
        threaded: whether it is a plain `def`, which runs in a thread and cannot be cancelled.
    """

    queue: str
    function: Handler
    form: Form
    decode: Callable[[Record], object]
    info: str | None = None
    tx: str | None = None
    threaded: bool = False

    @property
    def name(self) -> str:
        """How the handler is named in errors."""
        return _name(self.function)


class Handlers:
    """The handlers of a process, one for each queue."""

    def __init__(self) -> None:
        self._specs: dict[str, HandlerSpec] = {}

    def add(self, queue: str, function: Handler) -> HandlerSpec:
        """Register a handler for a queue.

        Raises:
            FluxaError: `Configuration`, if the queue has one, or if the signature fits no form.
        """
        if queue in self._specs:
            raise _wrong(function, f"the queue {queue} has a handler already: {self._specs[queue].name}")
        spec = self._specs[queue] = read_signature(queue, function)
        return spec

    def get(self, queue: str) -> HandlerSpec:
        """The handler of a queue.

        Raises:
            FluxaError: `Configuration`, if it has none.
        """
        try:
            return self._specs[queue]
        except KeyError:
            there = ", ".join(self._specs) or "none"
            raise FluxaError(
                ErrorCode.CONFIGURATION, f"No handler is registered for the queue {queue}. Queues with one: {there}."
            ) from None

    def __iter__(self) -> Iterator[HandlerSpec]:
        return iter(self._specs.values())

    def __contains__(self, queue: object) -> bool:
        return queue in self._specs

    def __len__(self) -> int:
        return len(self._specs)


def read_signature(queue: str, function: Handler) -> HandlerSpec:
    """What a function takes, by its annotations.

    Raises:
        FluxaError: `Configuration`, saying which parameter fits no form.
    """
    if inspect.isclass(function):
        raise _wrong(function, "is no function")
    parameters = _parameters(function)
    if not parameters:
        raise _wrong(function, "takes nothing: its first parameter is the job, or Sequence[…] of jobs")
    hints = _hints(function)
    first, *others = parameters
    kind = hints.get(first.name, Any)
    form = Form.BATCH if _is_sequence(kind) else Form.SINGLE
    if form is Form.BATCH:
        kind = (*typing.get_args(kind), Any)[0]
    info = tx = None
    for parameter in others:
        hint = hints.get(parameter.name)
        if hint is Transaction or parameter.name == "tx":
            tx = _once(function, tx, parameter.name)
        elif parameter.name in ("info", "infos") or hint is JobInfo or hint == Sequence[JobInfo]:
            _check_info(function, form, parameter.name, hint)
            info = _once(function, info, parameter.name)
        elif parameter.default is inspect.Parameter.empty:
            raise _wrong(
                function,
                f"has the parameter {parameter.name}, which nothing fills: a handler takes the job first, then "
                "info: JobInfo (infos: Sequence[JobInfo] in the batch form) and tx: Transaction if it wants them",
            )
    threaded = not _is_async(function)
    if threaded and tx is not None:
        raise _wrong(function, "takes a transaction and is a plain def: transactions need async def")
    return HandlerSpec(
        queue=queue,
        function=function,
        form=form,
        decode=_decoder(function, kind),
        info=info,
        tx=tx,
        threaded=threaded,
    )


def _parameters(function: Handler) -> list[inspect.Parameter]:
    try:
        found = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError) as error:
        raise _wrong(function, f"has no signature that can be read: {error}") from None
    for place, parameter in enumerate(found):
        if parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
            raise _wrong(function, f"takes *{parameter.name}: name its parameters, so that it is clear what it wants")
        by_position = parameter.kind is not inspect.Parameter.KEYWORD_ONLY
        if place == 0 and not by_position:
            raise _wrong(function, f"takes {parameter.name} by name only: the job comes first, by position")
        if place and parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
            raise _wrong(function, f"takes {parameter.name} by position only: all but the job is given by name")
    return found


def _hints(function: Handler) -> dict[str, Any]:
    target: Any = function
    while hasattr(target, "func"):  # functools.partial keeps the annotations where it was made from
        target = target.func
    if not inspect.isroutine(target):
        target = type(target).__call__
    try:
        return typing.get_type_hints(target)
    except NameError as error:
        raise _wrong(
            function, f"has an annotation that cannot be resolved ({error}); define that type at the module's top"
        ) from None


def _check_info(function: Handler, form: Form, name: str, hint: object) -> None:
    plural = _is_sequence(hint)
    if hint is not None and plural != (form is Form.BATCH):
        if form is Form.BATCH:
            raise _wrong(function, f"takes jobs as a sequence, so {name} is Sequence[JobInfo]")
        raise _wrong(function, f"takes one job, so {name} is JobInfo; for the batch form take Sequence[…] of jobs")


def _once(function: Handler, found: str | None, name: str) -> str:
    if found is not None:
        raise _wrong(function, f"takes the same thing twice, as {found} and as {name}")
    return name


def _is_sequence(kind: object) -> bool:
    """Whether it is `Sequence[…]`; a `list[…]` is a body that is a JSON array."""
    return kind is collections.abc.Sequence or typing.get_origin(kind) is collections.abc.Sequence


def _is_async(function: Handler) -> bool:
    while hasattr(function, "func"):
        function = function.func
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(type(function), "__call__", None)  # noqa: B004 - asked for its kind, not whether it is there
    )


def _decoder(function: Handler, kind: Any) -> Callable[[Record], object]:  # noqa: ANN401 - an annotation is any object
    if kind is Record:
        return _as_it_is
    if kind is bytes:
        return _body
    if kind is object:
        kind = Any
    try:
        decode = msgspec.json.Decoder(kind).decode
        msgspec.json.schema(kind)  # a type that only its own hook could read makes a decoder, but has no schema
    except TypeError as error:
        why = str(error).splitlines()[-1]
        raise _wrong(
            function, f"takes {kind!r}, which cannot be read from JSON ({why}); take Record, bytes, or a msgspec type"
        ) from None

    def read(record: Record) -> object:
        try:
            return decode(record.body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise _unfit(record, error) from None

    return read


def _unfit(record: Record, error: Exception) -> FluxaError:
    """Says where the body does not fit, never what is in it."""
    text, _, path = str(error).partition(" - at `$")
    pointer = "/" + path.rstrip("`").replace("[", "/").replace("]", "").replace(".", "/").strip("/") if path else None
    return FluxaError(
        ErrorCode.SCHEMA_VALIDATION, f"The record {record.id} is not what its handler takes: {text}", pointer=pointer
    )


def _as_it_is(record: Record) -> Record:
    return record


def _body(record: Record) -> bytes:
    return record.body


def _name(function: object) -> str:
    name = getattr(function, "__qualname__", None) or type(function).__qualname__
    return f"{getattr(function, '__module__', '')}.{name}".lstrip(".")


def _wrong(function: object, what: str) -> FluxaError:
    return FluxaError(ErrorCode.CONFIGURATION, f"The handler {_name(function)}: {what}.")
