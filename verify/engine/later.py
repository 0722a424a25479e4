"""Modules that are imported when something of them is first used.

A verification that needs none of them then does not pay for them. Used as

    if TYPE_CHECKING:
        from verify.vendor import rare
    else:
        rare = later("verify.vendor.rare")

so that type checkers and import contracts see an ordinary import.
"""

from __future__ import annotations

import sys


class Later:
    """Stands for a module; asking for an attribute imports it."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> object:
        module = sys.modules.get(self._name)
        # a module that another thread is importing is there already, but not all of it
        if module is None or getattr(module.__spec__, "_initializing", False):
            __import__(self._name)
            module = sys.modules[self._name]
        found: object = getattr(module, attribute)
        return found


def later(name: str) -> Later:
    """Return a stand-in for the module of that full name."""
    return Later(name)
