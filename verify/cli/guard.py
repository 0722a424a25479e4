"""The outermost frame of a command: no traceback, and never an exit code that means a verdict.

An uncaught exception would end Python with code 1, which says REJECTED.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable
from typing import Final, NoReturn

INTERRUPTED: Final = 130
"""Exit code after Ctrl-C (128 + SIGINT), as shells expect."""
READER_GONE: Final = 141
"""Exit code where the reader of a listing closed the pipe (128 + SIGPIPE)."""
INTERNAL: Final = 70


def leave(command: Callable[[], int]) -> NoReturn:
    """Run a command as the whole program and end the process with its exit code.

    One call lives for a tenth of a second: it collects no garbage, and the process is ended without
    taking the interpreter apart piece by piece. Together that is an eighth of the whole time.
    """
    gc.disable()
    open_closed_streams()
    code = command()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            continue  # nobody reads any more; what was said to files is on the disk
    os._exit(code)


def open_closed_streams() -> None:
    """Put the null device in place of standard streams that the caller closed.

    Python has None for them, and the next file opened would take their number: a report would be
    written into it, or the program fall over and end with 1, which says REJECTED.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_RDWR)  # the lowest number free: the closed one
            stream = os.fdopen(null, mode, encoding="utf-8", errors="backslashreplace")
            setattr(sys, name, stream)


def guarded(work: Callable[[], int], words: list[str]) -> int:
    """Run ``work`` and return its exit code; a crash is told in one line and gives 70."""
    try:
        code = work()
        sys.stdout.flush()
    except SystemExit as stop:
        return 0 if stop.code is None else stop.code if isinstance(stop.code, int) else INTERNAL
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted; nothing was judged\n")
        return INTERRUPTED
    except BrokenPipeError:
        reader_gone()
        return READER_GONE
    except BaseException as error:  # noqa: BLE001  (foreign panics are no Exception; code 1 is taken)
        return _crashed(error, words)
    return code


def reader_gone() -> None:
    """Point standard output nowhere, so that the flush at exit does not fail again."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


def _crashed(error: BaseException, words: list[str]) -> int:
    """Report a crash of the program itself: on standard error, and as JSON where that was asked."""
    from verify.engine.report import ErrorSummary  # noqa: PLC0415  (only a crash pays for it)
    from verify.render.text import error_lines  # noqa: PLC0415  (the same)

    summary = ErrorSummary.of(error)
    sys.stderr.write("\n".join(error_lines(summary)) + "\n")
    try:
        from verify.cli.arguments import wants_json  # noqa: PLC0415  (the same)
        from verify.cli.output import error_document  # noqa: PLC0415  (the same)

        if words[:1] == ["verify"] and wants_json(words[1:]):
            sys.stdout.write(error_document(summary).decode())
            sys.stdout.flush()
    except Exception:  # noqa: BLE001  (whatever broke the program may break its report as well)
        return INTERNAL
    return INTERNAL
