"""Where the dashboard's moments are kept: fine ones for hours, coarse ones for days. Not: what is in them (moment)."""

import asyncio
import datetime as dt
import math
from itertools import groupby

import msgspec

from fluxa.kernel import json
from fluxa.operations.dashboard.board import Board, Kept, board
from fluxa.operations.dashboard.moment import Moment, merged
from fluxa.postgres import sql
from fluxa.postgres.pool import Database
from fluxa.postgres.transaction import Row, Transaction

_SQL = sql.load("fluxa.operations.dashboard", "history.sql")

FINE_KEPT_S = 6 * 3600.0
"""How long each moment stays as it was written."""
COARSE_S = 300
COARSE_KEPT_S = 14 * 86400.0
"""How long they stay, several made one."""

_decoder = msgspec.json.Decoder(Moment)


class History:
    """The moments. Every verb may raise `DatabaseUnavailableError`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, tx: Transaction, moment: Moment) -> None:
        """Write a moment that ends now, make coarse ones of what is due, and forget what is old."""
        await tx.execute(_SQL["put_moment"], json.text(moment))
        rows = await tx.fetch(_SQL["read_unrolled"], float(COARSE_S))
        for end_s, of in groupby((_kept(row) for row in rows), key=_end_s):
            whole = merged([one.moment for one in of])
            # What stands in lists is of the moment only; it would be most of the row.
            coarse = msgspec.structs.replace(whole, processes=[], remarks=[])
            await tx.execute(_SQL["put_coarse"], dt.datetime.fromtimestamp(end_s, dt.UTC), json.text(coarse))
        await tx.execute(_SQL["trim_moments"], FINE_KEPT_S, COARSE_KEPT_S)

    async def read(self, window_s: int, *, least_s: float) -> Board:
        """The dashboard over a window that ends now.

        Args:
            window_s: its seconds.
            least_s: seconds between two moments.
        """
        statement = "read_fine" if window_s <= FINE_KEPT_S else "read_coarse"
        rows = await self._database.fetch(_SQL[statement], float(window_s))
        now: dt.datetime = await self._database.fetch_value(_SQL["read_now"])

        def drawn() -> Board:
            return board([_kept(row) for row in rows], now=now, window_s=window_s, least_s=least_s)

        # Where many queues have handlers, two weeks take a second, for which a station is not to keep its loop.
        return await asyncio.to_thread(drawn)


def _kept(row: Row) -> Kept:
    return Kept(row["at_s"], _decoder.decode(row["moment"]))


def _end_s(one: Kept) -> float:
    return float(math.ceil(one.at_s / COARSE_S) * COARSE_S)
