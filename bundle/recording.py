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
from urllib.parse import urlsplit, urlunsplit

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
    pairs: tuple[tuple[str, str], ...], extra: frozenset[str] = frozenset()
) -> tuple[Header, ...]:
    """Return the pairs with every secret value replaced by None."""
    return tuple((name, None if secret_name(name, extra) else value) for name, value in pairs)


def redacted_url(url: str) -> str:
    """Return the URL without user info and fragment, secret query values replaced.

    Values are replaced textually, so every other byte of the URL stays as it was sent.
    """
    parts = urlsplit(url)
    fields = []
    for field in parts.query.split("&") if parts.query else []:
        name, separator, _value = field.partition("=")
        hide = bool(separator) and name.lower() in SECRET_PARAMETERS
        fields.append(f"{name}={REDACTED}" if hide else field)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "&".join(fields), ""))


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
