"""The audit log sent on to real files, HTTP servers and syslog servers: in order, nothing missed (SEC-3)."""

import asyncio
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from svix.webhooks import Webhook

from fluxa.auth.audit import Act
from fluxa.kernel.clock import SystemClock
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.kernel.ids import Tenant
from fluxa.operations.ledger import Ledger
from fluxa.operations.ledger.sinks import Sink
from fluxa.operations.ledger.sinks.cursors import Cursors
from fluxa.operations.ledger.sinks.files import FileSink
from fluxa.operations.ledger.sinks.posting import HttpSink
from fluxa.operations.ledger.sinks.sending import Sending, SendingConfig
from fluxa.operations.ledger.sinks.syslog import SyslogSink
from fluxa.postgres.pool import Database
from fluxa.providers.vendors.syslog import Protocol, SyslogConfig, SyslogSender
from fluxa.telemetry.catalogue import LedgerSent, MaintenanceFinished, Status
from fluxa.testing.signals import Signals
from house.tree import ROOT
from integration.operations.ledger.places import (
    SECRET,
    Places,
    datagram_server,
    endpoint,
    syslog_server,
)
from integration.providers.receivers import Received, answering, certificate, receiver
from making.stack import fluxa, json_lines, running, until

pytestmark = pytest.mark.req("SEC-3")

ACME, OTHER = Tenant("acme"), Tenant("other")


class Log:
    """An audit log, and what sends it."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.cursors = Cursors(database)
        self.signals = Signals()

    async def write(self, count: int = 1, tenant: Tenant = ACME, detail: str = "x") -> None:
        ledger = Ledger(self.database)
        for number in range(count):
            async with self.database.transaction() as tx:
                await ledger.record(tx, Act(tenant, "user:7", "thing.changed", f"thing:{number}", {"d": detail}))

    def sending(self, sink: Sink, *, holder: str = "one", hold_s: float = 10.0) -> Sending:
        return Sending(
            "place",
            sink,
            self.cursors,
            holder=holder,
            config=SendingConfig(period_s=0.01, hold_s=hold_s, retry_base_s=0.01, retry_cap_s=0.05),
            clock=SystemClock(),
            hook=self.signals.hear,
            chance=random.random,
        )

    async def behind(self) -> int:
        (one,) = await self.cursors.standings(["place"])
        return one.behind


@pytest.fixture
def log(database: Database) -> Log:
    return Log(database)


def _lines(*files: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for file in files for line in file.read_text("utf-8").splitlines()]


def _numbers(lines: Sequence[dict[str, Any]], tenant: Tenant = ACME) -> list[int]:
    return [line["number"] for line in lines if line["tenant"] == tenant]


def _names(folder: Path) -> list[str]:
    return [file.name for file in folder.iterdir()]


def _file(path: Path, rotate_bytes: int = 0) -> FileSink:
    return FileSink(path, rotate_bytes=rotate_bytes, stamp=lambda: "20260101T000000Z")


async def test_a_file_holds_each_entry_once_in_order_and_its_cursor_is_behind_by_nothing(
    log: Log, tmp_path: Path
) -> None:
    await log.write(450)
    await log.write(3, OTHER)
    path = tmp_path / "made" / "audit.ndjson"
    sending = log.sending(_file(path))
    assert await sending.send() == 453
    await log.write(2)
    assert await sending.send() == 2
    assert await sending.send() == 0
    assert _numbers(_lines(path)) == list(range(1, 453))
    assert _numbers(_lines(path), OTHER) == [1, 2, 3]
    assert path.stat().st_mode & 0o777 == 0o600
    first = await Ledger(log.database).get(ACME, 1)
    assert _lines(path)[0]["hash"] == first.hash.hex()
    assert sum(one.entries for one in log.signals.heard if isinstance(one, LedgerSent)) == 455
    (standing,) = await log.cursors.standings()
    assert (standing.sent, standing.behind, standing.oldest_s, standing.failing) == (455, 0, 0.0, False)


async def test_a_tenant_with_much_to_say_keeps_no_other_waiting(log: Log, tmp_path: Path) -> None:
    await log.write(450, ACME)
    await log.write(1, OTHER)
    await log.sending(_file(tmp_path / "a")).send()
    assert [line["tenant"] for line in _lines(tmp_path / "a")].index("other") < 250


async def test_a_file_is_rotated_by_itself_and_may_be_renamed_by_others(log: Log, tmp_path: Path) -> None:
    path = tmp_path / "audit.ndjson"
    sending = log.sending(_file(path, rotate_bytes=1))
    for _ in range(3):
        await log.write(2)
        await sending.send()
    path.rename(tmp_path / "moved")
    await log.write(1)
    await sending.send()
    names = ["audit.ndjson.20260101T000000Z", "audit.ndjson.20260101T000000Z.1", "moved", "audit.ndjson"]
    assert sorted(_names(tmp_path)) == sorted(names)
    assert _numbers(_lines(*(tmp_path / name for name in names))) == [1, 2, 3, 4, 5, 6, 7]


async def test_a_line_that_a_crash_left_unfinished_is_cut_off(log: Log, tmp_path: Path) -> None:
    path = tmp_path / "audit.ndjson"
    await log.write(1)
    await log.sending(_file(path)).send()
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"line":"entry","ten' + b"x" * 100_000)
    await log.write(1)
    await log.sending(_file(path)).send()
    assert _numbers(_lines(path)) == [1, 2]
    path.write_bytes(b"no line at all")
    await log.write(1)
    await log.sending(_file(path)).send()
    assert _numbers(_lines(path)) == [3]


async def test_what_cannot_be_written_waits_and_the_reason_is_kept(log: Log, tmp_path: Path) -> None:
    await log.write(2)
    path = tmp_path / "audit.ndjson"
    path.mkdir()
    sending = log.sending(_file(path))
    await sending.start()
    try:
        told = await log.signals.wait_for(MaintenanceFinished)
        assert (told.task, told.status) == ("audit_sink place", Status.FAILURE)
        (standing,) = await log.cursors.standings()
        assert (standing.failing, standing.behind, standing.sent_at) == (True, 2, None)
        assert "Is a directory" in str(standing.error)
        path.rmdir()
        await log.signals.wait_for(LedgerSent)
    finally:
        await sending.stop()
    assert _numbers(_lines(path)) == [1, 2]
    (standing,) = await log.cursors.standings()
    assert (standing.failing, standing.behind) == (False, 0)
    assert "Is a directory" in str(standing.error), "what last failed can still be read"


async def test_a_batch_over_http_is_signed_and_comes_again_as_it_was_until_it_is_taken(log: Log) -> None:
    await log.write(3)

    async def grumpy(received: Received, writer: asyncio.StreamWriter) -> None:
        status = {1: "500 Internal Server Error", 2: "400 Bad Request", 3: "429 Too Many Requests"}
        await answering(status.get(len(server.received), "200 OK"))(received, writer)

    async with receiver(grumpy) as server:
        post = endpoint(server.port)
        sending = log.sending(HttpSink(post))
        await sending.start()
        await log.signals.wait_for(LedgerSent)
        await sending.stop()
        await post.stop()
    assert len({one.headers["webhook-id"] for one in server.received}) == 1
    assert len({one.headers["idempotency-key"] for one in server.received}) == 1
    assert len(server.received) == 4
    last = server.received[-1]
    assert last.headers["content-type"] == "application/x-ndjson"
    Webhook(SECRET).verify(last.body, last.headers)
    assert _numbers([json.loads(line) for line in last.body.splitlines()]) == [1, 2, 3]


def _syslog(port: int, protocol: Protocol = Protocol.TCP, ca_file: str | None = None) -> SyslogSink:
    config = SyslogConfig("place", "127.0.0.1", port, protocol, timeout_s=5, ca_file=ca_file)
    return SyslogSink(SyslogSender(config), host="tést host")


def _entries(messages: Sequence[bytes]) -> list[dict[str, Any]]:
    return [json.loads(message[message.index(b"{") :]) for message in messages]


async def test_syslog_over_tcp_is_confirmed_by_its_end_and_else_comes_again(log: Log) -> None:
    await log.write(5)
    async with syslog_server() as server:
        server.breaks_after = 2
        sending = log.sending(_syslog(server.port))
        with pytest.raises(FluxaError) as broken:
            await sending.send()
        assert broken.value.code == ErrorCode.PROVIDER_UNAVAILABLE
        assert await log.behind() == 5
        assert await sending.send() == 5
    assert _numbers(_entries(server.messages)) == [1, 2, 1, 2, 3, 4, 5]
    head = server.messages[-1].split(b"{")[0].decode()
    assert head.startswith("<109>1 2")
    assert head.endswith("Z t_st_host fluxa - thing.changed - ")


async def test_syslog_over_tls_trusts_whom_it_should(log: Log, tmp_path: Path) -> None:
    await log.write(2)
    folders = tmp_path / "a", tmp_path / "b"
    for folder in folders:
        folder.mkdir()
    shown, others = (certificate(folder, "127.0.0.1") for folder in folders)
    async with syslog_server(tls=shown.server) as server:
        with pytest.raises(FluxaError, match="certificate verify failed"):
            await log.sending(_syslog(server.port, Protocol.TLS, str(others.authority_file))).send()
        assert await log.sending(_syslog(server.port, Protocol.TLS, str(shown.authority_file))).send() == 2
        await until(lambda: len(server.messages) == 2)
    assert _numbers(_entries(server.messages)) == [1, 2]


async def test_syslog_over_udp_leaves_out_what_no_datagram_holds_and_hears_when_nobody_listens(log: Log) -> None:
    await log.write(1, detail="y" * 64_000)
    await log.write(1)
    async with datagram_server() as server:
        assert await log.sending(_syslog(server.port, Protocol.UDP)).send() == 2
        await until(lambda: len(server.messages) == 2)
        first, second = _entries(server.messages)
        assert (first["number"], first["detail"], second["detail"]) == (1, {"left_out_bytes": 64_008}, {"d": "x"})
    await log.write(20)
    with pytest.raises(FluxaError, match="refused"):
        await log.sending(_syslog(server.port, Protocol.UDP)).send()


async def test_one_process_sends_and_another_goes_on_when_it_is_gone(log: Log, tmp_path: Path) -> None:
    await log.write(2)
    path = tmp_path / "a"
    one, two = log.sending(_file(path), hold_s=0.2), log.sending(_file(path), holder="two")
    assert await one.send() == 2
    await log.write(1)
    assert await two.send() == 0

    async def took_over() -> bool:
        return await two.send() > 0

    await until(took_over)  # as if the first had died
    assert await one.send() == 0
    await two.start()
    await two.stop()
    await log.write(1)
    assert await one.send() == 1, "who ends in order leaves at once"
    assert _numbers(_lines(path)) == [1, 2, 3, 4]


@contextlib.asynccontextmanager
async def _program(places: Places) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "integration.operations.ledger.places",
        msgspec.json.encode(places).decode(),
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT / 'tests'}"},  # noqa: TID251 - a child of the test
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGKILL)
        await process.wait()


def _in_order(numbers: Sequence[int], last: int) -> None:
    """Nothing is missed; what comes again is a batch from where the cursor stood, so first sight is in order."""
    seen: list[int] = []
    for number in numbers:
        assert number <= (seen[-1] if seen else 0) + 1, "an entry came before the one that precedes it"
        if not seen or number > seen[-1]:
            seen.append(number)
    assert seen == list(range(1, last + 1))


async def test_who_is_killed_in_the_middle_sends_again_and_misses_nothing(
    log: Log, database_url: str, tmp_path: Path
) -> None:
    received: list[dict[str, Any]] = []

    async def slowly(one: Received, writer: asyncio.StreamWriter) -> None:
        received.extend(json.loads(line) for line in one.body.splitlines())
        await asyncio.sleep(0.02)  # so that answers are cut off too
        await answering()(one, writer)

    written = {ACME: 0, OTHER: 0}
    async with receiver(slowly) as http, syslog_server() as syslog:
        places = Places(database_url, str(tmp_path / "audit"), http.port, syslog.port)

        async def write(tenant: Tenant, until_set: asyncio.Event) -> None:
            while not until_set.is_set():
                await log.write(10, tenant)
                written[tenant] += 10

        ended = asyncio.Event()
        writers = [asyncio.create_task(write(tenant, ended)) for tenant in written]
        for _ in range(4):
            before = len(received)
            async with _program(places):
                await until(lambda: len(received) > before + 30)  # noqa: B023 - it is awaited here
                await asyncio.sleep(random.random() * 0.1)  # noqa: S311 - anywhere
        ended.set()
        await asyncio.gather(*writers)
        async with _program(places):

            async def arrived() -> bool:
                standings = await log.cursors.standings()
                return len(standings) == 3 and all(one.behind == 0 for one in standings)

            await until(arrived)
    names = sorted(_names(tmp_path), key=lambda name: (name == "audit", name))
    files = [tmp_path / name for name in names]
    assert len(files) > 1, "it was rotated meanwhile"
    for entries in (_lines(*files), received, _entries(syslog.messages)):
        for tenant, last in written.items():
            _in_order(_numbers(entries, tenant), last)
    assert len(received) > sum(written.values()), "no kill cut an answer off: the test has shown nothing"


async def test_a_station_sends_what_operators_do_and_the_command_tells_how_far(
    database_url: str, log: Log, tmp_path: Path
) -> None:
    sinks = {
        "disk": {"kind": "file", "path": "audit/log.ndjson"},
        "siem": {"kind": "syslog", "host": "127.0.0.1", "port": 1, "timeout_s": 1.0},
    }
    settings = {
        "FLUXA_DATABASE_URL": database_url,
        "FLUXA_AUDIT_SINKS": json.dumps(sinks),
    }
    home = tmp_path / "home"
    await log.write(3)
    path = home / "audit" / "log.ndjson"
    async with running("station", "--port", "0", home=home, **settings) as program:
        await program.line(lambda line: "ready" in line)
        await until(lambda: path.exists() and len(_lines(path)) == 3)
        await program.line(lambda line: "audit_sink siem" in line)

    def command(*args: str) -> subprocess.CompletedProcess[str]:
        return fluxa("audit", "sinks", *args, home=home, stdin=b"", **settings)

    done = await asyncio.to_thread(command, "--json")
    disk, siem = json_lines(done.stdout)
    assert done.returncode == 1, "one fails"
    assert (disk["sink"], disk["kind"], disk["sent"], disk["behind"]) == ("disk", "file", 3, 0)
    assert disk["cursors"] == {"acme": 3}
    assert (siem["behind"], siem["failing"], siem["cursors"]) == (3, True, {})
    assert "ProviderUnavailable" in siem["error"]
    settings["FLUXA_AUDIT_SINKS"] = json.dumps({"disk": sinks["disk"]})
    table = await asyncio.to_thread(command)
    assert table.returncode == 0
    assert "not in the settings" in table.stdout
    assert "acme" in (await asyncio.to_thread(command, "--tenants")).stdout
