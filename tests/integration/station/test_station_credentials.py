"""Every route of the station against every kind of credential; a route without expectations fails."""

from collections.abc import Callable

import httpx
import pytest

from fluxa.postgres.pool import Database
from fluxa.web.routes import Auth, Route
from making.callers.calls import LEGACY, OLDER, OVERRIDE, SECRET, signed
from making.station import StationStand, open_station

Headers = dict[str, str]

ROUTES = {
    Auth.OPEN: {"api_health", "health", "api_ready", "api_metrics", "metrics", "openapi", "problem", "queues_health"},
    Auth.CRON: {"process_queues"},
    Auth.BEARER: {
        "queues_list",
        "queues_get",
        "queues_pause",
        "queues_resume",
        "dead_letters_list",
        "dead_letters_get",
        "quarantine_list",
        "redrives_create",
        "redrives_list",
        "redrives_get",
        "redrives_pause",
        "redrives_resume",
        "redrives_cancel",
        "audit_list",
    },
}
"""All routes by how their callers are known: a new one is to be put here, and is then tried with everything below."""

UNKNOWN, STRANGER, OPERATOR, CRON = "unknown", "stranger", "operator", "cron"
NEVER = "a secret that was never in force"
KINDS: dict[str, tuple[str, Callable[[StationStand, str, str], Headers]]] = {
    "none": (UNKNOWN, lambda _stand, _method, _path: {}),
    "empty": (UNKNOWN, lambda _stand, _method, _path: {"Authorization": ""}),
    "unknown key": (UNKNOWN, lambda _stand, _method, _path: {"Authorization": f"Bearer fx_{'0' * 16}_{'x' * 43}"}),
    "cut key": (UNKNOWN, lambda stand, _method, _path: {"Authorization": f"Bearer {stand.keys['default'][:-1]}"}),
    "other tenant's key": (STRANGER, lambda stand, _method, _path: {"Authorization": f"Bearer {stand.keys['acme']}"}),
    "operator's key": (OPERATOR, lambda stand, _method, _path: {"Authorization": f"Bearer {stand.keys['default']}"}),
    "cron secret as key": (UNKNOWN, lambda _stand, _method, _path: {"Authorization": f"Bearer {SECRET}"}),
    "signed": (CRON, lambda _stand, method, path: signed(path, method=method)),
    "signed with the older secret": (CRON, lambda _stand, method, path: signed(path, method=method, secret=OLDER)),
    "signed with another secret": (UNKNOWN, lambda _stand, method, path: signed(path, method=method, secret=NEVER)),
    "signed long ago": (UNKNOWN, lambda _stand, method, path: signed(path, method=method, late_s=400)),
    "signed in the future": (UNKNOWN, lambda _stand, method, path: signed(path, method=method, late_s=-400)),
    "signed for another path": (UNKNOWN, lambda _stand, method, path: signed(f"{path}/x", method=method)),
    "signed for another body": (UNKNOWN, lambda _stand, method, path: signed(path, method=method, body=b"other")),
    "override token": (CRON, lambda _stand, _method, _path: {"X-Fluxa-Override": OVERRIDE}),
    "wrong override token": (UNKNOWN, lambda _stand, _method, _path: {"X-Fluxa-Override": OVERRIDE[:-1]}),
    "static secret": (CRON, lambda _stand, _method, _path: {"X-Internal-Secret": LEGACY}),
    "wrong static secret": (UNKNOWN, lambda _stand, _method, _path: {"X-Internal-Secret": OVERRIDE}),
}


def _may(route: Route, who: str) -> bool:
    auth = route.auth
    if auth is Auth.BEARER:
        return who == OPERATOR or (who == STRANGER and not route.terms.platform)
    return auth is Auth.OPEN or (auth is Auth.CRON and who == CRON)


def _expected(route: Route, who: str) -> set[int]:
    """The statuses of one that may not; empty for one that may."""
    if _may(route, who):
        return set()
    return {403} if route.auth is Auth.BEARER and who == STRANGER else {401}


async def test_every_route_has_its_place_in_the_list(database: Database) -> None:
    async with open_station(database) as stand:
        found: dict[Auth, set[str]] = {}
        for route in stand.app.routes:
            found.setdefault(route.auth, set()).add(route.name)
        assert found == ROUTES


@pytest.mark.req("QUEUE-10", "QUEUE-12")
@pytest.mark.parametrize("kind", KINDS)
async def test_a_route_opens_to_whom_it_says_and_to_nobody_else(database: Database, kind: str) -> None:
    who, make = KINDS[kind]
    async with open_station(database) as stand, httpx.AsyncClient(base_url=stand.url) as client:
        for route in stand.app.routes:
            path = route.path.replace("{queue}", "jobs").replace("{id}", "1").replace("{code}", "NotFound")
            for method in route.methods:
                answer = await client.request(method, path, headers=make(stand, method, path))
                expected = _expected(route, who)
                if expected:
                    assert answer.status_code in expected, (route.name, answer.text)
                    assert answer.json()["code"] in {"Unauthenticated", "Forbidden"}
                    scheme = "Fluxa-Signature" if route.auth is Auth.CRON else "Bearer"
                    assert answer.status_code == 403 or answer.headers["www-authenticate"].startswith(scheme)
                else:
                    assert answer.status_code in {200, 400, 404}, (route.name, answer.text)


@pytest.mark.req("QUEUE-12")
async def test_a_signed_call_that_comes_again_is_refused(database: Database) -> None:
    async with open_station(database) as stand, httpx.AsyncClient(base_url=stand.url) as client:
        headers = signed("/process-queues")
        answers = [await client.post("/process-queues", headers=headers) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [200, 401]
