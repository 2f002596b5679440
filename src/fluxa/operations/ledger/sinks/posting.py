"""A sink that is an HTTP endpoint: signed batches, a line of JSON an entry. Not: the connection (fluxa.providers)."""

import hashlib
from collections.abc import Sequence

from fluxa.operations.ledger.chain import Entry
from fluxa.operations.ledger.export import line_of
from fluxa.providers.http_endpoint import HttpEndpoint, Parcel


class HttpSink:
    """A `Sink`. A batch that is repeated as it was has the same id, in `webhook-id` and `idempotency-key`."""

    def __init__(self, endpoint: HttpEndpoint) -> None:
        self._endpoint = endpoint

    async def deliver(self, entries: Sequence[Entry]) -> None:
        """As `Sink.deliver`; raises as `HttpEndpoint.deliver` does."""
        body = b"".join(line_of(entry) + b"\n" for entry in entries)
        digest = hashlib.sha256(body).hexdigest()
        await self._endpoint.deliver(Parcel(id=f"audit_{digest}", body=body, content_type="application/x-ndjson"))
