"""A way to a server that can be cut: forwards bytes both ways until it is told to break all connections."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

_CHUNK_BYTES = 65536


class Wire:
    """A listening port that leads to another one.

    Args of the constructor: `target` is the port on loopback that it leads to.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.port = 0
        """Where to connect instead."""

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator["Wire"]:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._lead, "127.0.0.1", 0)
        self.port = int(self._server.sockets[0].getsockname()[1])
        try:
            yield self
        finally:
            self._server.close()
            self.cut()
            await asyncio.sleep(0)

    def cut(self) -> int:
        """Break all connections in the middle of whatever they carry; how many there were."""
        writers, self._writers = self._writers, set()
        for writer in writers:
            raw = writer.get_extra_info("socket")
            if raw is not None:
                # A reset, not an orderly end: what was under way is lost on both sides.
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
            writer.transport.abort()
        return len(writers) // 2

    async def _lead(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:  # the server is down: so is the way to it
            writer.transport.abort()
            return
        both = (writer, far_writer)
        self._writers.update(both)
        try:
            async with asyncio.TaskGroup() as ways:
                ways.create_task(_carry(reader, far_writer))
                ways.create_task(_carry(far_reader, writer))
        finally:
            self._writers.difference_update(both)
            for end in both:
                end.transport.abort()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Forward one direction until either side ends."""
    with contextlib.suppress(OSError):  # a broken way is what this is for
        while chunk := await reader.read(_CHUNK_BYTES):
            writer.write(chunk)
            await writer.drain()
    writer.transport.abort()
