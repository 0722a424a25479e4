"""Where the simulated providers and vendors are: beside this package, or inside it in a wheel.

The simulation is the tests' own (`fixtures.simulator` of a checkout); a wheel carries it and the
builders it stands on as ``bundle/_fixtures``. It is always imported under that second name, never
as ``fixtures``, so that another installed package of that name is never taken for it, unless the
caller runs in a checkout and has already imported the checkout's own.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Final

from verify.engine.errors import UsageError

HERE: Final = Path(__file__).resolve().parent
CARRIED: Final = "bundle._fixtures"
_MARK: Final = Path("simulator", "wire.py")


def _lies_in(module: ModuleType, folder: Path) -> bool:
    paths = (Path(entry).resolve() for entry in getattr(module, "__path__", ()))
    return any(path == folder for path in paths)


def _folder(home: Path) -> Path:
    """Return the folder of the builders. Raises UsageError where there is none."""
    carried = home / "_fixtures"
    if (carried / _MARK).is_file():
        return carried
    checkout = home.parent
    beside = checkout / "fixtures"
    if (beside / _MARK).is_file() and (checkout / "pyproject.toml").is_file():
        return beside
    raise UsageError(
        "this installation holds no simulation: install the wheel of a release, or run from a "
        "checkout"
    )


def load(name: str = "simulator", *, home: Path = HERE) -> ModuleType:
    """Return a module of the simulation, ``simulator`` itself or one below it (``simulator.x``).

    ``home``: the folder of this package. Raises UsageError where no simulation is installed.
    """
    folder = _folder(home)
    loaded = sys.modules.get("fixtures")
    if loaded is not None and _lies_in(loaded, folder):
        return importlib.import_module(f"fixtures.{name}")
    if folder.name == "fixtures" and CARRIED not in sys.modules:
        alias = ModuleType(CARRIED, "The builders of this checkout, under the name of a wheel's.")
        alias.__path__ = [str(folder)]
        sys.modules[CARRIED] = alias
    return importlib.import_module(f"{CARRIED}.{name}")
