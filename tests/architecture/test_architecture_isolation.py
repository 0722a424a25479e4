"""A whole verification reaches nothing outside: no network or process event, no capture side."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.cli.shipped import GOOD, ROOT, VALIDATOR, spawn

HOOK = """
import sys
FORBIDDEN = ("socket.", "urllib.", "subprocess.", "os.system", "os.exec", "os.posix_spawn",
             "os.fork", "os.putenv", "ftplib.", "http.", "smtplib.", "webbrowser.", "ctypes.dlopen")
def watch(event, arguments):
    if event.startswith(FORBIDDEN):
        sys.stderr.write(f"FORBIDDEN {event} {arguments!r}\\n")
    if event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"):
        sys.stderr.write(f"FORBIDDEN write {arguments!r}\\n")
sys.dont_write_bytecode = True
sys.addaudithook(watch)
"""


def test_verification_raises_no_network_process_or_write_event() -> None:
    done = spawn(*GOOD, "--format", "json", prelude=HOOK)
    assert (done.returncode, done.stderr) == (0, b"")
    VALIDATOR.validate(json.loads(done.stdout))


def test_the_hook_sees_what_it_forbids() -> None:
    prelude = HOOK + "import socket; socket.socket().close(); open('/dev/null', 'w').close()"
    said = spawn("--version", prelude=prelude).stderr
    assert b"FORBIDDEN socket.__new__" in said
    assert b"FORBIDDEN write" in said


def test_verification_works_with_the_capture_side_deleted(tmp_path: Path) -> None:
    for name in ("verify", "schemas"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    done = spawn(
        *GOOD,
        "--format",
        "json",
        cwd=tmp_path,
        prelude="sys.path.remove('') if '' in sys.path else None",
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == spawn(*GOOD, "--format", "json").stdout
