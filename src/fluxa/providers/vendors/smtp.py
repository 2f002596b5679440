"""Sends mail over SMTP, through aiosmtplib. Not: what it says, or through which service else."""

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import format_datetime

import aiosmtplib

from fluxa.kernel.clock import Clock
from fluxa.kernel.errors import ErrorCode, FluxaError


@dataclass(frozen=True, slots=True)
class SmtpConfig:
    """How a mail server is reached.

    Attributes:
        host: where it is.
        port: its port.
        security: starttls, tls, or none.
        username: None for no login.
        password: for the login.
        sender: the address that mail comes from.
        timeout_s: seconds that each step may take.
        ca_file: certificates to trust instead of the system's.
    """

    host: str
    port: int
    security: str
    sender: str
    username: str | None = None
    password: str | None = None
    timeout_s: float = 10.0
    ca_file: str | None = None


class SmtpMailer:
    """Sends each mail over a connection of its own: alarms are rare, and a kept connection would be dead by then.

    Raises:
        FluxaError: `Configuration` without a host or a sender, or for a login in the clear.
    """

    def __init__(self, config: SmtpConfig, *, clock: Clock) -> None:
        self._config = _checked(config)
        self._clock = clock

    def use(self, config: SmtpConfig) -> None:
        """Send so from now on; a mail under way ends as it began.

        Raises:
            FluxaError: as making one; then all stays as it is.
        """
        self._config = _checked(config)

    async def send(self, *, to: Sequence[str], subject: str, text: str, message_id: str) -> None:
        """Send a mail; the server has accepted it for all when this returns.

        Raises:
            FluxaError: `ProviderUnauthorized`, `ProviderRejected`, or `ProviderUnavailable` for what may pass.
        """
        mail = EmailMessage()
        # A header takes one line only; what a queue or an error is called may hold more.
        mail["Subject"] = " ".join(subject.split())[:200]
        mail["From"] = self._config.sender
        mail["To"] = ", ".join(to)
        mail["Date"] = format_datetime(self._clock.now())
        # The same at each attempt, so that the reader's program shows a repetition once.
        mail["Message-ID"] = f"<{message_id}@{self._config.sender.rpartition('@')[2] or 'fluxa'}>"
        mail["Auto-Submitted"] = "auto-generated"
        mail.set_content(text)
        try:
            refused = await self._send(mail, to)
        except aiosmtplib.SMTPAuthenticationError as error:
            raise FluxaError(ErrorCode.PROVIDER_UNAUTHORIZED, f"The mail server refused the login: {error}") from error
        except aiosmtplib.SMTPRecipientsRefused as error:
            codes = [one.code for one in error.recipients]
            raise _refused(codes[0] if codes else 0, f"The mail server refused recipients: {error}") from error
        except aiosmtplib.SMTPResponseException as error:
            raise _refused(error.code, f"The mail server said {error.code}: {error.message}") from error
        except (aiosmtplib.SMTPException, OSError) as error:
            raise FluxaError(ErrorCode.PROVIDER_UNAVAILABLE, f"Mail could not be sent: {error}") from error
        if refused:
            code, _ = next(iter(refused.values()))
            raise _refused(code, f"The mail server refused recipients: {', '.join(sorted(refused))}")

    async def _send(self, mail: EmailMessage, to: Sequence[str]) -> dict[str, aiosmtplib.SMTPResponse]:
        """Send it; the recipients that the server refused, if it took others."""
        config = self._config
        refused, _ = await aiosmtplib.send(
            mail,
            sender=config.sender,
            recipients=list(to),
            hostname=config.host,
            port=config.port,
            username=config.username,
            password=config.password or "" if config.username is not None else None,
            timeout=config.timeout_s,
            use_tls=config.security == "tls",
            start_tls=config.security == "starttls",
            tls_context=ssl.create_default_context(cafile=config.ca_file),
        )
        return refused


def _checked(config: SmtpConfig) -> SmtpConfig:
    if not config.host or not config.sender:
        raise FluxaError(ErrorCode.CONFIGURATION, "Mail needs a host and a sender.")
    if config.username is not None and config.security == "none":
        raise FluxaError(ErrorCode.CONFIGURATION, "A password is not sent in the clear: use starttls or tls.")
    return config


def _refused(code: int, detail: str) -> FluxaError:
    """The classes of SMTP (RFC 5321 §4.2.1): 4 may pass, 5 stays."""
    passing = code // 100 != 5  # noqa: PLR2004 - the class of lasting refusals
    return FluxaError(ErrorCode.PROVIDER_UNAVAILABLE if passing else ErrorCode.PROVIDER_REJECTED, detail)
