"""A program in three builds: the first one does not know all queues, and the bad one breaks whatever it handles."""

from typing import Any

from fluxa import Fluxa, QueueSpec
from fluxa.queue.policy import RetryPolicy
from fluxa.queue.registry import Watermarks

first = Fluxa()
bad = Fluxa()
app = Fluxa()

for build in (first, bad, app):
    for queue in ("orders", "parcels", "imports"):
        build.queue(QueueSpec(queue, retry=RetryPolicy(attempts_max=1)))
    build.queue(QueueSpec("mails", watermarks=Watermarks(depth=20, oldest_age_s=2.0)))
app.queue(QueueSpec("digests"))


async def do(_job: dict[str, Any]) -> None:
    """Do what is asked."""


async def fail(_job: dict[str, Any]) -> None:
    """Do nothing of it."""
    raise ValueError("the build is bad")


for queue in ("orders", "parcels", "imports", "mails"):
    first.handler(queue)(do)
    bad.handler(queue)(fail)
    app.handler(queue)(do)
app.handler("digests")(do)
