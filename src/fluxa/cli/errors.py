"""How errors are shown on the command line, and the exit codes that go with them."""

from typing import Final

from rich.console import Console
from rich.markup import escape

from fluxa.kernel.errors import ErrorCode, FluxaError

FAILED: Final = 1
USAGE: Final = 2
REFUSED: Final = 3
NOT_FOUND: Final = 4
UNREACHABLE: Final = 5
INTERRUPTED: Final = 130

_EXIT_CODES = {
    ErrorCode.CONFIGURATION: USAGE,
    ErrorCode.INVALID_REQUEST: USAGE,
    ErrorCode.REFUSED: REFUSED,
    ErrorCode.UNAUTHENTICATED: REFUSED,
    ErrorCode.FORBIDDEN: REFUSED,
    ErrorCode.NOT_FOUND: NOT_FOUND,
    ErrorCode.DB_CONNECTION_ERROR: UNREACHABLE,
    ErrorCode.PROVIDER_UNAVAILABLE: UNREACHABLE,
    ErrorCode.OBJECT_STORE_UNAVAILABLE: UNREACHABLE,
    ErrorCode.SHUTTING_DOWN: UNREACHABLE,
}


class CommandError(FluxaError):
    """An error with advice of its own, where the command knows better than the table what to do."""

    def __init__(self, code: str, detail: str, *, action: str, pointer: str | None = None) -> None:
        super().__init__(code, detail, pointer=pointer)
        self.action = action


def exit_code(error: FluxaError) -> int:
    """The exit code for an error."""
    return next((code for name, code in _EXIT_CODES.items() if name == error.code), FAILED)


def show_error(error: FluxaError) -> None:
    """What happened, what it means, what to do; on standard error."""
    console = stderr()
    where = f" (at {error.pointer})" if error.pointer else ""
    console.print(f"[bold red]✗[/] {escape(error.detail)}{escape(where)}")
    if isinstance(error, CommandError):
        action = error.action
    else:
        action = error.spec.action
        if error.spec.title not in error.detail:
            console.print(f"  {error.code}: {error.spec.title}.", style="dim", markup=False)
    console.print(f"  [bold]What to do:[/] {escape(action)}")


def stderr() -> Console:
    """Where people are told things that are not the result."""
    return Console(stderr=True, highlight=False, soft_wrap=True)
