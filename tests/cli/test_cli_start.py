"""The way into `teebundle` before anything is loaded."""

import subprocess
import sys

CHILD = """
import builtins
real = builtins.__import__
def stopped(name, *rest):
    if name == "bundle.cli":
        raise KeyboardInterrupt
    return real(name, *rest)
import bundle.start
builtins.__import__ = stopped
bundle.start.main()
"""


def test_an_interrupt_while_loading_ends_quietly_with_130() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHILD], check=False, capture_output=True, text=True
    )
    assert done.returncode == 130
    assert done.stderr.strip() == "interrupted; nothing was done"
    assert done.stdout == ""


def test_start_runs_the_whole_command_line() -> None:
    words = [sys.executable, "-c", "import bundle.start; bundle.start.main()", "--version"]
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().count(".") >= 2


def test_help_of_verify_names_the_online_step_where_it_exists() -> None:
    texts = {}
    for module in ("bundle.start", "verify.cli"):
        words = [sys.executable, "-c", f"import {module} as m; m.main()", "verify", "--help"]
        done = subprocess.run(words, check=True, capture_output=True, text=True)
        texts[module] = done.stdout
    assert "--online nras" in texts["bundle.start"]
    assert "--online" not in texts["verify.cli"]
