"""Puts work into queues: payloads become records, records become envelopes. Not: events, which come by the door."""

from collections.abc import Mapping, Sequence

from fluxa.kernel import json
from fluxa.kernel.clock import Clock
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.kernel.ids import new_correlation_id, uuid7
from fluxa.postgres.transaction import Transaction
from fluxa.queue.backend import Envelope, QueueBackend
from fluxa.queue.record import Record
from fluxa.queue.registry import Registry
from fluxa.telemetry import trace
from fluxa.telemetry.catalogue.spans import SpanName
from fluxa.telemetry.trace import TRACEPARENT

_ENVELOPE_SHARE = 2
"""An envelope's bodies take at most this part of the engine's limit: the rest is for what is around them."""


class Producer:
    """Sends work to the queues of a registry."""

    def __init__(self, backend: QueueBackend, registry: Registry, clock: Clock) -> None:
        self._backend = backend
        self._registry = registry
        self._clock = clock

    async def send(
        self,
        queue: str,
        payloads: Sequence[object],
        *,
        key: str | None = None,
        delay_s: float = 0.0,
        correlation_id: str = "",
        ids: Sequence[str] | None = None,
        headers: Mapping[str, str] | None = None,
        tx: Transaction | None = None,
    ) -> list[str]:
        """Store work durably; all of it or none.

        Args:
            queue: a queue of the registry, which exists in the engine.
            payloads: bytes as they are; anything else as JSON.
            key: what the records are kept in order or apart by, where the queue does that.
            delay_s: seconds before they can be worked on.
            correlation_id: the story they belong to; a new one if empty.
            ids: names for the records, as many as payloads; ids made by time if not given.
            headers: small facts for the handler.
            tx: the caller's transaction: the work is there if that commits, for engines that are transactional.

        Returns:
            The records' ids, in order.

        Raises:
            FluxaError: `NotFound` for an unknown queue, `InvalidRequest` for ids that do not fit or a payload that is
                no JSON, `Configuration` if the engine cannot be part of a transaction, `DBConnectionError`.
        """
        self._registry.get(queue)
        able = self._backend.capabilities_of(queue)
        if tx is not None and not able.transactional_send:
            raise FluxaError(
                ErrorCode.CONFIGURATION, f"The engine of {queue} cannot be part of a transaction: send without tx."
            )
        if ids is not None and len(ids) != len(payloads):
            raise FluxaError(ErrorCode.INVALID_REQUEST, f"{len(ids)} ids were given for {len(payloads)} payloads.")
        with trace.span(SpanName.SEND, queue):
            return await self._send(queue, payloads, key, delay_s, correlation_id, ids, headers, tx)

    async def _send(  # noqa: PLR0917 - what `send` was given, in its order
        self,
        queue: str,
        payloads: Sequence[object],
        key: str | None,
        delay_s: float,
        correlation_id: str,
        ids: Sequence[str] | None,
        headers: Mapping[str, str] | None,
        tx: Transaction | None,
    ) -> list[str]:
        now, story = self._clock.now(), correlation_id or new_correlation_id()
        place = trace.traceparent()
        carried = {**(headers or {}), **({TRACEPARENT: place} if place is not None else {})}
        records = [
            Record(
                id=ids[place] if ids is not None else uuid7(),
                body=_body(payload),
                created_at=now,
                correlation_id=story,
                key=key,
                headers=carried,
            )
            for place, payload in enumerate(payloads)
        ]
        if records:
            bytes_max = self._backend.capabilities_of(queue).max_message_bytes // _ENVELOPE_SHARE
            records_max = self._registry.get(queue).envelope_records
            envelopes = packed(records, records_max=records_max, bytes_max=bytes_max)
            await self._backend.send(queue, envelopes, delay_s=delay_s, tx=tx)
        return [record.id for record in records]


def packed(records: Sequence[Record], *, records_max: int, bytes_max: int) -> list[Envelope]:
    """Records in envelopes of at most so many records and so many bytes of bodies; a larger one is alone."""
    envelopes: list[Envelope] = []
    group: list[Record] = []
    size = 0
    for record in records:
        if group and (len(group) >= records_max or size + len(record.body) > bytes_max):
            envelopes.append(Envelope(tuple(group)))
            group, size = [], 0
        group.append(record)
        size += len(record.body)
    if group:
        envelopes.append(Envelope(tuple(group)))
    return envelopes


def _body(payload: object) -> bytes:
    if isinstance(payload, bytes | bytearray | memoryview):
        return bytes(payload)
    try:
        return json.encode(payload)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise FluxaError(ErrorCode.INVALID_REQUEST, f"The payload cannot be written as JSON: {error}.") from None
