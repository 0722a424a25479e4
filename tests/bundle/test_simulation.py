"""Finding the simulation: the checkout's own, a wheel's own, never a stranger's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

import fixtures.simulator
from bundle import simulation
from verify.engine.errors import UsageError

ROOT: Final = Path(__file__).resolve().parents[2]


def spawned(code, cwd):
    done = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}"],
        capture_output=True,
        check=False,
        cwd=cwd,
        timeout=60,
    )
    assert done.stderr == b""
    return done.stdout.decode().strip()


def test_simulation_already_imported_from_the_checkout_is_the_one_used():
    assert simulation.load() is fixtures.simulator
    assert simulation.load("simulator.wire") is sys.modules["fixtures.simulator.wire"]


def test_simulation_of_the_checkout_is_found_by_its_place(tmp_path):
    code = "from bundle import simulation as s; m = s.load('simulator.clock'); print(m.__file__)"
    assert spawned(code, tmp_path) == str(ROOT / "fixtures" / "simulator" / "clock.py")


def test_simulation_is_never_another_package_of_that_name(tmp_path):
    stranger = tmp_path / "fixtures"
    stranger.mkdir()
    (stranger / "__init__.py").write_text("simulator = 'not ours'\n", encoding="ascii")
    code = (
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        "import fixtures\n"
        "from bundle import simulation as s\n"
        "print(fixtures.simulator, s.load().__name__)"
    )
    assert spawned(code, tmp_path) == "not ours bundle._fixtures.simulator"


@pytest.mark.parametrize("beside", [(), ("fixtures/simulator/wire.py",), ("pyproject.toml",)])
def test_simulation_that_is_not_installed_is_said_in_one_line(tmp_path, beside):
    home = tmp_path / "bundle"
    home.mkdir()
    for name in beside:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    with pytest.raises(UsageError, match="this installation holds no simulation: install"):
        simulation.load(home=home)
