"""Where results go: standard output, or files that appear whole; messages to standard error."""

from __future__ import annotations

import os
import sys
from types import TracebackType
from typing import TYPE_CHECKING, Self

from verify.engine.errors import UsageError
from verify.engine.later import later
from verify.engine.report import ErrorReport, ErrorSummary, Report, tool_summary
from verify.render import text as text_form

if TYPE_CHECKING:
    from verify.cli.arguments import VerifyArguments
    from verify.cli.drafts import Draft
    from verify.render import json as json_form
else:
    json_form = later("verify.render.json")


def colour_wanted() -> bool:
    """Whether standard output is a terminal and the user did not say no (NO_COLOR)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def error_report(error: ErrorSummary) -> ErrorReport:
    """Build the report that stands in place of a verification."""
    from verify.checks.catalogue import (  # noqa: PLC0415  (needed after the arguments are read)
        CATALOGUE,
        CATALOGUE_ID,
    )

    return ErrorReport(tool=tool_summary(CATALOGUE, CATALOGUE_ID), error=error)


def error_document(error: ErrorSummary) -> bytes:
    """Return the JSON report of an error."""
    return json_form.rendered(error_report(error))


def say(*lines: str) -> None:
    """Write lines to standard error."""
    sys.stderr.write("\n".join(lines) + "\n")


def write_stdout(data: bytes) -> None:
    """Write all of ``data`` to standard output; a reader that went away is no fault of ours.

    Raises UsageError where it cannot be written, such as on a full disk.
    """
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        from verify.cli.guard import reader_gone  # noqa: PLC0415  (rare)

        reader_gone()
    except OSError as error:
        from verify.cli.guard import reader_gone  # noqa: PLC0415  (rare)

        reader_gone()
        message = f"standard output cannot be written: {error.strerror or error}"
        raise UsageError(message) from error


class Outputs:
    """The outputs one call asked for; opened before the work so that a wrong place is told early.

    A context manager: what was not written by its end leaves no trace.
    """

    def __init__(self, given: VerifyArguments) -> None:
        self._given = given
        self._out: Draft | None = None
        self._report: Draft | None = None

    def __enter__(self) -> Self:
        given = self._given
        if given.out is None and given.report is None:
            return self
        from verify.cli.drafts import Draft  # noqa: PLC0415  (most calls write no file)

        if given.out == given.report:
            raise UsageError("--out and --report name the same file")
        inputs = (*given.paths, *given.trust, *given.signer, *filter(None, (given.policy,)))
        if given.out is not None:
            self._out = Draft(given.out, inputs)
        if given.report is not None:
            try:
                self._report = Draft(given.report, inputs)
            except UsageError:
                self.discard()
                raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.discard()

    def discard(self) -> None:
        """Remove whatever was not written."""
        for draft in (self._out, self._report):
            if draft is not None:
                draft.discard()

    def write(self, report: Report | ErrorReport) -> None:
        """Write the report to every place asked for; an error has no text form on stdout."""
        given = self._given
        if given.report is not None and self._report is not None:
            self._report.commit(json_form.rendered(report))
        if given.format == "json":
            data = json_form.rendered(report)
        elif isinstance(report, ErrorReport):
            return
        else:
            colour = self._out is None and colour_wanted()
            text = text_form.rendered(report, verbose=given.verbose, colour=colour)
            data = text.encode("utf-8", "backslashreplace")
        if self._out is not None:
            self._out.commit(data)
        else:
            write_stdout(data)
