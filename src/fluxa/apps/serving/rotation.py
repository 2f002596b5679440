"""Takes up secrets that changed in their files while a process runs. Not: which parts use them (they say so here)."""

import asyncio
from collections.abc import Awaitable, Callable

from fluxa.apps.settings import Settings, reread
from fluxa.kernel.errors import FluxaError
from fluxa.kernel.lifecycle import cancel_and_wait
from fluxa.telemetry.log import Logger

Use = Callable[[Settings], Awaitable[None]]
"""Works with these settings from now on; called once for each change."""


class Rotation:
    """Reads secret files again, every few seconds. A `fluxa.kernel.lifecycle.Service`.

    A file that is gone, half written or of no use changes nothing: what was valid stays in use, and the log says why
    once. Nothing is stopped for a change: each part goes on with what it has begun.

    Args:
        settings: those the process began with.
        logger: hears what changed, by name only.
    """

    def __init__(self, settings: Settings, logger: Logger) -> None:
        self.settings = settings
        self._logger = logger
        self._users: list[Use] = []
        self._told = ""
        self._task: asyncio.Task[None] | None = None

    def on_change(self, use: Use) -> None:
        """Call this with the settings of each change from now on."""
        self._users.append(use)

    async def start(self) -> None:
        """Begin to look, if there is any file to look at."""
        if self._task is None and self.settings.secret_files:
            self._task = asyncio.create_task(self._run(), name="rotation of secrets")

    async def stop(self) -> None:
        """Look no more."""
        task, self._task = self._task, None
        await cancel_and_wait(task)

    async def look(self) -> None:
        """Read the files, and hand on what changed."""
        try:
            found = await asyncio.to_thread(reread, self.settings)
        except FluxaError as error:
            if error.detail != self._told:
                self._told = error.detail
                self._logger.warning("secrets not taken up", detail=error.detail)
            return
        self._told = ""
        changed = [name for name in found.secret_files if getattr(found, name) != getattr(self.settings, name)]
        if not changed:
            return
        taken = [await self._taken_up(use, found) for use in self._users]
        if all(taken):
            self.settings = found
            self._logger.info("secrets taken up", names=changed)

    async def _taken_up(self, use: Use, found: Settings) -> bool:
        """Whether one part works with them now; if not it is asked again at the next look, and the others go on."""
        try:
            await use(found)
        except FluxaError as error:
            self._logger.warning("secrets not taken up", error_code=error.code)
            return False
        return True

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self.settings.secrets_reload_s)
            try:
                await self.look()
            except Exception:
                # Whatever it is, the next look may work, and until then what was valid stays in use.
                self._logger.exception("secrets not taken up")
