"""Which synthetic checks there are, and what one of them finds. Not: how it looks (probe, canary)."""

import enum
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from fluxa.kernel.errors import ErrorCode, FluxaError


class CheckName(enum.StrEnum):
    """A check; labels metrics."""

    API_HEALTH = "api_health"
    """A process answers at `/api/health`."""
    API_READY = "api_ready"
    """It says at `/api/ready` that it can work."""
    HEALTH = "health"
    """It answers at `/health`."""
    METRICS = "metrics"
    """It shows metrics at `/metrics`."""
    CANARY = "canary"
    """An event that is sent is stored, and can be read."""


PAGES: Final[Mapping[CheckName, str]] = {
    CheckName.API_HEALTH: "/api/health",
    CheckName.API_READY: "/api/ready",
    CheckName.HEALTH: "/health",
    CheckName.METRICS: "/metrics",
}
"""What is asked of each process."""
PIPELINE: Final = "pipeline"
"""The target of the canary: all processes together."""


class Result(enum.StrEnum):
    """What a check finds."""

    OK = "ok"
    FAILED = "failed"
    UNKNOWN = "UNKNOWN"
    """It could not be found out, which is neither good nor bad."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a check found at a target.

    Attributes:
        check: which.
        target: host and port of a process, or `pipeline`.
        result: how it came out.
        duration_s: how long it took; None if it was not done.
        detail: why it is not well.
        legs: of a canary that arrived: seconds to be accepted, stored, read.
    """

    check: CheckName
    target: str
    result: Result
    duration_s: float | None = None
    detail: str = ""
    legs: Mapping[str, float] = field(default_factory=dict)


def named(names: Collection[str]) -> tuple[CheckName, ...]:
    """The checks of these names; all, if there are none.

    Raises:
        FluxaError: `Configuration` for a check that there is not.
    """
    for name in names:
        if name not in list(CheckName):
            raise FluxaError(
                ErrorCode.CONFIGURATION, f"There is no synthetic check {name}. There are: {', '.join(CheckName)}."
            )
    return tuple(check for check in CheckName if not names or check in names)
