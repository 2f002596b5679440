"""The rows of synthetic checks: how they stand, and what they found before."""

from dataclasses import dataclass

from fluxa.auth.roles import WATCHERS
from fluxa.auth.scopes import Scope as KeyScope
from fluxa.operations.synthetic.check import CheckName
from fluxa.operations.synthetic.store import SyntheticStore
from fluxa.station.synthetic.schemas import ChecksView, CheckView, PastView
from fluxa.web.queries import Query, invalid, parameter
from fluxa.web.responses import json_response, send_response
from fluxa.web.routes import Auth, Bucket, Call, Operation, Receive, Route, Scope, Send, Terms

LIMIT_DEFAULT, LIMIT_MAX = 100, 1000
SEE = Terms(Bucket.OPERATION, WATCHERS, platform=True, scope=KeyScope.ALARMS_READ)
_NAMES = frozenset({"check", "target", "bad", "limit"})
_YES_NO = {"yes": True, "no": False}


@dataclass(frozen=True, slots=True)
class SyntheticDoor:
    """What the rows need.

    Attributes:
        store: where it is kept what checks found.
        every_s: seconds between two rounds; 0: they are not done by themselves.
    """

    store: SyntheticStore
    every_s: float

    async def all(self, _call: Call, _scope: Scope, _receive: Receive, send: Send) -> None:
        """How they stand."""
        checks = [CheckView.of(one) for one in await self.store.all()]
        await send_response(send, json_response(ChecksView(self.every_s, checks)))

    async def history(self, _call: Call, scope: Scope, _receive: Receive, send: Send) -> None:
        """What they found before."""
        query = Query(scope, _NAMES)
        name, bad = query.text("check"), query.text("bad") or "no"
        if name is not None and name not in list(CheckName):
            raise invalid("check", f"is none; there are {', '.join(CheckName)}")
        if bad not in _YES_NO:
            raise invalid("bad", "must be yes or no")
        found = await self.store.history(
            None if name is None else CheckName(name),
            query.text("target"),
            bad=_YES_NO[bad],
            limit=query.integer("limit", default=LIMIT_DEFAULT, minimum=1, maximum=LIMIT_MAX),
        )
        await send_response(send, json_response([PastView.of(one) for one in found]))

    def routes(self) -> tuple[Route, ...]:
        """The rows."""
        path, get = "/api/synthetic", ("GET",)
        return (
            Route("synthetic_list", path, get, Auth.BEARER, self.all, _ALL, SEE),
            Route("synthetic_history", f"{path}/history", get, Auth.BEARER, self.history, _HISTORY, SEE),
        )


_ALL = Operation("How synthetic checks stand", responses={200: ("Failed ones first.", ChecksView)})
_HISTORY = Operation(
    "What synthetic checks found before",
    (
        parameter("check", "Only this one.", {"type": "string", "enum": list(CheckName)}),
        parameter("target", "Only at this target."),
        parameter("bad", "Only what was not well.", {"type": "string", "enum": list(_YES_NO), "default": "no"}),
        parameter(
            "limit",
            "So many at most.",
            {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT},
        ),
    ),
    responses={200: ("Latest first.", list[PastView])},
)
