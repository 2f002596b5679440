"""Takes secrets out of what is about to be logged: by the name of a field and by the shape of a value. Not: logging."""

import functools
import re
from collections.abc import Mapping

HIDDEN = "****"
"""Stands where a secret was."""

_NAMES = re.compile(
    r"(?:^|_)(?:password|passwd|passphrase|pwd|secrets?|tokens?|authorization|cookies?|api_?keys?|bearer|credentials?"
    r"|(?:private|access|signing|secret|encryption)_?keys?|dsn)\Z",
    re.IGNORECASE,
)
"""Fields whose whole value is hidden; what only says something about a secret (`token_id`) has another ending."""
_SEPARATORS = re.compile(r"[^A-Za-z0-9]+|(?<=[a-z0-9])(?=[A-Z])")
_WORD = r"(?<![A-Za-z0-9])"
_PEM = r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----"
_BY_NAME = (
    r"(?:password|passwd|passphrase|(?:client_?|webhook_?)?secret|api[_-]?key|access[_-]?token|refresh[_-]?token"
    r"|id[_-]?token|private[_-]?key|secret[_-]?access[_-]?key|secret[_-]?key|sslpassword|authorization|x-internal-secret)"
)
_ASSIGNED = r"[ \t]{0,4}[=:][ \t]{0,4}[\"'\\]{0,4}(?:(?:bearer|basic)[ \t]{1,8})?"
_TOKENS = (
    r"fx_[0-9a-f]{16}_[A-Za-z0-9_-]{20,}",
    r"eyJ[A-Za-z0-9_-]{5,}(?:\.[A-Za-z0-9_-]*){2,4}",
    r"whs(?:ec|k)_[A-Za-z0-9+/=_-]{8,}",
    r"(?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{8,}",
    r"re_(?:[A-Za-z0-9]{6,}_[A-Za-z0-9]{10,}|[A-Za-z0-9]{20,})",
    r"sb_secret_[A-Za-z0-9_-]{8,}|sbp_[A-Za-z0-9]{16,}",
    r"gh[opsur]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}",
    r"xox[abeprs]-[A-Za-z0-9-]{10,}",
    r"sk-[A-Za-z0-9_-]{20,}",
    r"(?:AKIA|ASIA)[0-9A-Z]{16}",
)
"""What providers' keys, and ours, begin with."""
# Every repetition is bounded or cannot overlap what follows it: a hostile line costs no more than its length does.
_SHAPES = re.compile(
    rf"(?P<pem>{_PEM}(?:(?!-----END)[\s\S])*(?:-----END [A-Z0-9 ]{{0,40}}PRIVATE KEY-----)?)"
    r"|(?P<url>[A-Za-z][A-Za-z0-9+.-]{0,30}://[^\s:/@]{0,256}:)[^\s]{1,512}(?=@)"
    rf"|(?P<scheme>{_WORD}(?:bearer|basic)[ \t]{{1,8}})[A-Za-z0-9._~+/=-]{{6,}}"
    rf"|(?P<named>{_BY_NAME}[\"'\\]{{0,4}}{_ASSIGNED})[^\s\"'\\,;&<>(){{}}\[\]]+"
    rf"|(?P<whole>{_WORD}(?:{'|'.join(_TOKENS)}))",
    re.IGNORECASE,
)
_KEPT = ("url", "scheme", "named")
_SHORTEST = 8
"""No shape above is shorter: most values of a line are, and are not looked at."""
_DEEPEST = 8


@functools.lru_cache(maxsize=1024)
def is_secret_name(name: str) -> bool:
    """Whether a field of this name holds a secret: `password`, `apiKey`, `X-Auth-Token`; not `key_id`."""
    return _NAMES.search(_SEPARATORS.sub("_", name).lower()) is not None


def redacted_text(text: str) -> str:
    """The text with everything hidden that has the shape of a secret: keys, tokens, passwords in URLs, PEM keys."""
    return text if len(text) < _SHORTEST else _SHAPES.sub(_hide, text)


def redacted(value: object, depth: int = 0) -> object:
    """A value as it may be logged; what is no JSON value becomes its text, so that nothing passes unseen."""
    match value:
        case str():
            return redacted_text(value)
        case bool() | int() | float() | None:
            return value
        case Mapping() if depth < _DEEPEST:
            return {
                redacted_text(str(name)): HIDDEN
                if one is not None and is_secret_name(str(name))
                else redacted(one, depth + 1)
                for name, one in value.items()
            }
        case list() | tuple() | set() | frozenset() if depth < _DEEPEST:
            return [redacted(one, depth + 1) for one in value]
        case bytes() | bytearray():
            return redacted_text(bytes(value).decode("utf-8", "replace"))
        case _:
            return redacted_text(repr(value))


def _hide(found: re.Match[str]) -> str:
    kept = found.lastgroup
    return found[kept] + HIDDEN if kept in _KEPT else HIDDEN
