"""The port for records that are delivered to an endpoint elsewhere (QUEUE-13). Not: when, or from which queue."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Parcel:
    """One record on its way out.

    Attributes:
        id: names the record, the same at each attempt: by it the receiver knows a repetition.
        body: the bytes as they were sent to us.
        content_type: what the bytes are.
        correlation_id: the story it belongs to.
        attempt: which attempt this is; 1 is the first.
    """

    id: str
    body: bytes
    content_type: str
    correlation_id: str = ""
    attempt: int = 1


class HttpEndpoint(Protocol):
    """An endpoint that takes records."""

    async def deliver(self, parcel: Parcel) -> None:
        """Deliver a record; it has arrived when this returns.

        Raises:
            NotSentError: nothing was tried; the pace, the budget or the breaker kept it here.
            OutcomeUnknownError: it was sent and no answer came.
            FluxaError: `ProviderThrottled`, `ProviderUnavailable`, `ProviderUnauthorized` or `ProviderRejected`;
                `MalformedMessage` for a record that makes no request.
        """
        ...
