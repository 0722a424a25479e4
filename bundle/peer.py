"""The other end of a connection: who is trusted, which certificates it showed, how it is reached.

The chain is what the server sent on the very connection that carries the exchange, unchecked, which
is what a later reader wants to see. Python 3.13 gives it by a public method; before that the same
function stands on the object inside ``ssl.SSLSocket``, which is private. Where neither exists the
leaf alone is kept: a chain of one certificate is visible in the bundle.

Source: providers.md 2.1; bundle-format.md 6.4.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import ssl
import threading
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from bundle.recording import RecordedTls, Trouble
from verify.crypto import der
from verify.engine.errors import FormatError, UsageError

ALPN: Final = ("http/1.1",)
LONGEST_CHAIN: Final = 8
LARGEST_CERTIFICATE: Final = 16 << 10
_TUNNEL_HEAD: Final = 16 << 10
_ENCODING_DER: Final = 2  # _ssl.ENCODING_DER
_ONE_HANDSHAKE: Final = ssl.OP_NO_RENEGOTIATION
"""A second handshake (TLS 1.2) could bring another certificate than the one that is recorded."""

Wait = Callable[[float], float]
"""Seconds a step may still take: at most those given. Raises `Broken` when time is up."""


class Broken(Exception):  # noqa: N818  (not an error of ours: what ends an exchange)
    """The exchange ends here. ``what``: one line for people, nothing the other side wrote."""

    def __init__(self, trouble: Trouble, what: str) -> None:
        super().__init__(what)
        self.trouble = trouble
        self.what = what


# --- what a connection showed -----------------------------------------------------------------


def peer_chain(ssl_object: Any) -> tuple[bytes, ...]:  # noqa: ANN401  (three unrelated classes)
    """Return the DER certificates as sent, leaf first; at most eight, empty where there are none.

    It ends before the first one that is larger than a bundle may hold: without a gap in it, the
    first is the leaf whatever was left out.

    ``ssl_object``: an ``ssl.SSLSocket``, an ``ssl.SSLObject``, or the object inside either.
    """
    for holder in (ssl_object, getattr(ssl_object, "_sslobj", None)):
        ask = getattr(holder, "get_unverified_chain", None)
        if ask is None:
            continue
        found = [
            bytes(one) if isinstance(one, bytes) else bytes(one.public_bytes(_ENCODING_DER))
            for one in ask() or ()
        ]
        break
    else:
        leaf = ssl_object.getpeercert(True)
        found = [leaf] if leaf else []
    return tuple(takewhile(lambda one: len(one) <= LARGEST_CERTIFICATE, found[:LONGEST_CHAIN]))


def spki_of(certificate: bytes) -> bytes | None:
    """Return the SubjectPublicKeyInfo of a DER certificate as encoded, None where it has none."""
    try:
        (signed, *_) = der.children(
            certificate, der.whole(certificate, der.SEQUENCE, "certificate")
        )
        members = der.children(certificate, der.expect(signed, der.SEQUENCE, "certificate"))
        place = 6 if members and members[0].tag == 0xA0 else 5  # after the optional version
        return der.outer(certificate, der.expect(members[place], der.SEQUENCE, "key"))
    except (FormatError, IndexError, ValueError):
        return None


def observed_tls(ssl_object: Any, *, webpki: bool) -> RecordedTls:  # noqa: ANN401
    """Return what is kept of a TLS connection. ``webpki``: ordinary validation has succeeded."""
    chain = peer_chain(ssl_object)
    leaf = ssl_object.getpeercert(True)
    cipher = ssl_object.cipher()
    return RecordedTls(
        version=ssl_object.version() or "unknown",
        cipher=cipher[0] if cipher else "unknown",
        alpn=ssl_object.selected_alpn_protocol(),
        chain=chain,
        spki=spki_of(leaf) if leaf else None,
        webpki=webpki,
    )


# --- whom to trust ----------------------------------------------------------------------------


class Trust:
    """Which servers are believed to be who they are.

    ``ca_file``: PEM certificates trusted beside the shipped public ones. ``unverified_hosts``:
    names (or ``name:port``, ``[address]:port``) whose key is bound by attestation and who may
    therefore show any certificate; it is recorded that ordinary validation failed. Raises
    UsageError for a file of no certificates.
    """

    def __init__(self, *, ca_file: Path | None, unverified_hosts: frozenset[str]) -> None:
        self._ca_file = ca_file
        self._unverified = frozenset(host.lower() for host in unverified_hosts)
        self._ordinary = None if ca_file is None else self._build()

    def _build(self) -> ssl.SSLContext:
        import certifi  # noqa: PLC0415  (not needed for a loopback address)

        context = ssl.create_default_context(cafile=certifi.where())
        context.set_alpn_protocols(list(ALPN))
        context.options |= _ONE_HANDSHAKE
        if self._ca_file is not None:
            try:
                context.load_verify_locations(cafile=self._ca_file)
            except ssl.SSLError as error:
                message = f"{self._ca_file}: holds no PEM certificates to trust"
                raise UsageError(message) from error
            except OSError as error:
                message = f"{self._ca_file}: cannot be read: {error.strerror}"
                raise UsageError(message) from error
        return context

    @property
    def ordinary(self) -> ssl.SSLContext:
        """Chain to a trusted root, validity and host name are checked."""
        if self._ordinary is None:
            self._ordinary = self._build()
        return self._ordinary

    @property
    def none(self) -> ssl.SSLContext:
        """Nothing is checked: for hosts of `excuses`, after ordinary validation has failed."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(list(ALPN))
        context.options |= _ONE_HANDSHAKE
        return context

    def excuses(self, host: str, port: int) -> bool:
        """Whether this host may show a certificate that does not validate."""
        lower = host.lower()
        written = f"[{lower}]" if ":" in lower else lower
        return not self._unverified.isdisjoint({lower, written, f"{written}:{port}"})


# --- how to get there -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy asked for tunnels. ``authorization``: value of its header, or None."""

    host: str
    port: int
    authorization: str | None

    def __repr__(self) -> str:
        return f"Proxy(host={self.host!r}, port={self.port})"

    @classmethod
    def of(cls, url: str) -> Proxy:
        """Read ``http://[user:password@]host[:port]``. Raises UsageError, naming no password."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port or 80
        except ValueError:
            host, port, parts = None, 0, urlsplit("")
        if parts.scheme != "http" or not host or parts.path not in {"", "/"} or not url.isascii():
            message = "the proxy must be given as http://host:port (a proxy that makes tunnels)"
            raise UsageError(message)
        authorization = None
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            authorization = "Basic " + b64encode(pair.encode()).decode("ascii")
        return cls(host, port, authorization)


_Address = tuple[int, int, int, str, Any]  # what socket.getaddrinfo gives


def _addresses(host: str, port: int, wait: Wait, limit_s: float, place: str) -> list[_Address]:
    """Ask for the addresses of a host. Raises `Broken`.

    In a thread, because the system's resolver takes its own time: minutes, if name servers are
    silent, and no signal ends it.
    """
    found: list[_Address] = []

    def ask() -> None:
        with contextlib.suppress(OSError, UnicodeError):
            found.extend(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))

    asking = threading.Thread(target=ask, name="teebundle-resolver", daemon=True)
    asking.start()
    asking.join(wait(limit_s))
    if asking.is_alive():
        raise Broken("timeout", f"{place}: its address was not found within {limit_s:g} s")
    if not found:
        raise Broken("unreachable", f"{place}: there is no such host")
    return found


def _reached(host: str, port: int, wait: Wait, limit_s: float, place: str) -> socket.socket:
    """Connect to the first address that answers. Raises `Broken`."""
    trouble: OSError = ConnectionError()
    for family, kind, protocol, _, address in _addresses(host, port, wait, limit_s, place):
        made = socket.socket(family, kind, protocol)
        try:
            made.settimeout(wait(limit_s))
            made.connect(address)
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            made.close()
            trouble = error
        except BaseException:
            made.close()
            raise
        else:
            return made
    if isinstance(trouble, TimeoutError):
        raise Broken("timeout", f"{place}: no connection within {limit_s:g} s") from trouble
    why = (trouble.strerror or "no connection").lower()
    raise Broken("unreachable", f"{place}: {why}") from trouble


def _tunnelled(
    made: socket.socket, authority: str, proxy: Proxy, wait: Wait, limit_s: float
) -> None:
    """Ask the proxy for a tunnel. Raises `Broken`."""
    lines = [f"CONNECT {authority} HTTP/1.1", f"Host: {authority}"]
    if proxy.authorization is not None:
        lines.append(f"Proxy-Authorization: {proxy.authorization}")
    place = f"proxy {proxy.host}:{proxy.port}"
    head = b""
    try:
        made.settimeout(wait(limit_s))
        made.sendall("\r\n".join([*lines, "", ""]).encode("ascii"))
        while b"\r\n\r\n" not in head:
            made.settimeout(wait(limit_s))
            part = made.recv(4096)
            head += part
            if not part or len(head) > _TUNNEL_HEAD:
                raise Broken("unreachable", f"{place}: made no tunnel to {authority}")
    except TimeoutError as error:
        raise Broken("timeout", f"{place}: no tunnel within {limit_s:g} s") from error
    except OSError as error:
        raise Broken(
            "unreachable", f"{place}: {(error.strerror or 'broke off').lower()}"
        ) from error
    version, _, rest = head.partition(b"\r\n")[0].partition(b" ")
    status = rest[:3]
    if not version.startswith(b"HTTP/1.") or not status.isdigit():
        raise Broken("unreachable", f"{place}: is no HTTP proxy")
    if not status.startswith(b"2"):
        said = status.decode("ascii")
        raise Broken("unreachable", f"{place}: refused a tunnel to {authority} (status {said})")


def _secured(
    made: socket.socket, host: str, context: ssl.SSLContext, *, wait: Wait, limit_s: float
) -> ssl.SSLSocket:
    """Shake hands; ``made`` is taken over. Raises `Broken` and SSLCertVerificationError."""
    place = host
    try:
        made.settimeout(wait(limit_s))
        # an end of the stream without close_notify must be told from a proper one (RFC 9112 9.8)
        return context.wrap_socket(made, server_hostname=host, suppress_ragged_eofs=False)
    except ssl.SSLCertVerificationError:
        raise
    except TimeoutError as error:
        raise Broken("timeout", f"{place}: no TLS handshake within {limit_s:g} s") from error
    except (ssl.SSLError, ssl.CertificateError) as error:
        why = (getattr(error, "reason", None) or "broken off").lower().replace("_", " ")
        raise Broken("tls", f"{place}: the TLS handshake failed: {why}") from error
    except OSError as error:
        why = (error.strerror or "broken off").lower()
        raise Broken("unreachable", f"{place}: the TLS handshake broke off: {why}") from error


@dataclass(frozen=True, slots=True)
class Peer:
    """An open connection. ``tls``: None without TLS."""

    socket: socket.socket
    tls: RecordedTls | None


def connect(
    host: str,
    port: int,
    *,
    secure: bool,
    trust: Trust,
    proxy: Proxy | None,
    wait: Wait,
    limit_s: float,
) -> Peer:
    """Open a connection; ``limit_s`` for each of reaching the host and shaking hands.

    ``host``: an address, or a name of no empty label.
    Plain HTTP is spoken to this machine alone and never through a proxy. Raises `Broken`.
    """
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def opened() -> socket.socket:
        if proxy is None or not secure:
            return _reached(host, port, wait, limit_s, place)
        made = _reached(proxy.host, proxy.port, wait, limit_s, f"proxy {proxy.host}:{proxy.port}")
        try:
            _tunnelled(made, place, proxy, wait, limit_s)
        except BaseException:
            made.close()
            raise
        return made

    def shaken(context: ssl.SSLContext, *, webpki: bool) -> Peer:
        made = opened()
        try:
            secured = _secured(made, host, context, wait=wait, limit_s=limit_s)
        except BaseException:
            made.close()
            raise
        try:
            return Peer(secured, observed_tls(secured, webpki=webpki))
        except BaseException:
            secured.close()
            raise

    if not secure:
        return Peer(opened(), None)
    try:
        return shaken(trust.ordinary, webpki=True)
    except ssl.SSLCertVerificationError as error:
        why = error.verify_message or "it does not validate"
        if not trust.excuses(host, port):
            raise Broken("tls", f"{place}: the certificate is not trusted: {why}") from error
    return shaken(trust.none, webpki=False)


def is_readable(made: socket.socket) -> bool:
    """Whether something has come that nobody read yet."""
    with selectors.DefaultSelector() as selector:
        selector.register(made, selectors.EVENT_READ)
        return bool(selector.select(0))


def is_alive(made: socket.socket) -> bool:
    """Whether an idle connection can carry another request: open, and nothing unasked for came.

    A TLS session ticket that waits to be read is no sign of the end.
    """
    with contextlib.suppress(OSError):
        made.setblocking(False)
        try:
            made.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError):
            return True
    return False
