"""The settings of one external queue: where its records go, and with what credentials (QUEUE-13)."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

_HIDDEN = "****"


class ExternalQueue(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the endpoint of an external queue is reached.

    Attributes:
        url: where records are posted to; https unless `allow_private`.
        bearer: the credential, sent as `Authorization: Bearer …`.
        secrets: what deliveries are signed with, `whsec_…`; name two while one is replaced.
        timeout_s: seconds that one delivery may take.
        rate_per_s: deliveries a second, for each worker process; None: as they come.
        burst: deliveries that may come at once after a pause.
        dedupe_s: seconds for which the endpoint knows an id again; 0 if it does not look at ids.
        allow_private: whether the endpoint may be on this machine or in a private network.
        ca_file: certificates to trust instead of the public ones.
    """

    url: Annotated[str, Meta(min_length=1, max_length=2048)]
    bearer: str | None = None
    secrets: tuple[str, ...] = ()
    timeout_s: Annotated[float, Meta(gt=0, le=600)] = 30.0
    rate_per_s: Annotated[float, Meta(gt=0, le=100_000)] | None = None
    burst: Annotated[int, Meta(ge=1, le=10_000)] = 1
    dedupe_s: Annotated[float, Meta(ge=0, le=10 * 365 * 86400)] = 86400.0
    allow_private: bool = False
    ca_file: str | None = None

    def shown(self) -> dict[str, Any]:
        """The same for people: what is secret is there, but cannot be read."""
        shown = msgspec.to_builtins(self)
        shown["bearer"] = None if self.bearer is None else _HIDDEN
        shown["secrets"] = [_HIDDEN for _ in self.secrets]
        shown["url"] = self.url.partition("?")[0] + (f"?{_HIDDEN}" if "?" in self.url else "")
        return {name: value for name, value in shown.items() if value not in (None, [])}
