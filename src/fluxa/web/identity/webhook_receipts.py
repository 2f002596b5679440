"""Acts on each webhook once: the receipt is written in the transaction that does what it asks for. Not: who sent it."""

from collections.abc import Awaitable, Callable
from typing import Final

from fluxa.auth.nonces import Nonces
from fluxa.postgres.pool import Database
from fluxa.postgres.transaction import Transaction
from fluxa.web.bodies import Bodies
from fluxa.web.identity.webhook import BODY_MAX_BYTES, Delivery, delivery_of
from fluxa.web.responses import Response, json_response, send_response
from fluxa.web.routes import Call, Endpoint, Receive, Scope, Send

ActOn = Callable[[Delivery, bytes, Transaction], Awaitable[Response]]
"""Does what a webhook asks for, in the transaction, and says what to answer once that is committed."""

_SIGNER: Final = "webhook:"


class Receipts:
    """Which webhooks were accepted before, on any machine.

    The key is the digest of what was signed, so that no change to the rest of the request makes an old webhook new.
    """

    def __init__(self, nonces: Nonces) -> None:
        self._nonces = nonces

    async def take(self, delivery: Delivery, tx: Transaction) -> bool:
        """Whether this is the first time; True too where nothing is signed and so nothing can be known again.

        Another transaction that has taken the same one and is not done yet is waited for.

        Raises:
            FluxaError: an outage; the webhook must then not be acted on.
        """
        key = delivery.verified.replay_key
        if key is None or delivery.remember_s <= 0:
            return True
        return await self._nonces.take(f"{_SIGNER}{delivery.source}", key, keep_s=delivery.remember_s, tx=tx)


def once(database: Database, receipts: Receipts, act_on: ActOn) -> Endpoint:
    """An endpoint that acts on each webhook once, and answers a repetition with 200 and `duplicate`.

    If acting fails or the process dies, the receipt is rolled back with the rest, and the next attempt counts.
    A repetition is not refused: the provider may never have read the first answer, and would go on trying.
    """
    bodies = Bodies(max_bytes=BODY_MAX_BYTES)

    async def endpoint(_call: Call, scope: Scope, receive: Receive, send: Send) -> None:
        delivery = delivery_of(scope)
        async with bodies.read(scope, receive) as body:
            async with database.transaction() as tx:
                first = await receipts.take(delivery, tx)
                answer = json_response({"duplicate": True})
                if first:
                    answer = await act_on(delivery, body, tx)
            await send_response(send, answer)

    return endpoint
