"""The door: a request's events through decoding, schema, claim check and group commit, to one answer.

Reads nothing from the network (routes) and stores nothing itself (collector).
"""

import asyncio
import datetime as dt
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from fluxa.events import carriage
from fluxa.events.ingest.claim_check import ClaimCheck
from fluxa.events.ingest.collector import Collector
from fluxa.events.ingest.decode import Accepted, Decoded, Limits, at, read_binary, read_many, read_one, split
from fluxa.events.ingest.head import Form, Head, check_digest
from fluxa.events.ingest.schemas import Result
from fluxa.events.ingest.spans import place_of
from fluxa.events.schema_check import SchemaCheck
from fluxa.kernel.clock import Clock
from fluxa.kernel.errors import FluxaError
from fluxa.kernel.ids import CorrelationId, Tenant
from fluxa.queue.record import Record
from fluxa.telemetry import trace
from fluxa.telemetry.catalogue import Hook, Stage, StageFinished, Status
from fluxa.telemetry.catalogue.spans import SpanName

_SLICE = 200
"""Events decoded before other requests get a turn: some two milliseconds."""


@dataclass(frozen=True, slots=True)
class Sender:
    """On whose behalf a request is taken.

    Attributes:
        tenant: whose the events are.
        correlation_id: the request's, for events that name no trace of their own.
    """

    tenant: Tenant
    correlation_id: CorrelationId


class Door:
    """Takes events in; what it answers as accepted is durable.

    Args:
        collector: stores.
        claim_check: puts large data away.
        schema_check: knows the schemas of types.
        clock: the time against which events are checked.
        hook: hears of the stages validate and enqueue.
        limits: what is let in.
    """

    def __init__(
        self,
        *,
        collector: Collector,
        claim_check: ClaimCheck,
        schema_check: SchemaCheck,
        clock: Clock,
        hook: Hook,
        limits: Limits | None = None,
    ) -> None:
        self._collector = collector
        self._claim_check = claim_check
        self._schema_check = schema_check
        self._clock = clock
        self._hook = hook
        self._limits = limits or Limits()

    async def take(self, head: Head, body: bytes, sender: Sender) -> list[Result | FluxaError]:
        """Take the events of a request; one result or refusal for each, in order.

        Raises:
            FluxaError: when the request as a whole is refused, or its one event is; nothing of it is
                promised then.
        """
        check_digest(head.content_digest, body)
        if head.form is Form.STRUCTURED or head.form is Form.BINARY:
            return [await self._take_one(head, body, sender)]
        return await self._take_many(head, body, sender)

    async def _take_one(self, head: Head, body: bytes, sender: Sender) -> Result:
        began, now = self._clock.monotonic(), self._clock.now()
        event_id = ""
        try:
            read = self._read_binary if head.form is Form.BINARY else self._read_structured
            accepted = read(head, body, sender, now)
            event_id = accepted.event.id
            await self._schema_check.check(accepted.event, accepted.event.data)
        except FluxaError as error:
            self._tell_failure(Stage.VALIDATE, 1, began, error, sender.correlation_id, event_id)
            raise
        event = accepted.event
        told = self._clock.monotonic()
        self._hook(
            StageFinished(
                Stage.VALIDATE, Status.SUCCESS, 1, told - began, correlation_id=event.correlation_id, event_id=event.id
            )
        )
        try:
            with trace.span(SpanName.SEND, carriage.QUEUE):
                if self._claim_check.is_large(event):
                    records = await self._records([accepted], now)
                else:
                    records = [carriage.to_record(event, text=accepted.text, received_at=now, place=place_of(event))]
                refused = await self._collector.add(records)
                if refused:
                    raise refused[0]
        except FluxaError as error:
            self._tell_failure(Stage.ENQUEUE, 1, told, error, event.correlation_id, event.id)
            raise
        self._hook(
            StageFinished(
                Stage.ENQUEUE,
                Status.SUCCESS,
                1,
                self._clock.monotonic() - told,
                correlation_id=event.correlation_id,
                event_id=event.id,
            )
        )
        return Result("accepted", event.id, event.source)

    def _read_structured(self, _head: Head, body: bytes, sender: Sender, now: dt.datetime) -> Accepted:
        return read_one(body, tenant=sender.tenant, correlation_id=sender.correlation_id, now=now, limits=self._limits)

    def _read_binary(self, head: Head, body: bytes, sender: Sender, now: dt.datetime) -> Accepted:
        return read_binary(
            head, body, tenant=sender.tenant, correlation_id=sender.correlation_id, now=now, limits=self._limits
        )

    async def _take_many(self, head: Head, body: bytes, sender: Sender) -> list[Result | FluxaError]:
        began, now = self._clock.monotonic(), self._clock.now()
        try:
            decoded = await self._decode(head.form, body, sender, now)
        except FluxaError as error:
            self._tell_failure(Stage.VALIDATE, 1, began, error, sender.correlation_id)
            raise
        told = self._clock.monotonic()
        self._tell_validated(decoded, told - began, sender.correlation_id)
        accepted = [item for item in decoded if isinstance(item, Accepted)]
        try:
            with trace.span(SpanName.SEND, carriage.QUEUE):
                refused = await self._collector.add(await self._records(accepted, now)) if accepted else {}
        except FluxaError as error:
            self._tell_failure(Stage.ENQUEUE, len(accepted), told, error, sender.correlation_id)
            raise
        if accepted:
            self._hook(
                StageFinished(
                    Stage.ENQUEUE,
                    Status.SUCCESS,
                    len(accepted) - len(refused),
                    self._clock.monotonic() - told,
                    correlation_id=sender.correlation_id,
                )
            )
        results: list[Result | FluxaError] = []
        place = 0
        for index, item in enumerate(decoded):
            if isinstance(item, FluxaError):
                results.append(item)
                continue
            failure = refused.get(place)
            place += 1
            results.append(
                Result("accepted", item.event.id, item.event.source) if failure is None else at(index, failure)
            )
        return results

    async def _decode(self, form: Form, body: bytes, sender: Sender, now: dt.datetime) -> list[Decoded]:
        texts = split(form, body, self._limits)
        decoded: list[Decoded] = []
        for first in range(0, len(texts), _SLICE):
            if first:
                await asyncio.sleep(0)
            part = read_many(
                texts[first : first + _SLICE],
                first=first,
                tenant=sender.tenant,
                correlation_id=sender.correlation_id,
                now=now,
                limits=self._limits,
            )
            for place, item in enumerate(part):
                if isinstance(item, Accepted):
                    try:
                        await self._schema_check.check(item.event, item.event.data)
                    except FluxaError as error:
                        part[place] = at(first + place, error)
            decoded += part
        return decoded

    async def _records(self, accepted: Sequence[Accepted], now: dt.datetime) -> list[Record]:
        limit = self._claim_check.inline_max_bytes
        large = [
            index
            for index, item in enumerate(accepted)
            if len(item.text) > limit and self._claim_check.is_large(item.event)
        ]
        put_away = await self._claim_check.put_away([accepted[index] for index in large], now) if large else []
        elsewhere = dict(zip(large, put_away, strict=True))
        places = [place_of(item.event) for item in accepted]
        records = [
            carriage.to_record(item.event, text=item.text, received_at=now, place=place)
            for item, place in zip(accepted, places, strict=True)
        ]
        for index, (light, key) in elsewhere.items():
            records[index] = carriage.to_record(
                light.event, text=light.text, received_at=now, data_key=key, place=places[index]
            )
        return records

    def _tell_validated(self, decoded: Sequence[Decoded], latency_s: float, correlation_id: CorrelationId) -> None:
        refused = [item for item in decoded if isinstance(item, FluxaError)]
        good = len(decoded) - len(refused)
        if good:
            self._hook(StageFinished(Stage.VALIDATE, Status.SUCCESS, good, latency_s, correlation_id=correlation_id))
        first = {error.code: error for error in reversed(refused)}
        for code, count in Counter(error.code for error in refused).items():
            self._hook(
                StageFinished(
                    Stage.VALIDATE,
                    Status.FAILURE,
                    count,
                    latency_s,
                    error_code=code,
                    correlation_id=correlation_id,
                    detail=first[code].detail,
                )
            )

    def _tell_failure(
        self,
        stage: Stage,
        events: int,
        began: float,
        error: FluxaError,
        correlation_id: CorrelationId,
        event_id: str = "",
    ) -> None:
        self._hook(
            StageFinished(
                stage,
                Status.FAILURE,
                events,
                self._clock.monotonic() - began,
                error_code=error.code,
                correlation_id=correlation_id,
                event_id=event_id,
                detail=error.detail,
            )
        )
