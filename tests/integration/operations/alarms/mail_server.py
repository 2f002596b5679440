"""A mail server on loopback: as much SMTP (RFC 5321, 3207, 4954) as a client needs; it keeps what it got."""

import asyncio
import base64
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage


@dataclass(slots=True)
class MailServer:
    """A server and what it has received.

    Attributes:
        port: where it listens.
        tls: what it shows after STARTTLS; None: it does not offer that.
        login: name and password that it wants; None: nobody logs in.
        answers: what it says to the next mails instead of taking them, in order.
        mails: what it took.
        commands: the verbs it heard.
    """

    port: int = 0
    tls: ssl.SSLContext | None = None
    login: tuple[str, str] | None = None
    answers: list[str] = field(default_factory=list)
    mails: list[EmailMessage] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        secured, known = self.tls is None, self.login is None
        writer.write(b"220 mail.example ESMTP\r\n")
        while line := (await reader.readline()).decode().rstrip("\r\n"):
            verb, _, rest = line.partition(" ")
            self.commands.append(verb.upper())
            match verb.upper():
                case "EHLO":
                    offers = [] if secured else ["STARTTLS"]
                    offers += ["AUTH PLAIN"] if self.login and secured else []
                    lines = ["mail.example", *offers]
                    said = "".join(f"250{' ' if one is lines[-1] else '-'}{one}\r\n" for one in lines)
                    writer.write(said.encode())
                case "STARTTLS" if self.tls is not None:
                    writer.write(b"220 go on\r\n")
                    await writer.drain()
                    await writer.start_tls(self.tls)
                    secured = True
                case "AUTH" if self.login is not None:
                    expected = base64.b64encode("\0{}\0{}".format(*self.login).encode()).decode()
                    known = rest == f"PLAIN {expected}"
                    writer.write(b"235 welcome\r\n" if known else b"535 no\r\n")
                case "MAIL" if not (secured and known):
                    writer.write(b"530 not like this\r\n")
                case "MAIL" if self.answers:
                    writer.write(f"{self.answers.pop(0)}\r\n".encode())
                case "DATA":
                    writer.write(b"354 go on\r\n")
                    await writer.drain()
                    content = (await reader.readuntil(b"\r\n.\r\n")).removesuffix(b".\r\n").replace(b"\r\n..", b"\r\n.")
                    self.mails.append(message_from_bytes(content, policy=policy.default))
                    writer.write(b"250 taken\r\n")
                case "QUIT":
                    writer.write(b"221 bye\r\n")
                    await writer.drain()
                    break
                case _:
                    writer.write(b"250 ok\r\n")
            await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def mail_server(
    *, tls: ssl.SSLContext | None = None, login: tuple[str, str] | None = None
) -> AsyncIterator[MailServer]:
    """A server on a free port of loopback."""
    made = MailServer(tls=tls, login=login)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            await made.serve(reader, writer)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
