"""Settings of those who watch: which metrics pages there are, what is checked of them, and how often."""

from typing import Annotated

import msgspec
from msgspec import Meta

from fluxa.apps.settings.tables.checks import CheckTuning
from fluxa.apps.settings.tracing import TracingSettings


class MetricsSettings(TracingSettings, frozen=True, kw_only=True):
    """What `fluxa metrics`, `fluxa synthetic` and the dashboard look at."""

    metrics_targets: Annotated[
        str,
        Meta(
            description="Metrics pages of the processes, as URLs with commas between. Empty: those of the stack that "
            "runs on this home, else those of this machine's ports."
        ),
    ] = ""
    metrics_checks: Annotated[
        dict[str, CheckTuning],
        Meta(
            description="From when on routine checks warn and fail, a table each: "
            + ", ".join(CheckTuning.__struct_fields__)
            + ". In a variable: the same as JSON."
        ),
    ] = msgspec.field(default_factory=dict)
    synthetic_every_s: Annotated[
        float,
        Meta(
            ge=0,
            le=86400,
            description="How often a station does the synthetic checks: health, readiness and metrics of each process, "
            "as metrics_targets has them, and an event the whole way. 0: never by itself.",
        ),
    ] = 0.0
    synthetic_checks: Annotated[
        str,
        Meta(
            description="Which synthetic checks it does, with commas between: api_health, api_ready, health, metrics, "
            "canary. Empty: all."
        ),
    ] = ""
    synthetic_timeout_s: Annotated[
        float, Meta(ge=0.1, le=60, description="How long one answer to a synthetic check may take.")
    ] = 5.0
    synthetic_deadline_s: Annotated[
        float, Meta(ge=0.5, le=600, description="Until when the event of a synthetic check must be stored and found.")
    ] = 30.0
    synthetic_fail_after: Annotated[
        int, Meta(ge=1, le=100, description="Failures in a row after which a synthetic check counts as failed.")
    ] = 2
    synthetic_ok_after: Annotated[
        int, Meta(ge=1, le=100, description="Successes in a row after which one that failed counts as well again.")
    ] = 2
    dashboard_period_s: Annotated[
        float,
        Meta(
            ge=0,
            le=300,
            description="How often the station reads all metrics pages for the dashboard. 0: it keeps no history.",
        ),
    ] = 15.0
