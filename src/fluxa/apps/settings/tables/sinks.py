"""The settings of one place that the audit log is sent on to."""

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

_HIDDEN = "****"


class AuditSink(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where entries of the audit log go.

    Attributes:
        kind: file, http or syslog.
        path: the file; under home, if it is not absolute.
        rotate_bytes: a file that has become so large is renamed, with the time behind its name; 0: never.
        url: where batches are posted to; https unless `allow_private`.
        secrets: what they are signed with, `whsec_…`; name two while one is replaced.
        bearer: the credential, sent as `Authorization: Bearer …`.
        allow_private: whether the URL may be on this machine or in a private network.
        host: of the syslog server.
        port: of the syslog server.
        protocol: how it is reached: tcp, tls or udp.
        confirm: over tcp, whether the server must close its side before a batch counts as delivered.
        ca_file: certificates to trust instead of the public ones.
        timeout_s: seconds that a batch may take.
    """

    kind: Literal["file", "http", "syslog"]
    path: str = ""
    rotate_bytes: Annotated[int, Meta(ge=0, le=2**40)] = 0
    url: Annotated[str, Meta(max_length=2048)] = ""
    secrets: tuple[str, ...] = ()
    bearer: str | None = None
    allow_private: bool = False
    host: str = ""
    port: Annotated[int, Meta(ge=1, le=65535)] = 514
    protocol: Literal["tcp", "tls", "udp"] = "tcp"
    confirm: bool = True
    ca_file: str | None = None
    timeout_s: Annotated[float, Meta(gt=0, le=120)] = 10.0

    def __post_init__(self) -> None:
        needed = {"file": ("path",), "http": ("url", "secrets"), "syslog": ("host",)}[self.kind]
        for name in needed:
            if not getattr(self, name):
                raise ValueError(f"a sink of the kind {self.kind} needs {name}")

    @property
    def file(self) -> Path:
        """`path`; one that is not absolute is under home."""
        return Path(self.path).expanduser()

    def shown(self) -> dict[str, Any]:
        """The same for people: what is secret is there, but cannot be read."""
        shown = msgspec.to_builtins(self)
        shown["bearer"] = None if self.bearer is None else _HIDDEN
        shown["secrets"] = [_HIDDEN for _ in self.secrets]
        shown["url"] = self.url.partition("?")[0] + (f"?{_HIDDEN}" if "?" in self.url else "")
        return {name: value for name, value in shown.items() if value not in (None, [], "")}
