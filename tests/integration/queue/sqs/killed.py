"""A program that dies right after SQS has taken what it sends: `killed.py URL ENDPOINT PREFIX relay|settle`.

It comes no further: what it sent is in SQS, and what it sent it for is not settled.
"""

import asyncio
import os
import signal
import sys
from typing import Any

from typing_extensions import override

from aws.queues import make_backend
from aws.servers import KEY, REGION, SECRET
from fluxa.kernel.clock import SystemClock
from fluxa.postgres.pool import Database, PoolConfig
from fluxa.queue.backend import Settlement
from fluxa.queue.backends.sqs import Sqs, SqsOptions
from fluxa.queue.outcome import Retry

QUEUE = "killed"


class Fatal(Sqs):
    """Kills its process when the server has answered to a sending."""

    @override
    async def call(self, verb: str, *, patience_s: float = 0.0, **arguments: object) -> dict[str, Any]:
        answer = await super().call(verb, patience_s=patience_s, **arguments)
        if verb == "send_message_batch":
            os.kill(os.getpid(), signal.SIGKILL)
        return answer


async def die(url: str, endpoint: str, prefix: str, what: str) -> None:
    """Do what is asked; never returns."""
    database = Database(PoolConfig(url=url))
    await database.start()
    sqs = Fatal(SqsOptions(endpoint, REGION, KEY, SECRET, prefix))
    await sqs.start()
    clock = SystemClock()
    backend = make_backend(sqs, database, clock)
    if what == "relay":
        await backend.relay.drain(QUEUE)
    else:
        claimed = await backend.claim(QUEUE, limit=10, lease_s=5, wait_s=5)
        again = Retry(clock.now(), "HandlerError", "once")
        await backend.settle([Settlement(one, (again,) * len(one.records)) for one in claimed])


if __name__ == "__main__":
    asyncio.run(die(*sys.argv[1:]))
