"""Idempotency-Key: a request sent again gets the stored answer instead of being carried out again (PIPE-4).

A request without the header never comes here. The lock on a key is a lease, so that a request whose
process died can be sent again; answers that a repeat may better (5xx, 408, 429) are not stored.
"""

import asyncio
import contextlib
import datetime as dt
import hashlib
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from fluxa.kernel.errors import ErrorCode, FluxaError, RetryClass
from fluxa.kernel.ids import Tenant
from fluxa.kernel.lifecycle import cancel_and_wait
from fluxa.postgres import sql
from fluxa.postgres.pool import Database
from fluxa.postgres.tenancy import as_tenant
from fluxa.telemetry.log import Logger
from fluxa.web.responses import Response
from fluxa.web.routes import Scope

_SQL = sql.load("fluxa.web.idempotency", "idempotency.sql")
_KEY = re.compile(rb"[\x21-\x7e]{1,255}\Z")
_REPLAYED = (b"idempotency-replayed", b"true")
_PASSING = frozenset({408, 425, 429})
_SERVER_ERROR = 500
_TRIES = 5

Execute = Callable[[], Awaitable[Response]]
"""Carries the request out; called at most once."""


def key_of(scope: Scope) -> str | None:
    """The request's Idempotency-Key, if it has one.

    Raises:
        FluxaError: `InvalidRequest` for one that is repeated, too long or not visible ASCII.
    """
    found: bytes | None = None
    for name, value in scope["headers"]:
        if name == b"idempotency-key":
            if found is not None or not _KEY.match(value):
                raise FluxaError(
                    ErrorCode.INVALID_REQUEST,
                    "Idempotency-Key is one value of 1 to 255 visible ASCII characters.",
                )
            found = value
    return None if found is None else found.decode("ascii")


def fingerprint(scope: Scope, body: bytes) -> bytes:
    """What makes two requests the same: method, path, query, content type, CloudEvents headers and body."""
    digest = hashlib.sha256()
    told = sorted(
        (name, value) for name, value in scope["headers"] if name == b"content-type" or name.startswith(b"ce-")
    )
    line = (scope["method"].encode(), scope["raw_path"], scope["query_string"])
    for part in (*line, *(part for pair in told for part in pair), body):
        digest.update(b"%d:" % len(part))
        digest.update(part)
    return digest.digest()


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """How long keys are held.

    Attributes:
        lease_s: seconds after which a request that has not ended is taken for dead; longer than any may take.
        keep_s: seconds for which an answer is stored.
        sweep_every_s: seconds between two deletions of expired answers.
        sweep_rows: rows that one deletion takes at most.
    """

    lease_s: float = 120.0
    keep_s: float = 24 * 3600.0
    sweep_every_s: float = 300.0
    sweep_rows: int = 1000


class RequestKeys:
    """The keys of one database. A `fluxa.kernel.lifecycle.Service`: while it runs, expired answers are deleted."""

    def __init__(self, database: Database, logger: Logger, limits: KeyLimits | None = None) -> None:
        self._database = database
        self._logger = logger
        self._limits = limits or KeyLimits()
        self._sweeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to delete expired answers in the background."""
        if self._sweeper is None:
            self._sweeper = asyncio.create_task(self._sweep_for_ever(), name="request keys")

    async def stop(self) -> None:
        """End the deletion."""
        task, self._sweeper = self._sweeper, None
        await cancel_and_wait(task)

    async def run(self, tenant: Tenant, key: str, print_: bytes, execute: Execute) -> Response:
        """Carry a request out once; give its stored answer to those who send it again.

        Args:
            tenant: whose key it is; two tenants may use the same.
            key: from `key_of`.
            print_: from `fingerprint`.
            execute: carries the request out. What it raises passes through, and nothing is stored.

        Raises:
            FluxaError: `IdempotencyInFlight` while the first request runs; `IdempotencyMismatch` if the key
                was used for another request; an outage.
        """
        for _ in range(_TRIES):
            locked_until = await self._claim(tenant, key, print_)
            if locked_until is not None:
                return await self._carry_out(tenant, key, locked_until, execute)
            async with as_tenant(self._database, tenant) as tx:
                row = await tx.fetch_row(_SQL["find_key"], tenant, key)
            if row is None:
                continue  # the first request gave the key up between the two statements
            if bytes(row["fingerprint"]) != print_:
                raise FluxaError(
                    ErrorCode.IDEMPOTENCY_MISMATCH, "This Idempotency-Key was sent before with another request."
                )
            if row["status"] is not None:
                return Response(
                    status=row["status"],
                    content_type=row["content_type"],
                    body=bytes(row["body"]),
                    headers=(_REPLAYED,),
                )
            break
        raise FluxaError(
            ErrorCode.IDEMPOTENCY_IN_FLIGHT,
            "The first request with this Idempotency-Key has not been answered yet.",
            retry_after_s=1,
        )

    async def sweep(self) -> int:
        """Delete one batch of expired answers; returns how many."""
        return await self._database.execute(_SQL["delete_expired"], self._limits.sweep_rows)

    async def _claim(self, tenant: Tenant, key: str, print_: bytes) -> dt.datetime | None:
        """Take the key; the end of the lease proves whose it is."""
        lease = dt.timedelta(seconds=self._limits.lease_s)
        keep = dt.timedelta(seconds=self._limits.keep_s)
        async with as_tenant(self._database, tenant) as tx:
            found: dt.datetime | None = await tx.fetch_value(_SQL["claim_key"], tenant, key, print_, lease, keep)
        return found

    async def _carry_out(self, tenant: Tenant, key: str, locked_until: dt.datetime, execute: Execute) -> Response:
        try:
            answer = await execute()
        except Exception:
            await self._unless_away(self._release(tenant, key, locked_until))
            raise
        if answer.status >= _SERVER_ERROR or answer.status in _PASSING:
            await self._unless_away(self._release(tenant, key, locked_until))
        else:
            await self._unless_away(self._store(tenant, key, locked_until, answer))
        return answer

    async def _release(self, tenant: Tenant, key: str, locked_until: dt.datetime) -> None:
        async with as_tenant(self._database, tenant) as tx:
            await tx.execute(_SQL["release_key"], tenant, key, locked_until)

    async def _store(self, tenant: Tenant, key: str, locked_until: dt.datetime, answer: Response) -> None:
        told = (answer.status, answer.content_type, answer.body)
        async with as_tenant(self._database, tenant) as tx:
            await tx.execute(_SQL["store_answer"], tenant, key, locked_until, *told)

    async def _unless_away(self, closing: Awaitable[None]) -> None:
        """Close the key; an outage now must not turn a request that was carried out into an error.

        The lease then ends by itself, and a repeat is carried out again: events have identities of their own.
        """
        try:
            await closing
        except FluxaError as error:
            if error.retry is not RetryClass.TRANSIENT:
                raise
            self._logger.warning("request key left to its lease", error_code=error.code, detail=error.detail)

    async def _sweep_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._limits.sweep_every_s)
            with contextlib.suppress(FluxaError):  # an outage is told by those who need the database now
                full = True
                while full:
                    full = await self.sweep() == self._limits.sweep_rows
