"""What the verifier's source may name: no network, process, clock, environment or random source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
MODULES: Final = sorted((ROOT / "verify").rglob("*.py"))
EDGE: Final = "verify/cli/"

FORBIDDEN_MODULES: Final = frozenset(
    [
        "asyncio",
        "http",
        "urllib",
        "ftplib",
        "smtplib",
        "imaplib",
        "poplib",
        "telnetlib",
        "nntplib",
        "socket",
        "socketserver",
        "ssl",
        "select",
        "selectors",
        "subprocess",
        "multiprocessing",
        "concurrent",
        "signal",
        "random",
        "secrets",
        "time",
        "logging",
        "httpx",
        "requests",
        "aiohttp",
        "webbrowser",
        "ctypes",
        "pty",
        "getpass",
        "locale",
    ]
)
CLOCK: Final = frozenset({"now", "utcnow", "today"})
OS_OUTSIDE: Final = frozenset(
    [
        "environ",
        "environb",
        "getenv",
        "putenv",
        "urandom",
        "getrandom",
        "system",
        "popen",
        "fork",
        "forkpty",
        "posix_spawn",
        "posix_spawnp",
        "execv",
        "execve",
        "execvp",
        "execl",
        "spawnv",
        "startfile",
        "kill",
    ]
)
ALLOWED: Final = {
    "verify/cli/output.py": frozenset({"os.environ"}),  # NO_COLOR
    "verify/cli/verification.py": frozenset({"datetime.now"}),  # --as-of now, read once
}
MAY_CATCH_ALL: Final = frozenset(
    {
        "verify/engine/run.py",  # a crash of a check becomes ERROR
        "verify/cli/guard.py",  # a crash of the program becomes exit code 70
        "verify/crypto/x509.py",  # a foreign parser's panic becomes FormatError
        "verify/nvidia/revocation.py",  # the same, for OCSP answers
        "verify/crypto/timestamps.py",  # the same, for time stamps
        "verify/checks/signers.py",  # the same, for a signer's certificate
    }
)


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module or ""


def outside_names(tree: ast.AST) -> Iterator[str]:
    """Give every attribute that reads a clock, the environment, randomness, or starts a process."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute) or not isinstance(node.value, ast.Name):
            continue
        owner, name = node.value.id, node.attr
        if owner in {"datetime", "date"} and name in CLOCK:
            yield f"{owner}.{name}"
        if owner == "os" and name in OS_OUTSIDE:
            yield f"os.{name}"
        if owner == "uuid" and name in {"uuid1", "uuid4"}:
            yield f"uuid.{name}"


def catches_everything(handler: ast.ExceptHandler) -> bool:
    names = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(
        name is None or (isinstance(name, ast.Name) and name.id in {"Exception", "BaseException"})
        for name in names
    )


def may_write(call: ast.Call) -> bool:
    """Whether a call changes a file: a writer by name, or `open` in any mode but reading bytes."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if name == "open":
        modes = [node.value for node in call.args if isinstance(node, ast.Constant)]
        return modes != ["rb"]
    return name in {"write_bytes", "write_text", "unlink", "mkdir", "rename", "makedirs", "remove"}


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_source_of_the_verifier_imports_nothing_that_reaches_outside(path: Path) -> None:
    tree = ast.parse(path.read_bytes())
    found = {name for name in imported(tree) if name.split(".")[0] in FORBIDDEN_MODULES}
    assert found == set()
    assert not any(name.split(".")[0] == "bundle" for name in imported(tree))


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_source_of_the_verifier_reads_no_clock_environment_or_random_source(path: Path) -> None:
    found = set(outside_names(ast.parse(path.read_bytes())))
    assert found <= ALLOWED.get(relative(path), frozenset())


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_source_of_the_verifier_catches_everything_in_named_places_only(path: Path) -> None:
    handlers = [
        n for n in ast.walk(ast.parse(path.read_bytes())) if isinstance(n, ast.ExceptHandler)
    ]
    if relative(path) not in MAY_CATCH_ALL:
        assert not any(catches_everything(handler) for handler in handlers)


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_source_of_the_verifier_writes_files_at_the_edge_only(path: Path) -> None:
    if relative(path).startswith(EDGE):
        return
    calls = [n for n in ast.walk(ast.parse(path.read_bytes())) if isinstance(n, ast.Call)]
    assert [call.lineno for call in calls if may_write(call)] == []


def test_the_rules_above_find_what_they_forbid() -> None:
    tree = ast.parse(
        "import socket\nfrom urllib.request import urlopen\nimport os\nfrom datetime import datetime\n"
        "datetime.now()\nos.environ\ntry:\n    pass\nexcept Exception:\n    pass\n"
    )
    assert {"socket", "urllib.request"} <= set(imported(tree))
    assert set(outside_names(tree)) == {"datetime.now", "os.environ"}
    handlers = [node for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler)]
    assert [catches_everything(handler) for handler in handlers] == [True]
