"""The application made from the route table, over real HTTP."""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import pytest

from fluxa.auth.principal import Principal
from fluxa.auth.roles import Role
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.kernel.ids import Tenant
from fluxa.telemetry.catalogue import RequestServed, RequestStarted
from fluxa.telemetry.log import make_logger
from fluxa.testing.serving import serving
from fluxa.testing.signals import Signals
from fluxa.web import problems
from fluxa.web.app import App
from fluxa.web.bodies import Bodies, BodyBudget
from fluxa.web.identity import Access, bearer
from fluxa.web.responses import json_response, send_response
from fluxa.web.routes import Auth, Bucket, Call, Endpoint, Operation, Receive, Route, Scope, Send, Terms

_TOKEN = "right"  # noqa: S105 - a stand-in, not a secret


async def _verify(token: str) -> Principal | None:
    return Principal(Tenant("acme"), "test", Role.ADMIN) if token == _TOKEN else None


async def _echo(call: Call, _scope: Scope, _receive: Receive, send: Send) -> None:
    tenant = None if call.principal is None else call.principal.tenant
    await send_response(send, json_response({"tenant": tenant, "params": call.path_params}))


async def _break(_call: Call, _scope: Scope, _receive: Receive, _send: Send) -> None:
    raise RuntimeError("a secret: 12345")


async def _away(_call: Call, _scope: Scope, _receive: Receive, _send: Send) -> None:
    raise FluxaError(ErrorCode.DB_CONNECTION_ERROR, "no route to db.internal", retry_after_s=1.2)


async def _invalid(_call: Call, _scope: Scope, _receive: Receive, _send: Send) -> None:
    raise FluxaError(ErrorCode.INVALID_REQUEST, "half a pair: \ud800", pointer="/limit")


async def _half(_call: Call, _scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"10")]})
    raise FluxaError(ErrorCode.OVERLOADED)


def _route(
    name: str, path: str, endpoint: Endpoint, *, auth: Auth = Auth.OPEN, methods: tuple[str, ...] = ("GET",)
) -> Route:
    return Route(
        name, path, methods, auth, endpoint, Operation(summary=name), Terms(Bucket.NONE, frozenset({Role.ADMIN}))
    )


def _bodies() -> Bodies:
    return Bodies(max_bytes=1000, timeout_s=0.2, budget=BodyBudget(1500))


class _Stand:
    def __init__(self) -> None:
        self.signals = Signals()
        self.log = io.StringIO()
        self.bodies = _bodies()
        self.holding = asyncio.Event()
        self.release = asyncio.Event()
        self.app = App(
            [
                _route("echo", "/echo", _echo),
                _route("echo_post", "/echo", self._size, methods=("POST",)),
                _route("hold", "/hold", self._hold, methods=("POST",)),
                _route("item", "/items/{id}", _echo),
                _route("latest", "/items/latest", _echo),
                _route("closed", "/closed", _echo, auth=Auth.BEARER),
                _route("break", "/break", _break),
                _route("away", "/away", _away),
                _route("invalid", "/invalid", _invalid),
                _route("half", "/half", _half),
                problems.route(),
            ],
            identify=bearer(_verify),
            access=Access(Tenant("default")),
            hook=self.signals.hear,
            logger=make_logger("query", stream=self.log),
        )

    async def _size(self, _call: Call, scope: Scope, receive: Receive, send: Send) -> None:
        async with self.bodies.read(scope, receive) as body:
            await send_response(send, json_response(len(body)))

    async def _hold(self, _call: Call, scope: Scope, receive: Receive, send: Send) -> None:
        async with self.bodies.read(scope, receive) as body:
            self.holding.set()
            await self.release.wait()
            await send_response(send, json_response(len(body)))


@pytest.fixture
def stand() -> _Stand:
    return _Stand()


@pytest.fixture
async def client(stand: _Stand) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(stand.app) as url, httpx.AsyncClient(base_url=url) as client:
        yield client


async def test_an_exact_path_and_a_path_with_parts_are_found(client: httpx.AsyncClient) -> None:
    assert (await client.get("/echo")).json() == {"tenant": None, "params": {}}
    assert (await client.get("/items/7")).json()["params"] == {"id": "7"}


@pytest.mark.req("PIPE-8")
@pytest.mark.parametrize(
    ("sent", "meant"),
    [("a%2Fb", "a/b"), ("a%20b", "a b"), ("%C3%A9", "é"), ("a%25b", "a%b"), ("x%00y", "x\x00y"), ("%3F%23", "?#")],
)
async def test_a_part_of_a_path_may_hold_any_character(client: httpx.AsyncClient, sent: str, meant: str) -> None:
    assert (await client.get(f"/items/{sent}")).json()["params"] == {"id": meant}


async def test_a_literal_path_wins_over_one_with_parts_unless_it_is_escaped(
    client: httpx.AsyncClient, stand: _Stand
) -> None:
    await client.get("/items/latest")
    await client.get("/items/%6Catest")
    routes = [signal.route for signal in stand.signals.heard if isinstance(signal, RequestServed)]
    assert routes == ["latest", "item"]


@pytest.mark.req("PIPE-2")
async def test_an_unknown_path_is_a_problem_document(client: httpx.AsyncClient) -> None:
    answer = await client.get("/nothing", headers={"X-Correlation-ID": "story-1"})
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["code"] == "NotFound"
    assert problem["type"] == "/problems/NotFound"
    assert problem["status"] == 404
    assert problem["correlation_id"] == "story-1"
    assert problem["action"]


async def test_a_wrong_method_is_told_which_are_right(client: httpx.AsyncClient) -> None:
    answer = await client.delete("/echo")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD, POST"
    assert answer.json()["code"] == "MethodNotAllowed"


async def test_head_answers_like_get_without_a_body(client: httpx.AsyncClient) -> None:
    answer = await client.head("/echo")
    assert answer.status_code == 200
    assert answer.content == b""


async def test_a_path_that_is_not_utf8_is_refused(client: httpx.AsyncClient) -> None:
    answer = await client.get("/items/%ff")
    assert answer.status_code == 400
    assert answer.json()["code"] == "InvalidRequest"


@pytest.mark.parametrize(
    "header",
    [
        None,
        "right",
        "Basic right",
        "Bearer",
        "Bearer wrong",
        "Bearer right right",
        "Bearer " + "x" * 600,
        "Bearer \xff",
    ],
)
async def test_without_a_right_credential_the_endpoint_is_not_reached(
    client: httpx.AsyncClient, header: str | None
) -> None:
    headers = {} if header is None else {b"authorization": header.encode("latin-1")}
    answer = await client.get("/closed", headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == 'Bearer realm="fluxa"'
    assert answer.json()["code"] == "Unauthenticated"


async def test_a_right_credential_names_the_tenant(client: httpx.AsyncClient) -> None:
    answer = await client.get("/closed", headers={"Authorization": "bearer right"})
    assert answer.json()["tenant"] == "acme"


def test_a_route_must_state_its_authentication(stand: _Stand) -> None:
    with pytest.raises(TypeError):
        Route(name="x", path="/x", methods=("GET",), endpoint=_echo, operation=Operation("x"))  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="does not state its authentication"):
        App(
            [_route("x", "/x", _echo, auth=None)],  # type: ignore[arg-type]
            identify=bearer(_verify),
            access=Access(Tenant("default")),
            hook=stand.signals.hear,
            logger=make_logger("query"),
        )


@pytest.mark.parametrize("second", [_route("echo", "/b", _echo), _route("other", "/a", _echo)])
def test_rows_that_contradict_each_other_are_refused(stand: _Stand, second: Route) -> None:
    with pytest.raises(ValueError, match="two routes"):
        App(
            [_route("echo", "/a", _echo), second],
            identify=bearer(_verify),
            access=Access(Tenant("default")),
            hook=stand.signals.hear,
            logger=make_logger("query"),
        )


@pytest.mark.req("PIPE-10")
async def test_the_correlation_id_comes_from_the_trace_else_the_header_else_is_new(client: httpx.AsyncClient) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    both = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01", "X-Correlation-ID": "mine"}
    assert (await client.get("/echo", headers=both)).headers["x-correlation-id"] == trace
    assert (await client.get("/echo", headers={"X-Correlation-ID": "mine"})).headers["x-correlation-id"] == "mine"
    assert len((await client.get("/echo")).headers["x-correlation-id"]) == 32


@pytest.mark.parametrize("hostile", ["a\tb", "x" * 129, "é", "<script>", ""])
async def test_a_harmful_correlation_id_is_replaced(client: httpx.AsyncClient, hostile: str) -> None:
    answer = await client.get("/echo", headers={b"x-correlation-id": hostile.encode("latin-1")})
    assert len(answer.headers["x-correlation-id"]) == 32


async def test_a_line_break_in_a_header_is_never_echoed(client: httpx.AsyncClient) -> None:
    port = client.base_url.port
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        b"GET /echo HTTP/1.1\r\nHost: x\r\nX-Correlation-ID: a\r\n Set-Cookie: evil=1\r\nConnection: close\r\n\r\n"
    )
    answer = await reader.read()
    writer.close()
    assert b"\r\nset-cookie" not in answer.lower()


async def test_every_answer_has_the_security_headers(client: httpx.AsyncClient) -> None:
    for path in ("/echo", "/nothing", "/closed", "/break"):
        answer = await client.get(path)
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"


async def test_an_unexpected_error_is_logged_with_its_traceback_and_answered_without_detail(
    client: httpx.AsyncClient, stand: _Stand
) -> None:
    answer = await client.get("/break", headers={"X-Correlation-ID": "story-2"})
    assert answer.status_code == 500
    assert "12345" not in answer.text
    assert answer.json()["code"] == "Internal"
    line = json.loads(stand.log.getvalue())
    assert line["correlation_id"] == "story-2"
    assert "RuntimeError: a secret: " in line["exception"]


@pytest.mark.req("PIPE-9")
async def test_an_outage_is_503_with_a_time_to_come_back_and_no_inner_names(
    client: httpx.AsyncClient, stand: _Stand
) -> None:
    answer = await client.get("/away")
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "2"
    assert answer.json()["code"] == "DBConnectionError"
    assert "db.internal" not in answer.text
    assert "db.internal" in stand.log.getvalue()


async def test_a_detail_may_quote_what_utf8_cannot_carry(client: httpx.AsyncClient) -> None:
    problem = (await client.get("/invalid")).json()
    assert problem["detail"] == "half a pair: ?"
    assert problem["pointer"] == "/limit"


@pytest.mark.req("PIPE-2")
async def test_the_type_of_a_problem_leads_to_its_explanation(client: httpx.AsyncClient) -> None:
    refused = (await client.get("/nothing")).json()
    explained = await client.get(refused["type"])
    assert explained.status_code == 200
    assert explained.json() == {
        "code": "NotFound",
        "title": refused["title"],
        "status": 404,
        "retry": "permanent",
        "action": refused["action"],
    }
    assert (await client.get("/problems/Nonsense")).json()["code"] == "NotFound"


async def test_an_answer_that_fails_halfway_is_cut_not_completed(client: httpx.AsyncClient) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        await client.get("/half")


@pytest.mark.req("OBS-1")
async def test_each_request_is_told_as_started_and_served(client: httpx.AsyncClient, stand: _Stand) -> None:
    await client.get("/items/1")
    await client.get("/nothing")
    await client.request("PROPFIND", "/echo")
    started = [(s.route, s.method) for s in stand.signals.heard if isinstance(s, RequestStarted)]
    served = [(s.route, s.method, s.status) for s in stand.signals.heard if isinstance(s, RequestServed)]
    assert started == [("item", "GET"), ("unmatched", "GET"), ("unmatched", "other")]
    assert served == [("item", "GET", 200), ("unmatched", "GET", 404), ("unmatched", "other", 405)]


@pytest.mark.req("PIPE-2")
async def test_a_body_over_the_cap_is_refused_by_its_announced_length(client: httpx.AsyncClient) -> None:
    answer = await client.post("/echo", content=b"x" * 1001)
    assert answer.status_code == 413
    assert answer.json()["code"] == "RequestTooLarge"


async def _chunks(count: int, pause: Callable[[], Awaitable[None]] | None = None) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield b"x" * 100
        if pause is not None:
            await pause()


@pytest.mark.req("PIPE-2")
async def test_a_body_of_unknown_length_is_refused_once_it_passes_the_cap(
    client: httpx.AsyncClient, stand: _Stand
) -> None:
    assert (await client.post("/echo", content=_chunks(10))).json() == 1000
    answer = await client.post("/echo", content=_chunks(11))
    assert answer.status_code == 413
    assert stand.bodies.budget.taken_bytes == 0


async def test_a_slow_body_is_refused_in_time(client: httpx.AsyncClient) -> None:
    port = client.base_url.port
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")
    answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 408")


async def test_a_client_that_leaves_in_mid_body_costs_nothing(client: httpx.AsyncClient, stand: _Stand) -> None:
    stand.bodies.timeout_s = 30
    port = client.base_url.port
    _reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\nabc")
    await stand.signals.wait_for(RequestStarted)
    writer.close()
    served = await stand.signals.wait_for(RequestServed)
    assert served.status == 499
    assert stand.bodies.budget.taken_bytes == 0


@pytest.mark.parametrize("encoding", ["gzip", "br", "identity, gzip"])
async def test_a_compressed_body_is_refused(client: httpx.AsyncClient, encoding: str) -> None:
    answer = await client.post("/echo", content=b"x", headers={"Content-Encoding": encoding})
    assert answer.status_code == 415
    assert (await client.post("/echo", content=b"x", headers={"Content-Encoding": "identity"})).json() == 1


@pytest.mark.req("PIPE-5")
async def test_bodies_beyond_the_shared_memory_are_told_to_come_back(client: httpx.AsyncClient, stand: _Stand) -> None:
    first = asyncio.create_task(client.post("/hold", content=b"x" * 900))
    await asyncio.wait_for(stand.holding.wait(), 5)
    refused = await client.post("/echo", content=b"x" * 900)
    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "1"
    stand.release.set()
    assert (await first).json() == 900
    assert (await client.post("/echo", content=b"x" * 900)).json() == 900
