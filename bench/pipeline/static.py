"""The same server and route table as the ingest service, answering a body that is always the same."""

import asyncio

import uvloop

from fluxa.apps.serving.observe import observe
from fluxa.apps.serving.server import ServerLimits, bind, serve, url_of
from fluxa.auth.principal import Principal
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.kernel.ids import Tenant
from fluxa.web.app import App
from fluxa.web.bodies import Bodies
from fluxa.web.identity import Access
from fluxa.web.responses import Response, send_response
from fluxa.web.routes import Auth, Bucket, Call, Operation, Receive, Route, Scope, Send, Terms

PATH = "/static"
BARE_PATH = "/bare"

_ANSWER = Response(status=202, body=b'{"status":"accepted","id":"2013-01-01-UA1545-EWR"}')
_BODIES = Bodies()


async def _static(_call: Call, scope: Scope, receive: Receive, send: Send) -> None:
    async with _BODIES.read(scope, receive):
        await send_response(send, _ANSWER)


async def _nobody(_authorization: bytes | None) -> Principal:
    raise FluxaError(ErrorCode.UNAUTHENTICATED)


def application() -> App:
    """The route table with one open row."""
    telemetry = observe("ingest", "warning")
    row = Route(
        "static", PATH, ("POST",), Auth.OPEN, _static, Operation("Answer the same always"), Terms(Bucket.EVENTS)
    )
    return App([row], identify=_nobody, access=Access(Tenant("default")), hook=telemetry.hook, logger=telemetry.logger)


async def _main() -> None:
    table = application()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        """The table, and beside it a path that answers without it: what uvicorn alone can do."""
        if scope.get("path") != BARE_PATH:
            await table(scope, receive, send)
            return
        while (await receive()).get("more_body"):
            pass
        await send_response(send, _ANSWER)

    bound = bind("127.0.0.1", 0, setting="port")
    url = url_of(bound)
    await serve(
        app,
        bound,
        ServerLimits(),
        stopping=asyncio.Event(),
        ready=lambda: print(f"ready {url}", flush=True),
        drain=_nothing,
    )


async def _nothing() -> None:
    """There is nothing to drain: this server is ended by its parent."""


if __name__ == "__main__":
    uvloop.run(_main())
