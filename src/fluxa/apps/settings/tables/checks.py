"""What the settings say about one routine check, over what the code says."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta


class CheckTuning(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Each part that is given takes the place of the check's own.

    Attributes:
        warning: the value beyond which it warns, in its unit: above it, for `cache_hit_rate` below.
        failed: the value beyond which it fails.
    """

    warning: Annotated[float, Meta(ge=0)] | None = None
    failed: Annotated[float, Meta(ge=0)] | None = None

    def shown(self) -> dict[str, Any]:
        """The same for people; nothing of it is secret."""
        shown: dict[str, Any] = msgspec.to_builtins(self)
        return shown
