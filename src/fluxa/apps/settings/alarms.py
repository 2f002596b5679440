"""What the settings say about one alarm, over what the code says."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from fluxa.operations.alarms.rule import Severity

_Seconds = Annotated[float, Meta(ge=0, le=86400)]


class AlarmTuning(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Each part that is given takes the place of the alarm's own.

    Attributes:
        enabled: whether it is looked at.
        threshold: the value beyond which it is bad, in its measure's unit.
        clear_at: the value that is good again; it goes along with a threshold that is given alone.
        for_s: seconds for which it must be bad before it fires.
        clear_after_s: seconds for which it must be good before it is resolved.
        window_s: seconds that rates are taken over.
        count_min: how much must have happened in the window for a share of it to mean anything.
        unknown_after_s: seconds for which it may be unknown before that is told.
        severity: how soon somebody must look.
    """

    enabled: bool | None = None
    threshold: Annotated[float, Meta(ge=0)] | None = None
    clear_at: Annotated[float, Meta(ge=0)] | None = None
    for_s: _Seconds | None = None
    clear_after_s: _Seconds | None = None
    window_s: Annotated[float, Meta(ge=5, le=3600)] | None = None
    count_min: Annotated[float, Meta(ge=0)] | None = None
    unknown_after_s: _Seconds | None = None
    severity: Severity | None = None

    def shown(self) -> dict[str, Any]:
        """The same for people; nothing of it is secret."""
        shown: dict[str, Any] = msgspec.to_builtins(self)
        return shown
