"""`fluxa webhook`: sign a body as a provider would, and say why a webhook is refused. No network."""

import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from fluxa.apps.settings.tables.webhooks import WebhookSource
from fluxa.auth.webhooks import Message, Scheme, SchemeName, WebhookRefusedError
from fluxa.cli import output
from fluxa.cli.errors import CommandError, stderr
from fluxa.kernel.clock import SystemClock
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.kernel.ids import uuid7

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Sign webhooks, and check them by hand.")

Name = Annotated[str, typer.Argument(help="The sender: a table of webhook_secrets, or the name of a scheme.")]
Body = Annotated[Path, typer.Option("--file", help="The body, byte for byte; - reads standard input.")]
SecretFile = Annotated[
    Path | None, typer.Option(help="A file with the secret, instead of webhook_secrets; one secret a line.")
]
At = Annotated[float | None, typer.Option(help="The time, in Unix seconds; now if not given.", metavar="SECONDS")]


@app.command()
def sign(
    context: typer.Context,
    name: Name,
    body: Body = Path("-"),
    secret_file: SecretFile = None,
    message_id: Annotated[str | None, typer.Option("--id", help="The message's id; a new one if not given.")] = None,
    at: At = None,
    as_json: output.AsJson = False,
) -> None:
    """Print the headers with which the sender would send a body, one a line, as curl -H @FILE reads them."""
    scheme = _scheme(context, name, secret_file)
    headers = scheme.sign(_read(body), message_id=message_id or f"msg_{uuid7()}", now_s=_now_s(at))
    if as_json:
        output.print_json(dict(headers))
        return
    for header, value in headers.items():
        print(f"{header}: {value}")


@app.command()
def verify(
    context: typer.Context,
    name: Name,
    body: Body = Path("-"),
    headers: Annotated[
        list[str] | None, typer.Option("--header", "-H", help="A header as it came; repeatable.", metavar="NAME: VALUE")
    ] = None,
    secret_file: SecretFile = None,
    at: At = None,
    as_json: output.AsJson = False,
) -> None:
    """Check a webhook, and say why it is refused if it is; the sender is never told the reason."""
    scheme = _scheme(context, name, secret_file)
    message = Message([_header(text) for text in headers or []], _read(body))
    try:
        found = scheme.verify(message, now_s=_now_s(at))
    except WebhookRefusedError as error:
        raise CommandError(
            ErrorCode.UNAUTHENTICATED,
            f"Refused: {error.reason}.",
            action="Compare the secret, the clock, and the body byte for byte: a body that was parsed is another one.",
        ) from None
    if as_json:
        output.print_json(found)
        return
    stderr().print(f"Verified: message {found.message_id}, secret {found.place + 1}.", markup=False)


def _scheme(context: typer.Context, name: str, secret_file: Path | None) -> Scheme:
    settings = output.effective(context).settings
    source = settings.webhook_secrets.get(name)
    if secret_file is not None:
        secrets = tuple(line.strip() for line in _text(secret_file).splitlines() if line.strip())
        return msgspec.structs.replace(source or WebhookSource(secrets=()), secrets=secrets).opened(name)
    if source is None:
        known = ", ".join(settings.webhook_secrets) or "none"
        raise CommandError(
            ErrorCode.NOT_FOUND,
            f"webhook_secrets has no sender {name}; it has: {known}.",
            action=f"Name one of these, or one of {', '.join(SchemeName)} with --secret-file.",
        )
    return source.opened(name)


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        raise FluxaError(ErrorCode.CONFIGURATION, f"The file {file} cannot be read as text.") from None


def _read(file: Path) -> bytes:
    if str(file) == "-":
        return sys.stdin.buffer.read()
    try:
        return file.read_bytes()
    except OSError as error:
        raise FluxaError(ErrorCode.INVALID_REQUEST, f"The file {file} cannot be read: {error.strerror}.") from None


def _header(text: str) -> tuple[bytes, bytes]:
    name, mark, value = text.partition(":")
    if not mark:
        raise typer.BadParameter(f"{text!r} is not NAME: VALUE", param_hint="--header")
    return name.strip().lower().encode(), value.strip().encode()


def _now_s(at: float | None) -> float:
    return SystemClock().now().timestamp() if at is None else at
