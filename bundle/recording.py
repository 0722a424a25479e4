"""What a capture or an importer hands over: recorded exchanges, every byte as received.

Nothing here interprets a body. Secrets are replaced before a value of these types is made: a header
value that is None was redacted, a URL carries ``{redacted}`` in place of a secret query value.

Source: bundle-format.md 6.1 to 6.4.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Literal
from urllib.parse import unquote_plus, urlsplit, urlunsplit

Header = tuple[str, str | None]
"""Name in the case received, and the value; None where the value is a secret."""

SECRET_HEADERS: Final = frozenset(
    {
        "authorization",
        "proxy-authorization",
        "cookie",
        "set-cookie",
        "x-api-key",
        "api-key",
    }
)
SECRET_PARTS: Final = ("token", "secret")
SECRET_PARAMETERS: Final = frozenset(
    {
        "access_token",
        "api_key",
        "apikey",
        "auth",
        "key",
        "password",
        "secret",
        "sig",
        "signature",
        "token",
        "x-amz-credential",
        "x-amz-security-token",
        "x-amz-signature",
    }
)
REDACTED: Final = "{redacted}"


def secret_name(name: str, extra: frozenset[str] = frozenset()) -> bool:
    """Whether a header of this name carries a secret. ``extra``: further names, lower case."""
    lower = name.lower()
    return lower in SECRET_HEADERS or lower in extra or any(part in lower for part in SECRET_PARTS)


def redacted_headers(
    pairs: tuple[tuple[str, str], ...],
    extra: frozenset[str] = frozenset(),
    forms: tuple[bytes, ...] = (),
) -> tuple[Header, ...]:
    """Return the pairs with every secret value replaced by None.

    ``forms``: byte strings of credentials; a value that holds one is secret whatever its name, and
    a name that holds one is replaced as well.
    """
    return tuple(
        (
            REDACTED if holds_secret(name, forms) else name,
            None if secret_name(name, extra) or holds_secret(value, forms) else value,
        )
        for name, value in pairs
    )


def holds_secret(text: str, forms: tuple[bytes, ...]) -> bool:
    """Whether one of the byte strings stands in a text of the wire (ISO 8859-1, or UTF-8)."""
    if not forms:
        return False
    data = text.encode("latin-1", "ignore") + b"\n" + text.encode("utf-8", "surrogatepass")
    return any(form in data for form in forms)


def redacted_url(url: str, forms: tuple[bytes, ...] = ()) -> str:
    """Return the URL without user info and fragment, secret query values replaced.

    Values are replaced textually, so every other byte of the URL stays as it was sent. ``forms``:
    byte strings of credentials, replaced wherever they stand. Of what is no URL at all, nothing is
    returned but a word that says so.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return "(no address)"
    fields = []
    for field in parts.query.split("&") if parts.query else []:
        name, separator, _value = field.partition("=")
        plain = unquote_plus(name).lower()
        secret = plain in SECRET_PARAMETERS or any(part in plain for part in SECRET_PARTS)
        hide = bool(separator) and secret
        fields.append(f"{name}={REDACTED}" if hide else field)
    host = parts.netloc.rpartition("@")[2]
    made = urlunsplit((parts.scheme, host, parts.path, "&".join(fields), ""))
    for form in sorted(forms, key=len, reverse=True):
        made = made.replace(form.decode("utf-8", "surrogateescape"), REDACTED)
    return made


class Withholding:
    """Lets a body through, but for a credential in it, however the reads were cut.

    The last bytes are held back until it is clear that no credential begins in them. One use for
    one body; ``forms``: the byte strings by which a credential is recognised.
    """

    __slots__ = ("_forms", "_held", "_reach")

    def __init__(self, forms: tuple[bytes, ...]) -> None:
        self._forms = forms
        self._held = b""
        self._reach = max((len(form) for form in forms), default=1) - 1

    def add(self, part: bytes) -> tuple[bytes, bool]:
        """Return what may be kept now, and whether a credential follows (nothing more is kept)."""
        if not self._forms:
            return part, False
        window = self._held + part
        found = [at for at in (window.find(form) for form in self._forms) if at >= 0]
        if found:
            self._held = b""
            return window[: min(found)], True
        keep = max(0, len(window) - self._reach)
        self._held = window[keep:]
        return window[:keep], False

    def end(self) -> tuple[bytes, bool]:
        """Return the bytes held back at the end, less the larger half or more of a credential."""
        held, self._held = self._held, b""
        least = len(held)
        for form in self._forms:
            for size in range(min(len(form) - 1, len(held)), len(form) // 2, -1):
                if held.endswith(form[:size]):
                    least = min(least, len(held) - size)
                    break
        return held[:least], least < len(held)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedTls:
    """What was seen of one TLS connection.

    ``chain``: DER certificates as sent, leaf first, possibly empty. ``spki``: DER
    SubjectPublicKeyInfo of the leaf, or None where the recorder kept none.
    """

    version: str
    cipher: str
    alpn: str | None
    chain: tuple[bytes, ...]
    spki: bytes | None
    webpki: bool


Trouble = Literal[
    "unreachable",
    "tls",
    "timeout",
    "idle",
    "cut",
    "too-large",
    "headers-too-large",
    "not-http",
    "secret-in-body",
    "interrupted",
]
"""Why no whole answer came: no connection; no trusted TLS; no answer in time; silence in the middle
of one; closed too early; over the limit of bytes; the same of headers; no HTTP; the body repeats a
configured credential and was cut before it; the capturing process ended while it was under way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why an exchange has no whole answer. ``what``: one line for people, without secrets."""

    trouble: Trouble
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredBody:
    """A body too large to be held: the bytes of a file. ``sha256``: of them, 32 bytes."""

    path: Path
    size: int
    sha256: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedExchange:
    """One HTTP exchange. Times are aware UTC datetimes. Empty bodies are None.

    ``status`` None: no answer came. ``connection``: equal labels mean the same TLS connection.
    ``response_file``: the body, where it is too large for ``response_body``, which is then None.
    ``failure``: why ``complete`` is False, for people; it is no part of a bundle. ``done_at``: when
    the line ``data: [DONE]`` of a stream arrived.
    """

    purpose: str
    method: str
    url: str
    started_at: datetime
    ended_at: datetime
    first_byte_at: datetime | None = None
    request_headers: tuple[Header, ...] | None = None
    request_body: bytes | None = None
    status: int | None = None
    http_version: str = "1.1"
    response_headers: tuple[Header, ...] | None = None
    response_body: bytes | None = None
    complete: bool = True
    session: str = "s1"
    connection: str | None = None
    tls: RecordedTls | None = None
    response_file: StoredBody | None = None
    failure: Failure | None = None
    done_at: datetime | None = None
