"""What the settings say about one alarm, over what the code says, and about who is told."""

from typing import Annotated, Any, Literal

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


class AlarmTarget(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Somebody who is told of alarms, or a watchdog that is told that alarms are looked at.

    Attributes:
        kind: webhook, discord, mail, or heartbeat.
        url: where to, for all but mail; https unless `allow_private`.
        secrets: what webhooks are signed with, `whsec_…`; name two while one is replaced.
        bearer: the credential, sent as `Authorization: Bearer …`.
        timeout_s: seconds that one delivery may take.
        allow_private: whether it may be on this machine or in a private network.
        ca_file: certificates to trust instead of the public ones.
        least: the least severity that is told.
        host: of the mail server.
        port: of the mail server.
        security: how the mail server is reached: starttls, tls, or none.
        username: for the mail server; None for no login.
        password: for the mail server.
        sender: the address that mail comes from.
        to: the addresses that mail goes to.
    """

    kind: Literal["webhook", "discord", "mail", "heartbeat"]
    url: Annotated[str, Meta(max_length=2048)] = ""
    secrets: tuple[str, ...] = ()
    bearer: str | None = None
    timeout_s: Annotated[float, Meta(gt=0, le=120)] = 10.0
    allow_private: bool = False
    ca_file: str | None = None
    least: Severity = Severity.WARNING
    host: str = ""
    port: Annotated[int, Meta(ge=1, le=65535)] = 587
    security: Literal["starttls", "tls", "none"] = "starttls"
    username: str | None = None
    password: str | None = None
    sender: str = ""
    to: tuple[str, ...] = ()

    def shown(self) -> dict[str, Any]:
        """The same for people: what is secret is there, but cannot be read; a webhook's URL is a secret."""
        shown = msgspec.to_builtins(self)
        for name in ("bearer", "password", "url"):
            shown[name] = "****" if shown[name] else None
        shown["secrets"] = ["****" for _ in self.secrets]
        return {name: value for name, value in shown.items() if value not in (None, [], "")}
