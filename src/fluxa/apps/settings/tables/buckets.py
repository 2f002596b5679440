"""What the settings say about one bucket of requests, over what the code says (STATION-buckets)."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from fluxa.web.limits import DEFAULTS, BucketRule, OnOutage
from fluxa.web.routes import Bucket


class BucketTuning(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Each part that is given takes the place of the bucket's own.

    Attributes:
        limit: requests of one client in a window; 0: as many as come.
        window_s: seconds of the window.
        on_outage: open (each process counts for itself) or closed (503), while Valkey does not answer.
    """

    limit: Annotated[int, Meta(ge=0, le=1_000_000)] | None = None
    window_s: Annotated[int, Meta(ge=1, le=86400)] | None = None
    on_outage: OnOutage | None = None

    def shown(self) -> dict[str, Any]:
        """The same for people; nothing of it is secret."""
        shown: dict[str, Any] = msgspec.to_builtins(self)
        return shown

    def over(self, rule: BucketRule) -> BucketRule:
        """The rule with what is given here in place of its own."""
        return BucketRule(
            rule.limit if self.limit is None else self.limit,
            self.window_s or rule.window_s,
            self.on_outage or rule.on_outage,
        )


def rules_of(tunings: dict[Bucket, BucketTuning]) -> dict[Bucket, BucketRule]:
    """The rules of the buckets that are tuned."""
    return {bucket: tuning.over(DEFAULTS[bucket]) for bucket, tuning in tunings.items()}
