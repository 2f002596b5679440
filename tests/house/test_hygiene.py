"""What a public tree must not hold, and what each exception to a rule must say."""

import ast
import re
import tomllib

from house.tree import ROOT, files, name, python_files, syntax

# Written so that this file does not hold what it looks for.
PRIVATE = re.compile(r"(?<![\w.])/(?:root|work|tmp/wt|opt/pypi|home/[a-z][-a-z0-9]*|Users/\w+)/")
REGISTRIES = re.compile(r"(?:pypi|pythonhosted|test\.pypi)\.(?:org|python)", re.IGNORECASE)
SECRETS = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----|\bAKIA[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{36}\b")
UNEXPLAINED = re.compile(r"#\s*(?:noqa(?!: [A-Z]+\d+)|type: ignore(?!\[))")
FRAGMENT = re.compile(r"[a-z0-9-]+\.(?:added|changed|fixed|removed)\.md\Z")


def _texts() -> list[tuple[str, str]]:
    binary = {".png", ".svg", ".ico", ".gz", ".zst", ".parquet"}
    return [(name(path), path.read_text("utf-8")) for path in files() if path.suffix not in binary]


def test_no_file_names_a_machine_a_registry_or_a_secret() -> None:
    found = [
        f"{path}:{number} {line.strip()[:100]}"
        for path, text in _texts()
        for number, line in enumerate(text.splitlines(), 1)
        if PRIVATE.search(line) or REGISTRIES.search(line) or SECRETS.search(line)
    ]
    assert not found, "\n".join(found)


def test_lock_files_hold_hashes_and_no_addresses() -> None:
    for group in ("run", "demo", "dev", "bench"):
        text = (ROOT / "lock" / f"{group}.lock").read_text("utf-8")
        assert "://" not in text
        pins = re.findall(r"^[a-z0-9][^\n]*", text, re.MULTILINE)
        assert pins
        for pin in pins:
            assert re.match(r"[a-z0-9._-]+(?:\[[a-z,]+\])?==\S+", pin), pin
        assert text.count("--hash=sha256:") >= len(pins)


def test_lock_files_agree() -> None:
    def pins(group: str) -> dict[str, str]:
        text = (ROOT / "lock" / f"{group}.lock").read_text("utf-8")
        return dict(re.findall(r"^([a-z0-9._-]+)(?:\[[a-z,]+\])?==([^\s;\\]+)", text, re.MULTILINE))

    widest = pins("bench")
    for group in ("run", "demo", "dev"):
        assert pins(group).items() <= widest.items()


def test_every_dependency_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    text = (ROOT / "lock" / "run.lock").read_text("utf-8")
    for requirement in project["dependencies"]:
        package = re.split(r"[^A-Za-z0-9._-]", requirement)[0]
        assert f"\n{package}==" in f"\n{text}", f"{package} is not locked: run make lock"


def test_every_exception_to_a_lint_rule_says_why() -> None:
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    section = text[text.index("[tool.ruff.lint]") : text.index("[tool.ruff.lint.flake8-tidy-imports]")]
    rule = re.compile(r"\"[A-Z]+\d*\"")
    lines = [line for line in section.splitlines() if rule.search(line) and not line.startswith("select")]
    silent = [line for line in lines if "#" not in line]
    assert len(lines) > 1
    assert not silent, "\n".join(silent)


def test_every_exception_in_the_code_names_its_rule() -> None:
    found = [
        f"{path}:{number} {line.strip()}"
        for path, text in _texts()
        if path.endswith(".py")
        for number, line in enumerate(text.splitlines(), 1)
        if UNEXPLAINED.search(line) and "UNEXPLAINED" not in line
    ]
    assert not found, "\n".join(found)


def test_only_the_settings_read_the_environment() -> None:
    readers = {
        path
        for path, text in _texts()
        if path.startswith("src/") and re.search(r"\b(?:os\.environ|os\.getenv|noqa: TID251)\b", text)
    }
    assert readers == {"src/fluxa/apps/settings/sources.py"}


def test_changes_are_told_in_fragments() -> None:
    wrong = [
        name(path)
        for path in files()
        if path.parent == ROOT / "changes" and path.name != "README.md" and not FRAGMENT.match(path.name)
    ]
    assert not wrong, f"name them topic.added.md (or changed, fixed, removed): {wrong}"
    assert any(path.parent == ROOT / "changes" for path in files())


def test_whoever_says_which_roles_a_route_takes_says_which_scope_a_narrowed_key_needs() -> None:
    silent = [
        f"{name(path)}:{call.lineno}"
        for path in python_files("src/fluxa")
        for call in ast.walk(syntax(path))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Name)
        and call.func.id == "Terms"
        and any(
            keyword.arg in {"platform", "scope", "roles", "body_max_bytes", "timeout_s"} for keyword in call.keywords
        )
        and (len(call.args) > 1 or any(keyword.arg == "roles" for keyword in call.keywords))
        and not any(keyword.arg == "scope" for keyword in call.keywords)
    ]
    assert silent == [], "add scope=… (fluxa.auth.scopes): without it no narrowed API key may call the route"
