"""`/v1/schemas`: register, read, list and remove the JSON Schema of an event type. Not: what a schema means."""

from collections.abc import Sequence
from dataclasses import replace

import msgspec

from fluxa.auth.roles import OPERATORS, READERS
from fluxa.auth.scopes import Scope as KeyScope
from fluxa.events.event import check_attribute
from fluxa.events.schemas.registry import SchemaRegistry
from fluxa.events.schemas.store import SchemaHead, SchemaStore, StoredSchema
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.kernel.ids import Tenant
from fluxa.web.bodies import Bodies
from fluxa.web.responses import Response, json_response, send_response
from fluxa.web.routes import Auth, Bucket, Call, Operation, Receive, Route, Scope, Send, Terms


class SchemaList(msgspec.Struct, frozen=True):
    """A tenant's schemas, in the order of their types."""

    schemas: list[SchemaHead]


def schema_routes(registry: SchemaRegistry, store: SchemaStore, bodies: Bodies) -> Sequence[Route]:
    """The rows."""

    async def put(call: Call, scope: Scope, receive: Receive, send: Send) -> None:
        async with bodies.read(scope, receive) as body:
            head = await registry.put(_tenant(call), call.path_params["type"], body)
        await send_response(send, json_response(head))

    async def get(call: Call, _scope: Scope, _receive: Receive, send: Send) -> None:
        found = await store.find(_tenant(call), _type(call))
        if found is None:
            raise _no_schema()
        await send_response(send, json_response(found))

    async def remove(call: Call, _scope: Scope, _receive: Receive, send: Send) -> None:
        if not await registry.delete(_tenant(call), _type(call)):
            raise _no_schema()
        await send_response(send, Response(status=204))

    async def show(call: Call, _scope: Scope, _receive: Receive, send: Send) -> None:
        await send_response(send, json_response(SchemaList(list(await store.list(_tenant(call))))))

    path = "/v1/schemas/{type}"
    return (
        Route("schemas_list", "/v1/schemas", ("GET",), Auth.BEARER, show, _LIST, _SHOW),
        Route("schemas_get", path, ("GET",), Auth.BEARER, get, _GET, _SHOW),
        Route("schemas_put", path, ("PUT",), Auth.BEARER, put, _PUT, replace(_CHANGE, body_max_bytes=bodies.max_bytes)),
        Route("schemas_delete", path, ("DELETE",), Auth.BEARER, remove, _DELETE, _CHANGE),
    )


def _tenant(call: Call) -> Tenant:
    return call.caller.tenant


def _type(call: Call) -> str:
    """The type that the path names; one that no event can have has no schema either."""
    type_ = call.path_params["type"]
    try:
        check_attribute("type", type_)
    except FluxaError:
        raise _no_schema() from None
    return type_


def _no_schema() -> FluxaError:
    return FluxaError(ErrorCode.NOT_FOUND, "No schema is registered for this type.")


_SHOW = Terms(Bucket.QUERY, READERS, scope=KeyScope.SCHEMAS_READ)
_CHANGE = Terms(Bucket.OPERATION, OPERATORS, scope=KeyScope.SCHEMAS_WRITE)
_LIST = Operation("The event types that have a schema.", responses={200: ("In the order of their names", SchemaList)})
_GET = Operation(
    "The schema of an event type.",
    responses={200: ("The version in force", StoredSchema), 404: ("The type has none", None)},
)
_PUT = Operation(
    "Register the JSON Schema (draft 2020-12) of an event type; in force everywhere within two seconds.",
    request={"application/json": {"type": ["object", "boolean"]}},
    responses={
        200: ("In force", SchemaHead),
        400: ("Not JSON, or not a schema that can be used", None),
        413: ("Larger than 256 KiB", None),
        422: ("No event can have this type", None),
    },
)
_DELETE = Operation(
    "Remove the schema of an event type.", responses={204: ("Removed", None), 404: ("The type has none", None)}
)
