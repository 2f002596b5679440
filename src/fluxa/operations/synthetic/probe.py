"""Asks the pages of a process, over HTTP and from outside. Not: what an answer means (rules)."""

import asyncio
import errno
from typing import Final

import httpx

from fluxa.kernel.clock import Clock
from fluxa.operations.monitoring import pages
from fluxa.operations.synthetic.check import PAGES, CheckName, Outcome, Result
from fluxa.operations.synthetic.rules import OK, wrong_with

_BODY_MAX: Final = 8 * 1024 * 1024
_OURS: Final = "fluxa_"
_OWN_ERRORS: Final = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL}
"""What this machine lacks says nothing about the one that was asked."""
_PLAIN: Final = {"accept": "text/plain;version=0.0.4"}


async def fetch(client: httpx.AsyncClient, request: httpx.Request, *, within_s: float) -> tuple[int, bytes]:
    """Status and body of an answer, whole.

    Args:
        client: sends.
        request: what is asked.
        within_s: seconds that it may take, to its last byte.

    Raises:
        TimeoutError: it took longer.
        httpx.HTTPError: there was no answer, or one that is longer than any of ours.
    """
    async with asyncio.timeout(within_s):
        answer = await client.send(request, stream=True)
        try:
            content = bytearray()
            async for part in answer.aiter_bytes():
                content += part
                if len(content) > _BODY_MAX:
                    raise httpx.DecodingError(f"longer than {_BODY_MAX} bytes", request=request)
            return answer.status_code, bytes(content)
        finally:
            await answer.aclose()


def no_answer(error: httpx.HTTPError | TimeoutError, within_s: float) -> tuple[Result, str]:
    """What it means that there was none."""
    if isinstance(error, TimeoutError):
        return Result.FAILED, f"no answer within {within_s:g} s"
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in _OWN_ERRORS:
            return Result.UNKNOWN, f"this machine could not ask: {cause.strerror}"
        cause = cause.__cause__ or cause.__context__
    return Result.FAILED, f"no answer ({type(error).__name__})"


async def probe(
    client: httpx.AsyncClient, base: str, checks: tuple[CheckName, ...], *, clock: Clock, timeout_s: float
) -> list[Outcome]:
    """What these checks find at a process.

    A program of others that shows metrics beside ours has no health pages, and is asked for none.

    Args:
        client: asks.
        base: URL of the process.
        checks: which pages.
        clock: measures them, and says when they were read.
        timeout_s: seconds that one answer may take.
    """
    asked = [check for check in PAGES if check in checks or check is CheckName.METRICS]
    found = await asyncio.gather(*(_page(client, base, check, clock=clock, timeout_s=timeout_s) for check in asked))
    is_ours = all(ours for _, ours in found)
    return [one for one, _ in found if one.check in checks and (is_ours or one.check is CheckName.METRICS)]


async def _page(
    client: httpx.AsyncClient, base: str, check: CheckName, *, clock: Clock, timeout_s: float
) -> tuple[Outcome, bool]:
    """What one page says, and False if it is one of another program."""
    target, began_s = target_of(base), clock.monotonic()
    headers = _PLAIN if check is CheckName.METRICS else None
    try:
        request = client.build_request("GET", base + PAGES[check], headers=headers)
        status, body = await fetch(client, request, within_s=timeout_s)
    except (httpx.HTTPError, TimeoutError) as error:
        result, detail = no_answer(error, timeout_s)
        return Outcome(check, target, result, clock.monotonic() - began_s, detail), True
    duration_s = clock.monotonic() - began_s
    ours, detail = True, ""
    if check is not CheckName.METRICS:
        detail = wrong_with(check, status, body)
    elif status != OK:
        detail = f"status {status}"
    else:
        try:
            page = pages.read(base, body.decode(), now_s=clock.now().timestamp())
        except ValueError as error:
            detail = f"no metrics page: {error}"
        else:
            ours = any(name.startswith(_OURS) for name in page.families)
    return Outcome(check, target, Result.FAILED if detail else Result.OK, duration_s, detail), ours


def target_of(base: str) -> str:
    """What a process is called in metrics and tables: host, port and path of its URL."""
    url = httpx.URL(base)
    return url.netloc.decode() + url.path.rstrip("/")
