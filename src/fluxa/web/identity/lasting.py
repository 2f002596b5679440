"""Asks again, while an answer lasts, whether its caller is still let in. Not: who is (bearer, access)."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.kernel.lifecycle import cancel_and_wait

DENIALS: Final = frozenset({ErrorCode.UNAUTHENTICATED.value, ErrorCode.FORBIDDEN.value})
"""What a caller who is not let in is told."""


async def while_let_in(answering: Awaitable[None], again: Callable[[], Awaitable[None]], every_s: float) -> None:
    """Answer, and end that once the caller is not let in any more.

    Args:
        answering: the answer, until its last byte.
        again: raises as it did when the request came; an outage is no verdict, and the answer goes on.
        every_s: seconds between two questions.

    Raises:
        FluxaError: `Unauthenticated` or `Forbidden` of `again`; what answering raises.
    """
    answer = asyncio.ensure_future(answering)
    asking = asyncio.create_task(_ask(again, every_s), name="lasting answer's caller")
    try:
        await asyncio.wait({answer, asking}, return_when=asyncio.FIRST_COMPLETED)
        is_denied = asking.done()
    finally:
        await cancel_and_wait(asking)
        await cancel_and_wait(answer)
    await (asking if is_denied else answer)


async def _ask(again: Callable[[], Awaitable[None]], every_s: float) -> None:
    while True:
        await asyncio.sleep(every_s)
        try:
            await again()
        except FluxaError as error:
            if error.code in DENIALS:
                raise
