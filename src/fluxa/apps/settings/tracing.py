"""Settings of traces, named and meant as OpenTelemetry's own variables. Not: where values come from (sources)."""

from typing import Annotated

import msgspec
from msgspec import Meta

_SECRET = {"secret": True}
STANDARD = "otel_"
"""What these settings begin with; their names in capitals are read from the environment without a prefix as well."""


class TracingSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where traces go. All of it is without effect until `otel_enabled` is set."""

    otel_enabled: Annotated[bool, Meta(description="Send traces by OTLP over HTTP.")] = False
    otel_sdk_disabled: Annotated[bool, Meta(description="Send none, whatever otel_enabled says.")] = False
    otel_exporter_otlp_endpoint: Annotated[
        str, Meta(description="The collector's base URL; traces go to v1/traces below it.")
    ] = "http://localhost:4318"
    otel_exporter_otlp_traces_endpoint: Annotated[
        str | None, Meta(description="The collector's whole URL for traces, where it is another.")
    ] = None
    otel_exporter_otlp_headers: Annotated[
        str | None,
        Meta(description="Headers for the collector, as name=value with commas between.", extra=_SECRET),
    ] = None
    otel_exporter_otlp_timeout: Annotated[
        float, Meta(gt=0, le=300, description="Seconds that one export may take, repeats included.")
    ] = 10.0
    otel_service_name: Annotated[
        str | None, Meta(description="What traces call the service. None: fluxa-ingest, fluxa-processor and so on.")
    ] = None
    otel_resource_attributes: Annotated[
        str, Meta(description="Further facts about the process in its traces, as name=value with commas between.")
    ] = ""
    otel_traces_sampler: Annotated[
        str,
        Meta(
            description="Which traces are kept: always_on, always_off, traceidratio, parentbased_always_on, "
            "parentbased_always_off, parentbased_traceidratio."
        ),
    ] = "parentbased_always_on"
    otel_traces_sampler_arg: Annotated[
        str, Meta(description="For the samplers by ratio: the share that is kept, from 0 to 1.")
    ] = "1.0"

    @property
    def is_traced(self) -> bool:
        """Whether traces are to be sent."""
        return self.otel_enabled and not self.otel_sdk_disabled

    @property
    def traces_url(self) -> str:
        """Where traces go."""
        return self.otel_exporter_otlp_traces_endpoint or f"{self.otel_exporter_otlp_endpoint.rstrip('/')}/v1/traces"


NAMES: tuple[str, ...] = TracingSettings.__struct_fields__
