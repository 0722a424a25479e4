"""The shipped bundle and how tests call the command line on it."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jsonschema
import pytest

import verify.cli

ROOT: Final = Path(__file__).resolve().parents[2]
FIXTURES: Final = ROOT / "fixtures"
BUNDLE: Final = FIXTURES / "bundles" / "nanogpt.evidence.json"
POLICY: Final = FIXTURES / "bundles" / "nanogpt.policy.yaml"
TRUST: Final = FIXTURES / "trust" / "test-only.json"
JUDGED: Final = ("--policy", str(POLICY), "--trust", str(TRUST))
GOOD: Final = ("verify", str(BUNDLE), *JUDGED)
VALIDATOR: Final = jsonschema.Draft202012Validator(
    json.loads((ROOT / "schemas" / "report.v1.schema.json").read_text(encoding="utf-8"))
)
ENTRY: Final = "from {module} import main; main()"


@dataclass(frozen=True)
class Said:
    """What one call answered."""

    code: int
    out: str
    err: str

    @property
    def report(self) -> dict[str, Any]:
        """The JSON report on standard output, after it passed the schema."""
        found = json.loads(self.out)
        VALIDATOR.validate(found)
        assert found["exitCode"] == self.code
        return dict(found)


def call(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    *words: str,
    main: Callable[[], int] = verify.cli.call,
) -> Said:
    """Run the command line in this process."""
    monkeypatch.setattr(sys, "argv", ["teebundle-verify", *words])
    capfd.readouterr()
    code = main()
    out, err = capfd.readouterr()
    assert "Traceback" not in err
    return Said(code, out, err)


def spawn(
    *words: str,
    module: str = "verify.cli",
    prelude: str = "",
    cwd: Path = ROOT,
    env: dict[str, str] | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run the command line in a process of its own, with nothing in the environment but ``env``."""
    code = f"import sys; sys.path.insert(0, {str(cwd)!r})\n{prelude}\n{ENTRY.format(module=module)}"
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        capture_output=True,
        check=False,
        cwd=cwd,
        env={"PATH": "/usr/bin:/bin"} | (env or {}),
        timeout=120,
    )


def edited(change: Callable[[dict[str, Any]], None]) -> bytes:
    """Return the shipped bundle with its outer document changed."""
    document = json.loads(BUNDLE.read_bytes())
    change(document)
    return (json.dumps(document, ensure_ascii=False, indent=1) + "\n").encode()


def restated(change: Callable[[dict[str, Any]], None]) -> bytes:
    """Return the shipped bundle with its Statement changed; the signature no longer holds."""

    def outer(document: dict[str, Any]) -> None:
        statement = json.loads(base64.b64decode(document["statement"]["payload"]))
        change(statement)
        payload = json.dumps(statement, ensure_ascii=False).encode()
        document["statement"]["payload"] = base64.b64encode(payload).decode()

    return edited(outer)
