"""A program with a handler that a bad build breaks: whatever says so fails."""

from typing import Any

from fluxa import Fluxa, QueueSpec
from fluxa.queue.policy import RetryPolicy
from fluxa.queue.registry import Watermarks

app = Fluxa()
app.queue(QueueSpec("orders", retry=RetryPolicy(attempts_max=1), watermarks=Watermarks(depth=20)))


@app.handler("orders")
async def ship(job: dict[str, Any]) -> None:
    """Ship an order, unless the build is bad."""
    if job.get("bad"):
        raise ValueError("the build is bad")
