"""The one tree of exceptions.

Bad evidence is never an exception that leaves a check: it becomes an Outcome. Two private carriers
take it there (`FormatError` from parsers, `Refused` from judging code). Unusable *input* is an
exception of the documented tree below, which the command line turns into an exit code:

* `MalformedInput`   bundle, policy or trust file unusable: exit 4
* `UsageError`       the call itself is wrong: exit 2
* `InternalFault`    a built-in of this package is broken: exit 70
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from verify.engine.reason import Reason

InputKind = Literal["bundle", "policy", "trust"]
InputCode = Literal[
    "input.empty",
    "input.too_large",
    "input.encoding",
    "input.json",
    "input.duplicate_member",
    "input.depth",
    "input.count",
    "input.base64",
    "input.yaml",
    "input.schema",
    "input.version",
]


class FormatError(Exception):
    """Bytes that are not what a parser reads.

    ``offset``: byte offset into the parsed bytes where reading failed (0 when the whole is meant).
    ``what``: what is wrong, in words. ``reason``: the closed code the vouching check reports, where
    a format has several; None lets the check use its own one code. ``path``: JSON Pointer into the
    parsed JSON text, where the format is JSON and the place is a value.
    """

    def __init__(
        self, offset: int, what: str, *, reason: Reason | None = None, path: str | None = None
    ) -> None:
        super().__init__(f"at byte {offset}: {what}")
        self.offset = offset
        self.what = what
        self.reason = reason
        self.path = path


class Refused(Exception):  # noqa: N818  (a judgement on evidence, not an error of the program)
    """Evidence judged and found wanting, with the one closed code that says why.

    ``start``/``stop``: byte span in the judged artifact's decoded bytes. ``path``: JSON Pointer,
    where the artifact is JSON. ``got``/``expected``: short text forms. Of class ``absent`` when the
    question cannot be answered from what is there.
    """

    def __init__(
        self,
        reason: Reason,
        what: str,
        *,
        got: str = "",
        expected: str = "",
        start: int | None = None,
        stop: int | None = None,
        path: str | None = None,
    ) -> None:
        super().__init__(f"{reason}: {what}")
        self.reason = reason
        self.what = what
        self.got = got
        self.expected = expected
        self.start = start
        self.stop = stop
        self.path = path


class TeebundleError(Exception):
    """Root of the exceptions a caller of the public API may meet."""


class MalformedInput(TeebundleError):  # noqa: N818  (the specification's name)
    """A bundle, policy or trust file that cannot be used at all (verification.md 7.1 ``error``)."""

    def __init__(
        self,
        kind: InputKind,
        code: InputCode,
        what: str,
        *,
        pointer: str = "",
        file: str | None = None,
    ) -> None:
        place = f" at {pointer}" if pointer else ""
        super().__init__(f"{file or kind}{place}: {what} ({code})")
        self.kind = kind
        self.code = code
        self.what = what
        self.pointer = pointer
        self.file = file


class UsageError(TeebundleError):
    """The call is wrong: no policy named, unknown profile, nothing matched. Says what to do."""


class InternalFault(TeebundleError):  # noqa: N818  (a fault of ours, not of the input)
    """A built-in of this package does not match its own digest, or an invariant broke: exit 70."""
