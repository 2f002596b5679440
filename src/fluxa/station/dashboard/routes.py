"""The rows of the dashboard: its data, and the files of its page, which hold none."""

from dataclasses import dataclass

from fluxa.auth.roles import WATCHERS
from fluxa.auth.scopes import Scope as KeyScope
from fluxa.operations.dashboard.board import WINDOW_PATTERN, Board, window_of
from fluxa.operations.dashboard.history import History
from fluxa.station.dashboard.page import text_of
from fluxa.web.queries import Query, parameter
from fluxa.web.responses import Response, json_response, send_response
from fluxa.web.routes import Auth, Bucket, Call, Endpoint, Media, Operation, Receive, Route, Scope, Send, Terms

WINDOW = "1h"
_PAGE = "/dashboard"
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HTML = ((b"content-security-policy", _POLICY.encode()), (b"cache-control", b"no-cache"))
_FILE = ((b"cache-control", b"no-cache"),)
_SCRIPT, _STYLE = "text/javascript; charset=utf-8", "text/css; charset=utf-8"
FILES = {
    "dashboard_script": ("dashboard.js", _SCRIPT),
    "dashboard_style": ("dashboard.css", _STYLE),
    "dashboard_charts": ("uplot/uPlot.iife.min.js", _SCRIPT),
    "dashboard_charts_style": ("uplot/uPlot.min.css", _STYLE),
}
"""The files of the page, by route: where they are, and their media type."""


@dataclass(frozen=True, slots=True)
class DashboardDoor:
    """What the rows need.

    Attributes:
        history: what was recorded.
        period_s: seconds between two moments; 0: nothing is recorded.
    """

    history: History
    period_s: float

    async def show(self, _call: Call, scope: Scope, _receive: Receive, send: Send) -> None:
        """The panels over a window."""
        asked = Query(scope, {"window"}).text("window")
        found = await self.history.read(window_of(asked or WINDOW), least_s=self.period_s)
        await send_response(send, json_response(found))

    def routes(self) -> tuple[Route, ...]:
        """The rows."""
        page = Response(body=text_of("dashboard.html").encode(), content_type="text/html; charset=utf-8", headers=_HTML)
        return (
            Route("dashboard_data", "/api/dashboard", ("GET",), Auth.BEARER, self.show, _DATA, _SEE),
            Route("dashboard", _PAGE, ("GET",), Auth.OPEN, _fixed(page), _described("text/html", "The page."), _OPEN),
            *(_file(name, file, media) for name, (file, media) in FILES.items()),
        )


def _file(name: str, file: str, media: str) -> Route:
    answer = Response(body=text_of(file).encode(), content_type=media, headers=_FILE)
    path = f"{_PAGE}/{file.rpartition('/')[2]}"
    return Route(name, path, ("GET",), Auth.OPEN, _fixed(answer), _described(media.partition(";")[0], "It."), _OPEN)


def _fixed(answer: Response) -> Endpoint:
    async def show(_call: Call, _scope: Scope, _receive: Receive, send: Send) -> None:
        await send_response(send, answer)

    return show


def _described(media: str, text: str) -> Operation:
    return Operation("A part of the dashboard's page", responses={200: (text, Media(media, {"type": "string"}))})


_SEE = Terms(Bucket.OPERATION, WATCHERS, platform=True, scope=KeyScope.METRICS_READ)
_OPEN = Terms(Bucket.PUBLIC)
_DATA = Operation(
    "The panels of the dashboard over a window that ends now",
    (
        parameter(
            "window",
            "How long: minutes, hours or days, 1m to 14d.",
            {"type": "string", "pattern": WINDOW_PATTERN, "default": WINDOW},
        ),
    ),
    responses={200: ("All panels.", Board)},
)
