"""Settings of those who watch: which metrics pages there are, and from when on routine checks are not well."""

from typing import Annotated

import msgspec
from msgspec import Meta

from fluxa.apps.settings.tables.checks import CheckTuning
from fluxa.apps.settings.tracing import TracingSettings


class MetricsSettings(TracingSettings, frozen=True, kw_only=True):
    """What `fluxa metrics` looks at. The processes themselves need none of it."""

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
