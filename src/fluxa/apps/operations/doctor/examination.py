"""Runs checks side by side, each within its time, and keeps every secret out of what they say. Not: the checks."""

import asyncio
import enum
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import unquote

import msgspec

from fluxa.apps.settings import NAMES, Settings, is_secret
from fluxa.kernel.clock import Clock
from fluxa.kernel.errors import FluxaError
from fluxa.telemetry.redaction import HIDDEN, redacted_text

_SHORTEST: Final = 4
"""Shorter parts of secrets are in every second word; they are hidden by the shape of what is around them."""


class State(enum.StrEnum):
    """How it is, best first."""

    OK = "OK"
    WARN = "WARN"
    """It works, and will not for long or not as well as it could."""
    UNKNOWN = "UNKNOWN"
    """It could not be found out; that is no good news."""
    FAIL = "FAIL"


_LONG: Final = 16
"""Pieces of URLs and headers that are as long as that are credentials, or may well be."""
_BETWEEN: Final = re.compile(r"[/?&=#,;\s]+")


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check has to say.

    Attributes:
        check: what was looked at.
        state: how it is.
        said: what was found; never a secret.
        action: what to do next; empty where nothing is to be done.
        took_ms: how long it took to find out, in milliseconds.
    """

    check: str
    state: State
    said: str
    action: str = ""
    took_ms: float = 0.0


Check = Callable[[], Awaitable[Sequence[Finding]]]
"""Looks at one thing; it may say several. An error that it raises is a finding too."""


async def examine(
    checks: Mapping[str, Check], *, timeout_s: float, clock: Clock, hidden: Iterable[str]
) -> list[Finding]:
    """Run all checks at once.

    Args:
        checks: by name.
        timeout_s: seconds that each may take; then nobody knows.
        clock: measures them.
        hidden: what must not be in any text.
    """
    secrets = sorted(set(hidden), key=len, reverse=True)
    found = await asyncio.gather(*(_run(name, check, timeout_s, clock) for name, check in checks.items()))
    return [_veiled(finding, secrets) for findings in found for finding in findings]


async def _run(name: str, check: Check, timeout_s: float, clock: Clock) -> Sequence[Finding]:
    began = clock.monotonic()
    try:
        async with asyncio.timeout(timeout_s):
            findings = await check()
    except TimeoutError:
        findings = [
            Finding(
                name, State.UNKNOWN, f"no answer within {timeout_s:g} s", "See whether it is up and can be reached."
            )
        ]
    except FluxaError as error:
        findings = [Finding(name, State.FAIL, error.detail, error.spec.action)]
    except Exception as error:  # noqa: BLE001 - one check that breaks must not hide what the others found
        findings = [Finding(name, State.UNKNOWN, f"the check broke: {type(error).__name__}: {error}", "Report it.")]
    took_ms = round((clock.monotonic() - began) * 1000, 1)
    return [replace(finding, took_ms=took_ms) for finding in findings]


def worst(findings: Iterable[Finding]) -> State:
    """The worst state there is; OK if there is nothing to say."""
    order = list(State)
    return max((finding.state for finding in findings), key=order.index, default=State.OK)


def secret_values(settings: Settings) -> list[str]:
    """Every text in the settings that must not be shown, and its parts: of a list each one, of a URL the password."""
    found: list[str] = []
    for name in NAMES:
        if is_secret(name):
            found += _texts(msgspec.to_builtins(getattr(settings, name)))
    parts = [part for text in found for part in (text, *text.split(","))]
    for text in found:
        # Of a URL the long pieces behind the host, of a header the credential behind its scheme: many servers
        # quote just that.
        behind = text.partition("://")[2].partition("/")[2] if "://" in text else text
        pieces = [piece for piece in _BETWEEN.split(unquote(behind)) if len(piece) >= _LONG]
        parts += pieces if "://" in text or "=" in text else []
    passwords = [text.rpartition("@")[0].partition("://")[2].partition(":")[2] for text in found if "://" in text]
    parts += [*passwords, *(unquote(password) for password in passwords)]
    return [part.strip() for part in parts if len(part.strip()) >= _SHORTEST]


def _texts(value: object) -> list[str]:
    """All text in a table that could be secret; names of fields, and what has a short list of values, is not."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        return [
            text for name, part in value.items() if name in _HIDDEN_FIELDS or _is_deep(part) for text in _texts(part)
        ]
    if isinstance(value, list | tuple):
        return [text for part in value for text in _texts(part)]
    return []


_HIDDEN_FIELDS: Final = frozenset({"bearer", "password", "secrets", "url"})


def _is_deep(value: object) -> bool:
    return isinstance(value, Mapping)


def _veiled(finding: Finding, secrets: Sequence[str]) -> Finding:
    said, action = finding.said, finding.action
    for secret in secrets:
        said, action = said.replace(secret, HIDDEN), action.replace(secret, HIDDEN)
    return replace(finding, said=redacted_text(said), action=redacted_text(action))
