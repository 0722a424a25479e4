"""The only module that speaks HTTP. Records what was sent and received, byte for byte.

No redirect is followed, nothing is inflated, no body is decoded. Sizes are limited while reading.
Secrets are replaced before an exchange is made of what happened (`bundle.recording`).

How the wire is kept: the header pairs of ``httpx`` (over ``h11``) come in wire order with the case
received; ``iter_raw`` gives the body after transfer decoding and before content decoding.

Source: bundle-format.md 6.2, 6.3; providers.md 2.1, 2.8; nvidia.md 12.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Literal, Self
from urllib.parse import urlsplit

import httpx

from bundle.bounds import TRANSIENT, Bounds
from bundle.recording import RecordedExchange, redacted_headers, redacted_url
from verify.engine.errors import UsageError

__all__ = [
    "TRANSIENT",
    "Bounds",
    "Clock",
    "Transport",
    "TransportError",
    "Trouble",
    "demand_secure",
    "utc_now",
]

Clock = Callable[[], datetime]
Trouble = Literal["unavailable", "timeout", "too-large", "tls"]


class TransportError(Exception):
    """No answer came. ``trouble`` says of what kind; ``again`` whether trying again may help."""

    def __init__(self, trouble: Trouble, what: str, *, again: bool) -> None:
        super().__init__(what)
        self.trouble = trouble
        self.again = again


def utc_now() -> datetime:
    """Return the present as an aware UTC time in whole milliseconds."""
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


def demand_secure(url: str) -> None:
    """Refuse a URL that is not HTTPS, but for loopback addresses. Raises UsageError."""
    parts = urlsplit(url)
    if parts.scheme == "https" and parts.hostname:
        return
    host = parts.hostname or ""
    loopback = host == "localhost"
    if not loopback:
        try:
            loopback = ipaddress.ip_address(host).is_loopback
        except ValueError:
            loopback = False
    if parts.scheme != "http" or not loopback:
        message = f"{redacted_url(url)}: only https:// is spoken (http:// to this machine alone)"
        raise UsageError(message)


class Transport:
    """One client with its connections. Use as a context manager."""

    def __init__(
        self, *, bounds: Bounds | None = None, proxy: str | None = None, clock: Clock = utc_now
    ) -> None:
        self._bounds = bounds or Bounds()
        self._clock = clock
        self._client = httpx.Client(
            follow_redirects=False,
            trust_env=False,
            proxy=proxy,
            timeout=httpx.Timeout(self._bounds.total_s, connect=self._bounds.connect_s),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def exchange(
        self,
        method: str,
        url: str,
        *,
        purpose: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> RecordedExchange:
        """Send one request and return the exchange as recorded, whatever the status.

        Raises UsageError for an insecure URL and `TransportError` where no whole answer came.
        """
        demand_secure(url)
        request = self._client.build_request(
            method,
            url,
            content=body,
            headers={
                "Accept-Encoding": "identity",
                "Accept": "application/json",
                **(headers or {}),
            },
        )
        sent = _pairs(request.headers)
        started = self._clock()
        try:
            response = self._client.send(request, stream=True)
            first = self._clock()
            try:
                received = self._read(response, started)
            finally:
                response.close()
        except httpx.TimeoutException as error:
            raise TransportError("timeout", f"no answer in time: {error}", again=True) from error
        except httpx.TransportError as error:
            secure = "certificate" in str(error).lower() or "ssl" in str(error).lower()
            raise TransportError(
                "tls" if secure else "unavailable",
                str(error) or type(error).__name__,
                again=not secure,
            ) from error
        return RecordedExchange(
            purpose=purpose,
            method=method,
            url=redacted_url(url),
            started_at=started,
            first_byte_at=first,
            ended_at=self._clock(),
            request_headers=redacted_headers(sent),
            request_body=body,
            status=response.status_code,
            http_version=response.http_version.removeprefix("HTTP/"),
            response_headers=redacted_headers(_pairs(response.headers)),
            response_body=received or None,
        )

    def _read(self, response: httpx.Response, started: datetime) -> bytes:
        parts: list[bytes] = []
        size = 0
        for part in response.iter_raw():
            size += len(part)
            if size > self._bounds.body:
                what = f"an answer of more than {self._bounds.body} bytes"
                raise TransportError("too-large", what, again=False)
            if (self._clock() - started).total_seconds() > self._bounds.total_s:
                what = f"the answer took longer than {self._bounds.total_s:g} s"
                raise TransportError("timeout", what, again=True)
            parts.append(part)
        return b"".join(parts)


def _pairs(headers: httpx.Headers) -> tuple[tuple[str, str], ...]:
    return tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in headers.raw)
