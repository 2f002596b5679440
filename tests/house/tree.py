"""The source tree as the house tests read it: files that belong to the project, and their syntax."""

import ast
import functools
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "fluxa"

Function = ast.FunctionDef | ast.AsyncFunctionDef


@functools.cache
def files() -> tuple[Path, ...]:
    """Every file of the project that is not ignored, whether it is committed yet or not."""
    listing = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    names = sorted(set(filter(None, listing.stdout.split("\0"))))
    return tuple(path for name in names if (path := ROOT / name).is_file())


def python_files(*folders: str) -> tuple[Path, ...]:
    """Python files below these folders of the project; below all of them if none is named."""
    return tuple(path for path in files() if path.suffix == ".py" and (not folders or name(path).startswith(folders)))


def name(path: Path) -> str:
    """The path as one says it: from the project's root, with slashes."""
    return path.relative_to(ROOT).as_posix()


@functools.cache
def syntax(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(path.read_text("utf-8"), filename=str(path))


def module_name(path: Path) -> str:
    """The dotted name of a module below `src`."""
    parts = path.relative_to(ROOT / "src").with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def functions(path: Path) -> Iterator[Function]:
    """All functions and methods of a file, nested ones too."""
    for node in ast.walk(syntax(path)):
        if isinstance(node, Function):
            yield node


@functools.cache
def strings(path: Path) -> tuple[ast.Constant, ...]:
    """All string literals of a file but its docstrings."""
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(syntax(path))
        if isinstance(node, ast.Module | ast.ClassDef | Function) and node.body and isinstance(node.body[0], ast.Expr)
    }
    return tuple(
        node
        for node in ast.walk(syntax(path))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings
    )


@functools.cache
def imported_names(path: Path) -> frozenset[str]:
    """Dotted names that a file imports; `from a import b` gives `a` and `a.b`, since `b` may be a module."""
    found: set[str] = set()
    for node in ast.walk(syntax(path)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return frozenset(found)
