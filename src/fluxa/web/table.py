"""Finds the row of the route table that a request means. Not: what happens then (app)."""

import re
from collections.abc import Iterable, Sequence
from urllib.parse import unquote_to_bytes

from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.web.routes import Auth, Route

_PARAMETER = re.compile(r"\{(\w+)\}")
NO_PARAMS: dict[str, str] = {}

_Methods = dict[str, Route]


class MethodNotAllowedError(FluxaError):
    """The path is there, but not for this method.

    Attributes:
        allow: the methods that are.
    """

    def __init__(self, method: str, allow: Iterable[str]) -> None:
        self.allow = ", ".join(sorted(allow))
        super().__init__(ErrorCode.METHOD_NOT_ALLOWED, f"{method[:20]} is not allowed here; use {self.allow}.")


class Table:
    """The rows by path and method.

    A path is compared as it was sent; only the values of `{name}` parts are percent-decoded, so that a
    value may hold any character, a slash (`%2F`) too. A literal path wins over one with parts.

    Raises:
        ValueError: for rows that contradict each other, or do not state their authentication and roles.
    """

    def __init__(self, routes: Sequence[Route]) -> None:
        self._exact: dict[bytes, _Methods] = {}
        self._patterns: list[tuple[re.Pattern[bytes], _Methods]] = []
        names: set[str] = set()
        by_path: dict[str, _Methods] = {}
        for route in routes:
            _check(route)
            if route.name in names:
                raise ValueError(f"two routes are named {route.name}")
            names.add(route.name)
            methods = by_path.setdefault(route.path, {})
            for method in route.methods:
                if method in methods:
                    raise ValueError(f"{method} {route.path} has two routes")
                methods[method] = route
        for path, methods in by_path.items():
            if "GET" in methods:
                methods.setdefault("HEAD", methods["GET"])  # RFC 9110, 9.1; the server leaves the body out
            if "{" in path:
                self._patterns.append((_compiled(path), methods))
            else:
                self._exact[path.encode()] = methods

    def find(self, method: str, raw_path: bytes) -> tuple[Route, dict[str, str]]:
        """The row for a request, and the values of its path's parts.

        Raises:
            FluxaError: `NotFound`, `MethodNotAllowed`, or `InvalidRequest` for a value that is not UTF-8.
        """
        methods = self._exact.get(raw_path)
        params = NO_PARAMS
        if methods is None:
            methods, params = self._match(raw_path)
        route = methods.get(method)
        if route is None:
            raise MethodNotAllowedError(method, methods)
        return route, params

    def _match(self, raw_path: bytes) -> tuple[_Methods, dict[str, str]]:
        for pattern, methods in self._patterns:
            if match := pattern.fullmatch(raw_path):
                return methods, {name: _decoded(name, value) for name, value in match.groupdict().items()}
        raise FluxaError(ErrorCode.NOT_FOUND, "There is nothing at this path; GET /openapi.json lists all paths.")


def _check(route: Route) -> None:
    """Refuse a row that leaves open who may call it."""
    if not isinstance(route.auth, Auth):
        raise ValueError(f"route {route.name} does not state its authentication")  # noqa: TRY004 - a row's mistake, not a caller's
    if route.auth is Auth.BEARER and not route.terms.roles:
        raise ValueError(f"route {route.name} does not say who may call it")
    if (route.auth is Auth.WEBHOOK) != bool(route.sources):
        raise ValueError(f"route {route.name} takes webhooks and names no source, or the other way round")


def _compiled(path: str) -> re.Pattern[bytes]:
    parts = _PARAMETER.split(path)
    text = "".join(f"(?P<{part}>[^/]+)" if index % 2 else re.escape(part) for index, part in enumerate(parts))
    return re.compile(text.encode())


def _decoded(name: str, value: bytes) -> str:
    try:
        return unquote_to_bytes(value).decode()
    except UnicodeDecodeError:
        raise FluxaError(ErrorCode.INVALID_REQUEST, f"The {name} in the path is not UTF-8.") from None
