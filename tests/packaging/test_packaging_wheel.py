"""The built wheel: everything it needs to work by itself, and nothing that belongs to the checkout."""

from __future__ import annotations

import configparser
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Final

import pytest
from hatchling.builders.wheel import WheelBuilder

from tests.cli.shipped import BUNDLE, GOOD, ROOT, VALIDATOR
from verify.version import VERSION

SOURCES: Final = ("bundle", "verify")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    (built,) = WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"])
    return zipfile.ZipFile(built)


def test_wheel_holds_all_sources_schemas_anchors_policies_and_the_demo(
    wheel: zipfile.ZipFile,
) -> None:
    names = set(wheel.namelist())
    wanted = {
        path.relative_to(ROOT).as_posix()
        for source in SOURCES
        for path in (ROOT / source).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert wanted <= names
    for schema in (ROOT / "schemas").glob("*.json"):
        assert wheel.read(f"verify/_schemas/{schema.name}") == schema.read_bytes()
    assert any(name.startswith("verify/trust/anchors/") for name in names)
    assert any(name.startswith("verify/policy/defaults/") for name in names)
    assert wheel.read(f"bundle/_demo/{BUNDLE.name}") == BUNDLE.read_bytes()


BUILDERS: Final = "bundle/_fixtures/"


def test_wheel_holds_the_simulation_and_only_builders(wheel: zipfile.ZipFile) -> None:
    names = {name.removeprefix(BUILDERS) for name in wheel.namelist() if name.startswith(BUILDERS)}
    for path in (ROOT / "fixtures" / "simulator").glob("*.py"):
        assert wheel.read(f"{BUILDERS}simulator/{path.name}") == path.read_bytes()
    assert all(name.endswith(".py") for name in names)
    assert not any(name.startswith(("vectors", "bundles", "trust/")) for name in names)
    assert not {"build.py", "worked_example.py", "contract.py"} & names


SIMULATE: Final = """
import importlib, pkgutil, sys
sys.path.insert(0, {folder!r})
from bundle import simulation
found = simulation.load()
for module in pkgutil.iter_modules(found.__path__):
    simulation.load(f"simulator.{{module.name}}")
wire, vendors = simulation.load("simulator.wire"), simulation.load("simulator.vendors")
for target in ("/tdx/certification/v4/qe/identity", "/nothing"):
    answer = vendors.Vendors()(
        wire.Request(method="GET", target="/intel-pcs" + target, headers=(), body=b"",
                     connection=0, spki=None, number=0)
    )
    print(answer.status)
print(found.__name__, found.__file__.startswith({folder!r}), "fixtures" in sys.modules)
"""


def test_wheel_unpacked_imports_every_module_of_its_simulation(
    wheel: zipfile.ZipFile, tmp_path: Path
) -> None:
    folder = tmp_path / "installed"
    wheel.extractall(folder)
    stranger = folder / "fixtures"  # another package of that name is never taken for ours
    stranger.mkdir()
    (stranger / "__init__.py").write_text("raise ImportError('not ours')\n", encoding="ascii")
    done = subprocess.run(
        [sys.executable, "-I", "-c", SIMULATE.format(folder=str(folder))],
        capture_output=True,
        check=False,
        cwd=tmp_path,
        timeout=120,
    )
    assert done.stderr == b""
    assert done.stdout.decode().split("\n") == [
        "200",
        "404",
        "bundle._fixtures.simulator True False",
        "",
    ]


def test_wheel_holds_nothing_of_the_checkout(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert tops == {*SOURCES, f"teebundle-{VERSION}.dist-info"}
    assert not any(name.endswith((".pyc", ".key")) for name in wheel.namelist())


def test_wheel_scripts_are_callable_and_the_licence_is_there(wheel: zipfile.ZipFile) -> None:
    info = f"teebundle-{VERSION}.dist-info"
    scripts = configparser.ConfigParser()
    scripts.read_string(wheel.read(f"{info}/entry_points.txt").decode())
    found = dict(scripts["console_scripts"])
    assert found == {"teebundle": "bundle.start:main", "teebundle-verify": "verify.cli:main"}
    assert f"{info}/licenses/LICENSE" in wheel.namelist()


def test_wheel_unpacked_runs_the_demo_and_verifies_without_the_capture_side(
    wheel: zipfile.ZipFile, tmp_path: Path
) -> None:
    wheel.extractall(tmp_path)

    def run(module: str, *words: str) -> subprocess.CompletedProcess[bytes]:
        code = (
            f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from {module} import main; main()"
        )
        return subprocess.run(
            [sys.executable, "-I", "-c", code, *words],
            capture_output=True,
            check=False,
            cwd=tmp_path,
            timeout=120,
        )

    demo = run("bundle.cli", "demo")
    assert (demo.returncode, demo.stderr) == (0, b"")
    for path in sorted((tmp_path / "bundle").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (tmp_path / "bundle").rmdir()
    done = run("verify.cli", *GOOD, "--format", "json")
    assert (done.returncode, done.stderr) == (0, b"")
    VALIDATOR.validate(json.loads(done.stdout))
