"""The way in of `teebundle`: a Ctrl-C that comes while modules are still loading ends quietly."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from verify.cli.guard import INTERRUPTED


def main() -> NoReturn:
    """Load the command line and run it as a program: ends the process with the exit code."""
    try:
        from bundle.cli import main as whole  # noqa: PLC0415  (loading is what is guarded)
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted; nothing was done\n")
        sys.stderr.flush()
        os._exit(INTERRUPTED)
    whole()
