"""The OpenAPI document made from a route table."""

import msgspec
import pytest

from fluxa.auth.roles import EVERY_ROLE
from fluxa.web import openapi
from fluxa.web.routes import UNCOUNTED, Auth, Bucket, Call, Media, Operation, Receive, Route, Scope, Send, Terms


class _Answer(msgspec.Struct):
    count: int


async def _endpoint(_call: Call, _scope: Scope, _receive: Receive, _send: Send) -> None: ...


ROUTES = (
    Route(
        "get_thing",
        "/things/{id}",
        ("GET",),
        Auth.BEARER,
        _endpoint,
        Operation("One thing", responses={200: ("It.", _Answer), 404: ("None.", None)}),
        Terms(Bucket.QUERY, EVERY_ROLE),
    ),
    Route(
        "post_thing",
        "/things",
        ("POST",),
        Auth.BEARER,
        _endpoint,
        Operation("A new thing", request={"application/json": _Answer}, responses={202: ("Taken.", None)}),
        Terms(Bucket.QUERY, EVERY_ROLE),
    ),
    Route(
        "tail",
        "/tail",
        ("GET",),
        Auth.OPEN,
        _endpoint,
        Operation("Tail", responses={200: ("A stream.", Media("text/event-stream", {"type": "string"}))}),
        UNCOUNTED,
    ),
)


@pytest.mark.req("PIPE-2")
def test_every_route_names_its_problems_and_its_credential() -> None:
    document = openapi.document(ROUTES, version="1")
    get = document["paths"]["/things/{id}"]["get"]
    assert set(get["responses"]) == {"200", "400", "401", "403", "404", "413", "429", "500", "503", "504"}
    assert get["security"] == [{"api_key": []}]
    assert get["parameters"][0]["name"] == "id"
    assert "application/problem+json" in get["responses"]["404"]["content"]
    post = document["paths"]["/things"]["post"]
    assert {"408", "413", "415", "429"} <= set(post["responses"])
    tail = document["paths"]["/tail"]["get"]
    assert tail["security"] == []
    assert set(tail["responses"]["200"]["content"]) == {"text/event-stream"}


@pytest.mark.req("STATION-table", "STATION-buckets")
def test_every_route_says_on_what_terms_it_is_called() -> None:
    document = openapi.document(ROUTES, version="1")
    get, tail = document["paths"]["/things/{id}"]["get"], document["paths"]["/tail"]["get"]
    terms = {name: value for name, value in get.items() if name.startswith("x-fluxa-")}
    assert terms == {
        "x-fluxa-auth": "bearer",
        "x-fluxa-bucket": "query",
        "x-fluxa-roles": sorted(EVERY_ROLE),
        "x-fluxa-platform": False,
        "x-fluxa-scope": None,
        "x-fluxa-body-max-bytes": 1024 * 1024,
        "x-fluxa-timeout-s": 60.0,
    }
    limits = {"RateLimit", "RateLimit-Policy"}
    always = {"X-Correlation-ID"}
    found = {status: set(answer["headers"]) for status, answer in get["responses"].items()}
    assert found["200"] == found["403"] == always | limits
    assert found["401"] == always | {"WWW-Authenticate"}
    assert found["429"] == always | limits | {"Retry-After"}
    assert found["503"] >= {"Retry-After"}
    assert set(document["components"]["headers"]) == set().union(*found.values())
    assert "one of the roles admin, agent" in get["responses"]["403"]["description"]
    assert "429" not in tail["responses"]
    assert "401" not in tail["responses"]
    assert set(tail["responses"]["200"]["headers"]) == always
    assert "x-fluxa-roles" not in tail


def test_every_reference_leads_somewhere() -> None:
    document = openapi.document(ROUTES, version="1")
    text = msgspec.json.encode(document).decode()
    for reference in {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}:
        assert reference in document["components"]["schemas"]
    assert {"Problem", "_Answer"} <= set(document["components"]["schemas"])
