"""The rows of the audit log: pages of entries of the caller's own tenant. Not: what is in them."""

import datetime as dt
from dataclasses import dataclass

import msgspec

from fluxa.auth.roles import ADMINS
from fluxa.auth.scopes import Scope as KeyScope
from fluxa.operations.ledger import Entry, Ledger, Sought
from fluxa.web.queries import Query, parameter
from fluxa.web.responses import json_response, send_response
from fluxa.web.routes import Auth, Bucket, Call, Operation, Receive, Route, Scope, Send, Terms

LIMIT_DEFAULT, LIMIT_MAX = 100, 1000
_NUMBER_MAX = 2**63 - 1

_MOMENT = {"type": "string", "format": "date-time"}
_PARAMETERS = (
    parameter("actor", "Only what this one did."),
    parameter("action", "Only this action, or all of a noun: `session` finds `session.revoked`."),
    parameter("subject", "Only what was done to this."),
    parameter("correlation_id", "Only what belongs to this story."),
    parameter("since", "Only what was committed at this time or later.", _MOMENT),
    parameter("until", "Only what was committed before this time.", _MOMENT),
    parameter(
        "limit", "Entries a page.", {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT}
    ),
    parameter("before", "`next` of the page before.", {"type": "integer", "minimum": 1, "maximum": _NUMBER_MAX}),
)
_NAMES = frozenset(str(one["name"]) for one in _PARAMETERS)


class EntryView(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of the audit log; the hashes are hexadecimal."""

    number: int
    at: dt.datetime
    actor: str
    action: str
    subject: str
    detail: msgspec.Raw
    correlation_id: str
    version: int
    previous: str
    hash: str


class AuditPage(msgspec.Struct, frozen=True, kw_only=True):
    """Entries, the newest first; `next` is there if there may be more."""

    entries: list[EntryView]
    next: int | None = None


@dataclass(frozen=True, slots=True)
class AuditDoor:
    """What these rows need.

    Attributes:
        ledger: the audit log.
    """

    ledger: Ledger

    async def list(self, call: Call, scope: Scope, _receive: Receive, send: Send) -> None:
        """A page of the caller's own chain."""
        query = Query(scope, _NAMES)
        sought = Sought(
            query.text("actor"),
            query.text("action"),
            query.text("subject"),
            query.text("correlation_id"),
            query.moment("since"),
            query.moment("until"),
        )
        limit = query.integer("limit", default=LIMIT_DEFAULT, minimum=1, maximum=LIMIT_MAX)
        before = query.integer("before", default=0, minimum=1, maximum=_NUMBER_MAX) or None
        entries = await self.ledger.page(call.caller.tenant, sought, before=before, limit=limit)
        following = entries[-1].number if len(entries) == limit and entries[-1].number > 1 else None
        page = AuditPage(entries=[_view(entry) for entry in entries], next=following)
        await send_response(send, json_response(page))

    def routes(self) -> tuple[Route, ...]:
        """The rows."""
        return (Route("audit_list", "/api/audit", ("GET",), Auth.BEARER, self.list, _LIST, _TERMS),)


def _view(entry: Entry) -> EntryView:
    return EntryView(
        number=entry.number,
        at=entry.at,
        actor=entry.actor,
        action=entry.action,
        subject=entry.subject,
        detail=msgspec.Raw(entry.detail.encode()),
        correlation_id=entry.correlation_id,
        version=entry.version,
        previous=entry.previous.hex(),
        hash=entry.hash.hex(),
    )


_TERMS = Terms(Bucket.OPERATION, ADMINS, scope=KeyScope.AUDIT_READ)
_LIST = Operation(
    "Who did what in the caller's tenant, the newest first",
    _PARAMETERS,
    responses={200: ("The entries.", AuditPage)},
)
