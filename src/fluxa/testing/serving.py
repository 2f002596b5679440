"""Serves an ASGI application over real HTTP on a free loopback port, in the test's own event loop."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import uvicorn

from fluxa.web.app import App


@contextlib.asynccontextmanager
async def serving(app: App, *, before_stop: Callable[[], Awaitable[None]] | None = None) -> AsyncIterator[str]:
    """The application's base URL, `http://127.0.0.1:<port>`, for the length of the block.

    Args:
        app: what to serve.
        before_stop: run before the server waits for open requests, as an app ends its streams.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        app, lifespan="off", log_config=None, access_log=False, ws="none", http="httptools", proxy_headers=False
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve([listener]), name="test server")
    while not server.started and not task.done():  # noqa: ASYNC110 - uvicorn says it by a flag
        await asyncio.sleep(0.002)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        if before_stop is not None:
            await before_stop()
        server.should_exit = True
        await task
        listener.close()
