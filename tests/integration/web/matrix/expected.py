"""What the matrix of credentials expects of every route of every process, written down by hand: that is its point.

A new route is put here, with whom it lets in and what it answers to them; one that is gone is taken out.
"""

from dataclasses import dataclass

OPEN, BEARER, CRON = "open", "bearer", "cron"

ADMIN = {"admin"}
RUN = {"admin", "manager", "service"}
SEE = RUN | {"analyst", "agent"}
SEND = {"admin", "manager", "integration", "service"}
READ = {"admin", "manager", "analyst", "integration", "service"}
ALL = {"admin", "manager", "analyst", "agent", "integration", "service"}

PARAMS = {
    "queue": "pulse",
    "id": "1",
    "code": "NotFound",
    "alarm": "LedgerBroken",
    "silence_id": "1",
    "type": "t",
    "correlation_id": "c-1",
    "route": "queues_list",
    "flag": "pricing.new",
}
"""What stands for the parts of paths; most of it is not there, and the answer to who may ask is then 404."""


@dataclass(frozen=True)
class Row:
    """What a route is to be.

    Attributes:
        call: method and path.
        auth: how callers are known.
        right: the status for whoever may; the request has no query, and no body but an event where that is said.
        roles: who may, by API key or access token.
        scope: which API key may, of those that are narrowed; `own`: each.
        platform: whether only the default tenant may.
        person: whether it takes an access token, and no API key.
        event: whether the request brings an event.
    """

    call: str
    auth: str
    right: int
    roles: frozenset[str] = frozenset()
    scope: str | None = None
    platform: bool = False
    person: bool = False
    event: bool = False

    @property
    def method(self) -> str:
        """Its method."""
        return self.call.partition(" ")[0]

    @property
    def path(self) -> str:
        """Its path, with values for its parts."""
        path = self.template
        for name, value in PARAMS.items():
            path = path.replace(f"{{{name}}}", value)
        return path

    @property
    def template(self) -> str:
        """Its path as the table has it."""
        return self.call.partition(" ")[2]


def _open(call: str, right: int = 200) -> Row:
    return Row(call, OPEN, right)


def _all(call: str, right: int, roles: set[str], scope: str) -> Row:
    """Tenants' callers of these roles."""
    return Row(call, BEARER, right, frozenset(roles), scope)


def _ours(call: str, right: int, roles: set[str], scope: str) -> Row:
    """Those of the default tenant."""
    return Row(call, BEARER, right, frozenset(roles), scope, platform=True)


def _person(call: str, right: int) -> Row:
    """Whoever logged in."""
    return Row(call, BEARER, right, frozenset(ALL), "own", person=True)


_PAGES = {
    "api_health": _open("GET /api/health"),
    "health": _open("GET /health"),
    "api_ready": _open("GET /api/ready"),
    "api_metrics": _open("GET /api/metrics"),
    "metrics": _open("GET /metrics"),
    "openapi": _open("GET /openapi.json"),
    "problem": _open("GET /problems/{code}"),
}
_SCHEMA = "/v1/schemas/{type}"
_QUEUE, _REDRIVE, _LETTERS = "/api/queues/{queue}", "/api/redrives/{id}", "/api/queues/{queue}/dead-letters"
_ALARM, _USER, _BOUND = "/api/alarms/{alarm}", "/api/users/{id}", "/api/routes/{route}/roles"

EXPECTED: dict[str, dict[str, Row]] = {
    "ingest": {
        **_PAGES,
        "events_post": Row("POST /v1/events", BEARER, 202, frozenset(SEND), "events:write", event=True),
        "schemas_list": _all("GET /v1/schemas", 200, READ, "schemas:read"),
        "schemas_get": _all(f"GET {_SCHEMA}", 404, READ, "schemas:read"),
        "schemas_put": _all(f"PUT {_SCHEMA}", 400, RUN, "schemas:write"),
        "schemas_delete": _all(f"DELETE {_SCHEMA}", 404, RUN, "schemas:write"),
    },
    "query": {
        **_PAGES,
        "list_events": _all("GET /v1/events", 200, READ, "events:read"),
        "stream_events": _all("GET /v1/events/stream", 200, READ, "events:read"),
        "get_event": _all("GET /v1/events/{id}", 404, READ, "events:read"),
        "get_trace": _all("GET /v1/traces/{correlation_id}", 404, READ, "events:read"),
    },
    "processor": {**_PAGES},
    "worker": {**_PAGES},
    "station": {
        **_PAGES,
        "jwks": _open("GET /.well-known/jwks.json"),
        "auth_login": _open("POST /api/auth/login", 400),
        "auth_refresh": _open("POST /api/auth/refresh", 400),
        "auth_oidc_start": _open("GET /api/auth/oidc/start", 404),
        "auth_oidc_callback": _open("GET /api/auth/oidc/callback", 404),
        "auth_me": _all("GET /api/auth/me", 200, ALL, "own"),
        "auth_logout": _person("POST /api/auth/logout", 204),
        "auth_sessions": _person("GET /api/auth/sessions", 200),
        "auth_sessions_end": _person("DELETE /api/auth/sessions", 200),
        "auth_session_end": _person("DELETE /api/auth/sessions/{id}", 404),
        "users_list": _all("GET /api/users", 200, ADMIN, "users:read"),
        "users_create": _all("POST /api/users", 400, ADMIN, "users:write"),
        "users_change": _all(f"PATCH {_USER}", 400, ADMIN, "users:write"),
        "users_sessions": _all(f"GET {_USER}/sessions", 404, ADMIN, "users:read"),
        "users_sessions_end": _all(f"DELETE {_USER}/sessions", 404, ADMIN, "users:write"),
        "audit_list": _all("GET /api/audit", 200, ADMIN, "audit:read"),
        "routes_list": _ours("GET /api/routes", 200, ADMIN, "roles:write"),
        "routes_bind": _ours(f"PUT {_BOUND}", 400, ADMIN, "roles:write"),
        "routes_unbind": _ours(f"DELETE {_BOUND}", 404, ADMIN, "roles:write"),
        "flags_list": _ours("GET /api/flags", 200, SEE, "flags:read"),
        "flags_set": _ours("PUT /api/flags/{flag}", 400, RUN, "flags:write"),
        "flags_reset": _ours("DELETE /api/flags/{flag}", 404, RUN, "flags:write"),
        "queues_health": _open("GET /health/queues"),
        "queues_list": _ours("GET /api/queues", 200, SEE, "queues:read"),
        "queues_get": _ours(f"GET {_QUEUE}", 200, SEE, "queues:read"),
        "queues_pause": _ours(f"POST {_QUEUE}/pause", 400, RUN, "queues:write"),
        "queues_resume": _ours(f"POST {_QUEUE}/resume", 200, RUN, "queues:write"),
        "dead_letters_list": _ours(f"GET {_LETTERS}", 200, SEE, "queues:read"),
        "dead_letters_get": _ours(f"GET {_LETTERS}/{{id}}", 404, SEE, "queues:read"),
        "quarantine_list": _ours(f"GET {_QUEUE}/quarantine", 200, SEE, "queues:read"),
        "redrives_create": _ours(f"POST {_QUEUE}/redrives", 400, RUN, "queues:write"),
        "redrives_list": _ours("GET /api/redrives", 200, SEE, "queues:read"),
        "redrives_get": _ours(f"GET {_REDRIVE}", 404, SEE, "queues:read"),
        "redrives_pause": _ours(f"POST {_REDRIVE}/pause", 404, RUN, "queues:write"),
        "redrives_resume": _ours(f"POST {_REDRIVE}/resume", 404, RUN, "queues:write"),
        "redrives_cancel": _ours(f"POST {_REDRIVE}/cancel", 404, RUN, "queues:write"),
        "alarms_list": _ours("GET /api/alarms", 200, SEE, "alarms:read"),
        "alarms_rules": _ours("GET /api/alarm-rules", 200, SEE, "alarms:read"),
        "alarms_get": _ours(f"GET {_ALARM}", 200, SEE, "alarms:read"),
        "alarms_ack": _ours(f"POST {_ALARM}/ack", 409, RUN, "alarms:write"),
        "alarms_unack": _ours(f"POST {_ALARM}/unack", 409, RUN, "alarms:write"),
        "alarms_test": _ours("POST /api/alarm-test", 409, RUN, "alarms:write"),
        "silences_list": _ours("GET /api/alarm-silences", 200, SEE, "alarms:read"),
        "silences_create": _ours("POST /api/alarm-silences", 400, RUN, "alarms:write"),
        "silences_end": _ours("POST /api/alarm-silences/{silence_id}/end", 404, RUN, "alarms:write"),
        "synthetic_list": _ours("GET /api/synthetic", 200, SEE, "alarms:read"),
        "synthetic_history": _ours("GET /api/synthetic/history", 200, SEE, "alarms:read"),
        "dashboard": _open("GET /dashboard"),
        "dashboard_script": _open("GET /dashboard/dashboard.js"),
        "dashboard_style": _open("GET /dashboard/dashboard.css"),
        "dashboard_charts": _open("GET /dashboard/uPlot.iife.min.js"),
        "dashboard_charts_style": _open("GET /dashboard/uPlot.min.css"),
        "dashboard_data": _ours("GET /api/dashboard", 200, SEE, "metrics:read"),
        "process_queues": Row("POST /process-queues", CRON, 200),
    },
}
