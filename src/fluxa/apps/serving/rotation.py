"""Takes up secrets that change while a process runs. Not: which parts use them (they say so), or where they are."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from fluxa.apps.settings import Settings, with_secrets
from fluxa.kernel.errors import FluxaError
from fluxa.kernel.lifecycle import cancel_and_wait
from fluxa.telemetry.log import Logger

T = TypeVar("T")

Use = Callable[[Settings], Awaitable[None]]
"""Works with these settings from now on. If it raises, it works with what it had, and is asked again."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where secrets are read again.

    Attributes:
        name: as the log names it.
        period_s: seconds between two looks.
        read: what is there now, by setting, as text; raises `FluxaError` if that cannot be found out.
    """

    name: str
    period_s: float
    read: Callable[[], Awaitable[Mapping[str, str]]]


@dataclass(slots=True)
class _Holder:
    """A part that works with some secrets.

    Attributes:
        names: their settings.
        use: lets it work with others.
        works_with: the settings it works with now.
        told: what the log was told last about why it does not work with newer ones.
    """

    names: tuple[str, ...]
    use: Use
    works_with: Settings
    told: str = ""


class Rotation:
    """Reads secrets again, and hands each change to the parts that hold it. A `fluxa.kernel.lifecycle.Service`.

    A source that cannot be read, or has what is of no use, changes nothing: what was valid stays in use, and the log
    says why once. The same holds for a part that cannot work with the new value yet; it is asked again at each look.
    Nothing is stopped for a change: each part goes on with what it has begun.

    Args:
        settings: those the process began with.
        logger: hears what changed, by name only.
        sources: where to look.
    """

    def __init__(self, settings: Settings, logger: Logger, sources: Sequence[Source] = ()) -> None:
        self._settings = settings
        self._logger = logger
        self._sources = tuple(sources)
        self._holders: list[_Holder] = []
        self._told: dict[str, str] = {}
        self._handing = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def held(self) -> frozenset[str]:
        """The settings that some part of this process takes up."""
        return frozenset(name for holder in self._holders for name in holder.names)

    def on_change(self, names: Sequence[str], use: Use) -> None:
        """Call this with the settings whenever one of these has changed."""
        self._holders.append(_Holder(tuple(names), use, self._settings))

    def on_row(self, setting: str, find: Callable[[Settings], T | None], use: Callable[[T], None]) -> None:
        """Call this with what a table of the settings says of one thing whenever that table has changed.

        What they name no more goes on as it is, and what they name anew waits for a restart.

        Args:
            setting: the table's.
            find: what it says of the one thing; None: nothing.
            use: lets it be so.
        """

        async def hand(settings: Settings) -> None:
            given = find(settings)
            if given is not None:
                use(given)

        self.on_change([setting], hand)

    async def start(self) -> None:
        """Begin to look, where there is anything to look at."""
        if not self._tasks:
            self._tasks = [
                asyncio.create_task(self._run(source), name=f"rotation of {source.name}") for source in self._sources
            ]

    async def stop(self) -> None:
        """Look no more."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            await cancel_and_wait(task)

    async def look(self) -> None:
        """Look everywhere, and hand on what changed."""
        for source in self._sources:
            await self._look(source)

    async def _look(self, source: Source) -> None:
        try:
            found = await source.read()
            async with self._handing:
                self._settings = with_secrets(self._settings, found)
                self._told.pop(source.name, None)
                for holder in self._holders:
                    await self._hand(holder)
        except FluxaError as error:
            if error.detail != self._told.get(source.name):
                self._told[source.name] = error.detail
                self._logger.warning("secrets not taken up", source=source.name, detail=error.detail)

    async def _hand(self, holder: _Holder) -> None:
        """Let one part work with what changed; if it cannot yet, the others do."""
        settings = self._settings
        changed = [name for name in holder.names if getattr(settings, name) != getattr(holder.works_with, name)]
        if not changed:
            return
        try:
            await holder.use(settings)
        except FluxaError as error:
            # Not its detail: an answer of another server may quote what it was sent.
            if error.code != holder.told:
                holder.told = error.code
                self._logger.warning("secrets not taken up", names=changed, error_code=error.code)
            return
        except Exception:
            # A part that breaks must not keep the change from the parts after it.
            self._logger.exception("secrets not taken up", names=changed)
            return
        holder.works_with, holder.told = settings, ""
        self._logger.info("secrets taken up", names=changed)

    async def _run(self, source: Source) -> None:
        while True:
            await asyncio.sleep(source.period_s)
            try:
                await self._look(source)
            except Exception:
                # Whatever it is, the next look may work, and until then what was valid stays in use.
                self._logger.exception("secrets not taken up", source=source.name)
