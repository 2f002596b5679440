"""Settings of the audit log and of what watches over it and over tenants. They are part of `Settings`."""

from typing import Annotated

import msgspec
from msgspec import Meta

from fluxa.apps.settings.identity import IdentitySettings
from fluxa.apps.settings.tables.sinks import AuditSink


class IntegritySettings(IdentitySettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How often it is looked whether all is as it was written, and where that is kept besides."""

    audit_anchor_url: Annotated[
        str | None,
        Meta(
            description="Where anchors of the audit log are kept: s3://bucket/prefix or file:///folder; best where "
            "nobody who can change the database can delete. None: a folder under home."
        ),
    ] = None
    audit_anchor_period_s: Annotated[
        float, Meta(ge=1, le=86400, description="How often the audit log is anchored, if it has grown.")
    ] = 3600.0

    audit_verify_period_s: Annotated[
        float, Meta(ge=1, le=86400, description="How often a station verifies what is new in the audit log.")
    ] = 300.0
    audit_verify_whole_s: Annotated[
        float,
        Meta(
            ge=1,
            le=31_536_000,
            description="How often it verifies the whole log, with all anchors; hourly at least while something is "
            "wrong.",
        ),
    ] = 86400.0
    tenants_check_period_s: Annotated[
        float, Meta(ge=1, le=86400, description="How often a station checks that tenants are kept apart.")
    ] = 300.0
    audit_sinks: Annotated[
        dict[Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}\Z")], AuditSink],
        Meta(
            description="Where the audit log is sent on to, a table each: "
            + ", ".join(AuditSink.__struct_fields__)
            + ". In a variable: the same as JSON.",
            extra={"secret": True},
        ),
    ] = msgspec.field(default_factory=dict)
