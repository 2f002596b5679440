"""The settings of one sender of webhooks: how it proves itself, and with which secrets (STATION-auth)."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from fluxa.auth.webhooks import Scheme, SchemeName, open_scheme
from fluxa.auth.webhooks.template import HmacForm
from fluxa.kernel.errors import ErrorCode, FluxaError

_HIDDEN = "****"
_SLACK_S = 60.0
Header = Annotated[str, Meta(pattern=r"^[A-Za-z0-9-]{1,64}\Z")]


class WebhookSource(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a sender's webhooks are checked.

    Attributes:
        scheme: how it signs; None: as the scheme that is called like the sender.
        secrets: those in force, newest first; two while one is replaced. Of Discord, the application's public keys.
        tolerance_s: seconds that a signed time may be away from ours, to either side.
        remember_s: seconds for which a webhook without a signed time is known again; 0: not at all.
        header: for `header`: which one holds the secret.
        signature_header: for `hmac`: where the signature is; the rest of these is for `hmac` too.
        prefix: what stands before it.
        algorithm: of the HMAC.
        encoding: of the signature.
        timestamp_header: where the time is.
        timestamp_unit: of the time: s or ms.
        id_header: where the message id is.
        template: what is signed, with `{id}`, `{timestamp}` and `{body}`.
    """

    secrets: tuple[str, ...]
    scheme: SchemeName | None = None
    tolerance_s: Annotated[float, Meta(ge=1, le=3600)] = 300.0
    remember_s: Annotated[float, Meta(ge=0, le=10 * 365 * 86400)] = 30 * 86400.0
    header: Header = "X-Webhook-Secret"
    signature_header: Header = "X-Signature"
    prefix: Annotated[str, Meta(max_length=32)] = ""
    algorithm: Literal["sha1", "sha256", "sha384", "sha512"] = "sha256"
    encoding: Literal["hex", "base64"] = "hex"
    timestamp_header: Header | None = None
    timestamp_unit: Literal["s", "ms"] = "s"
    id_header: Header | None = None
    template: Annotated[str, Meta(max_length=256)] = "{body}"

    def opened(self, name: str) -> Scheme:
        """The scheme with its secrets.

        Raises:
            FluxaError: `Configuration`, naming the sender and never a secret.
        """
        chosen = self.scheme
        if chosen is None:
            try:
                chosen = SchemeName(name)
            except ValueError:
                raise FluxaError(
                    ErrorCode.CONFIGURATION,
                    f"webhook_secrets.{name} needs a scheme: one of {', '.join(SchemeName)}.",
                ) from None
        form = HmacForm(
            signature_header=self.signature_header,
            prefix=self.prefix,
            algorithm=self.algorithm,
            encoding=self.encoding,
            timestamp_header=self.timestamp_header,
            timestamp_unit=self.timestamp_unit,
            id_header=self.id_header,
            template=self.template,
        )
        try:
            return open_scheme(chosen, self.secrets, tolerance_s=self.tolerance_s, header=self.header, form=form)
        except FluxaError as error:
            raise FluxaError(ErrorCode.CONFIGURATION, f"webhook_secrets.{name}: {error.detail}") from None

    @property
    def window_s(self) -> float:
        """Seconds for which a webhook with a signed time could be accepted again."""
        # One from the far end of the tolerance can be for two of them; the rest is for clocks that differ.
        return 2 * self.tolerance_s + _SLACK_S

    def shown(self) -> dict[str, Any]:
        """The same for people; secrets are there, but cannot be read."""
        shown: dict[str, Any] = msgspec.to_builtins(self)
        return {name: value for name, value in shown.items() if value is not None} | {
            "secrets": [_HIDDEN for _ in self.secrets]
        }


def check_webhooks(sources: Mapping[str, WebhookSource]) -> None:
    """Refuse secrets that cannot be used when a process starts, and not when the first webhook comes.

    Raises:
        FluxaError: `Configuration`.
    """
    for name, source in sources.items():
        source.opened(name)
