"""The query service: finds events, tells their stories, streams new ones."""

import asyncio

from fluxa.apps.engines import object_store
from fluxa.apps.serving.ground import ground
from fluxa.apps.serving.process import Tie
from fluxa.apps.settings import Settings
from fluxa.events.query.routes import QueryDoor, routes
from fluxa.events.query.store import EventReads
from fluxa.events.query.tail import Tailer

SERVICE = "query"


async def query(settings: Settings, stopping: asyncio.Event, tie: Tie) -> None:
    """Run until `stopping` is set; streams are told to connect again elsewhere.

    Raises:
        FluxaError: whatever keeps the service from starting.
    """
    async with ground(settings, SERVICE, tie) as on:
        objects = object_store(settings, on.rotation)
        reads = EventReads(on.database)
        tailer = Tailer(reads, hook=on.told.hook, clock=on.clock)
        await on.life.start(tailer)
        await on.serve(
            routes(QueryDoor(reads, objects, tailer, on.clock)),
            stopping=stopping,
            checks={"object_store": objects.check},
            drain=tailer.stop,  # a stream would else keep the server waiting for its end
        )
