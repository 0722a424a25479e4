"""What `verify` accepts: one table of options, and a small parser that needs no library.

The table is the only definition. The command line's fast path reads it directly (importing typer
costs as much as a whole verification); help and the typer command are built from the same rows.
Source: verification.md 8, 9.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, Literal

from verify.engine.asof import AsOf
from verify.engine.errors import UsageError
from verify.engine.value import value

FORMATS: Final = ("text", "json")


@value
class Option:
    """One option. ``takes``: ``flag`` no value, ``one`` at most once, ``many`` any number."""

    name: str
    flags: tuple[str, ...]
    takes: Literal["flag", "one", "many"]
    metavar: str
    help: str
    default: str | None = None


VERIFY_OPTIONS: Final = (
    Option(
        name="policy",
        flags=("--policy", "-p"),
        takes="one",
        metavar="FILE",
        help="Policy (YAML) that says what is acceptable.",
    ),
    Option(
        name="profile",
        flags=("--profile",),
        takes="one",
        metavar="NAME",
        help="Shipped default policy instead of --policy; holds no pins and no signers.",
    ),
    Option(
        name="trust",
        flags=("--trust", "-t"),
        takes="many",
        metavar="FILE",
        help="Trust file with more anchors: capture keys, time stamp authorities. Repeatable.",
    ),
    Option(
        name="signer",
        flags=("--signer",),
        takes="many",
        metavar="KEY.pem",
        help="Public key believed as capture signer, without bounds. Repeatable.",
    ),
    Option(
        name="as_of",
        flags=("--as-of",),
        takes="one",
        metavar="WHEN",
        help="Instant to judge at: capture, now, or a time such as 2026-06-10T09:00:00Z.",
        default="capture",
    ),
    Option(
        name="blobs",
        flags=("--blobs",),
        takes="one",
        metavar="DIR",
        help=(
            "Folder with what is too large for the bundle file (bodies over 16 MiB), at "
            "sha256/<hex>; read once, in pieces."
        ),
    ),
    Option(
        name="max_blob",
        flags=("--max-blob",),
        takes="one",
        metavar="MIB",
        help="Largest file of --blobs that is read, 1 to 4096 MiB.",
        default="256",
    ),
    Option(
        name="format",
        flags=("--format", "-f"),
        takes="one",
        metavar="text|json",
        help="What to print: text for people, json for programs.",
        default="text",
    ),
    Option(
        name="out",
        flags=("--out", "-o"),
        takes="one",
        metavar="FILE",
        help="Write the chosen format to FILE instead of standard output.",
    ),
    Option(
        name="report",
        flags=("--report",),
        takes="one",
        metavar="FILE",
        help="Write the JSON report to FILE besides.",
    ),
    Option(
        name="verbose",
        flags=("--verbose", "-v"),
        takes="flag",
        metavar="",
        help="Print passed checks, all findings and notes, too.",
    ),
)
"""Every option of ``verify``."""

MOST_BLOB_MIB: Final = 4096
"""Hard limit of an external blob (bundle-format.md 4)."""

_BY_FLAG: Final = {flag: option for option in VERIFY_OPTIONS for flag in option.flags}


@value
class VerifyArguments:
    """What a call of ``verify`` asks for; values as given, nothing read yet."""

    paths: tuple[str, ...]
    policy: str | None = None
    profile: str | None = None
    trust: tuple[str, ...] = ()
    signer: tuple[str, ...] = ()
    as_of: str = "capture"
    blobs: str | None = None
    max_blob: str = "256"
    format: str = "text"
    out: str | None = None
    report: str | None = None
    verbose: bool = False

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            message = f"--format takes text or json, not {self.format!r}"
            raise UsageError(message)


def wants_help(words: Sequence[str]) -> bool:
    """Whether a call asks for help rather than for work."""
    before_end = words[: words.index("--")] if "--" in words else words
    return "--help" in before_end or "-h" in before_end


def wants_json(words: Sequence[str]) -> bool:
    """Whether ``--format json`` can be read in a call, even where the rest of it is wrong."""
    for index, word in enumerate(words):
        if word == "--":
            return False
        if word in {"--format=json", "-fjson"}:
            return True
        if word in {"--format", "-f"} and words[index + 1 : index + 2] == ["json"]:
            return True
    return False


def _split(word: str) -> tuple[str, str | None]:
    """Split ``--name=value`` and ``-nvalue``; the value is None where it is the next word."""
    if word.startswith("--"):
        flag, equals, value = word.partition("=")
        return flag, value if equals else None
    return word[:2], word[2:] or None


def parse(words: Sequence[str]) -> VerifyArguments:
    """Read the words after ``verify``. Raises UsageError that says what is wrong."""
    paths: list[str] = []
    single: dict[str, str] = {}
    many: dict[str, list[str]] = {}
    verbose = False
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--":
            paths += rest
            break
        if not word.startswith("-") or word == "-":
            paths.append(word)
            continue
        flag, value = _split(word)
        option = _BY_FLAG.get(flag)
        if option is None:
            known = ", ".join(option.flags[0] for option in VERIFY_OPTIONS)
            message = f"no such option: {flag} (there are {known}, --help)"
            raise UsageError(message)
        if option.takes == "flag":
            if value is not None:
                message = f"{flag} takes no value"
                raise UsageError(message)
            verbose = True
            continue
        if value is None:
            if not rest or (rest[0].startswith("-") and rest[0] != "-"):
                message = f"{flag} needs a value: {option.metavar}"
                raise UsageError(message)
            value = rest.pop(0)
        if not value:
            message = f"{flag} needs a value that is not empty: {option.metavar}"
            raise UsageError(message)
        if option.takes == "many":
            many.setdefault(option.name, []).append(value)
            continue
        if option.name in single:
            message = f"{option.flags[0]} is given twice; it is not clear which one is meant"
            raise UsageError(message)
        single[option.name] = value
    return arguments(paths, single, many, verbose=verbose)


def arguments(
    paths: Sequence[str],
    single: Mapping[str, str],
    many: Mapping[str, Sequence[str]],
    *,
    verbose: bool,
) -> VerifyArguments:
    """Build the arguments from what a parser collected. Raises UsageError."""
    return VerifyArguments(
        paths=tuple(paths),
        policy=single.get("policy"),
        profile=single.get("profile"),
        trust=tuple(many.get("trust", ())),
        signer=tuple(many.get("signer", ())),
        as_of=single.get("as_of", "capture"),
        blobs=single.get("blobs"),
        max_blob=single.get("max_blob", "256"),
        format=single.get("format", "text"),
        out=single.get("out"),
        report=single.get("report"),
        verbose=verbose,
    )


def blob_limit(text: str) -> int:
    """Read the value of ``--max-blob`` (MiB) and return bytes. Raises UsageError."""
    if text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= MOST_BLOB_MIB:
        return int(text) << 20
    message = f"--max-blob takes 1 to {MOST_BLOB_MIB} (MiB), not {text!r}"
    raise UsageError(message)


def as_of(text: str, clock: datetime) -> AsOf:
    """Read the value of ``--as-of``; ``clock`` is the present, used for ``now`` alone.

    Raises UsageError for anything but ``capture``, ``now`` or a time with date, seconds and zone.
    """
    if text == "capture":
        return AsOf.capture()
    if text == "now":
        return AsOf.now(clock)
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        instant = None
    if instant is None or instant.tzinfo is None or "T" not in text:
        message = (
            f"--as-of takes capture, now, or a time with its zone such as 2026-06-10T09:00:00Z, "
            f"not {text!r}"
        )
        raise UsageError(message)
    try:
        return AsOf.at(instant)
    except OverflowError as error:
        message = f"--as-of {text!r} lies outside the calendar"
        raise UsageError(message) from error
