"""A server that sends exactly the bytes a test scripts, plain or over TLS, on 127.0.0.1.

Each accepted connection runs the script in a thread of its own. What arrives is kept. A fault of
the script itself fails the test when the server is left; a connection lost by the client does not.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

PEM = serialization.Encoding.PEM
DER = serialization.Encoding.DER


@dataclass
class Line:
    """One accepted connection."""

    socket: socket.socket
    number: int
    server: RawServer

    def request(self) -> bytes:
        """Read one request: head and as much body as it announces. Empty at the end."""
        data = b""
        while b"\r\n\r\n" not in data:
            part = self.socket.recv(65536)
            if not part:
                return data
            data += part
        head, _, body = data.partition(b"\r\n\r\n")
        length = 0
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        while len(body) < length:
            part = self.socket.recv(65536)
            if not part:
                break
            body += part
        self.server.requests.append(head + b"\r\n\r\n" + body)
        self.server.lines.append(self.number)
        return head + b"\r\n\r\n" + body

    def send(self, *parts: bytes) -> None:
        for part in parts:
            self.socket.sendall(part)

    def reset(self) -> None:
        """Close with RST, so that the client's read fails."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # an SSLSocket would otherwise say goodbye first
        socket.socket.close(self.socket)

    def wait(self) -> None:
        """Say nothing until the client goes away or the server is left."""
        self.server.over.wait(20)


Script = Callable[[Line], None]


def answering(*answers: bytes) -> Script:
    """Answer each request of a connection with the next of the texts, then close."""

    def script(line: Line) -> None:
        for answer in answers:
            if not line.request():
                return
            line.send(answer)

    return script


def length(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def chunked(parts: Sequence[bytes], *headers: str) -> bytes:
    lines = ["HTTP/1.1 200 OK", *headers, "Transfer-Encoding: chunked", "", ""]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
    return "\r\n".join(lines).encode("latin-1") + chunks + b"0\r\n\r\n"


@dataclass
class RawServer:
    """Use as a context manager. ``tls``: a server context, None for plain text."""

    script: Script
    tls: ssl.SSLContext | None = None
    requests: list[bytes] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._faults: list[BaseException] = []
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = []
        self.accepted = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        return f"{'http' if self.tls is None else 'https'}://{host}:{self.port}{path}"

    def __enter__(self) -> Self:
        self._thread(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for one in self._sockets:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(one, socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        for one in self._sockets:
            socket.socket.close(one)
        if self._faults:
            raise self._faults[0]

    def _thread(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                made, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            self._sockets.append(made)
            self._thread(self._serve, made, self.accepted)

    def _serve(self, made: socket.socket, number: int) -> None:
        try:
            if self.tls is not None:
                raw = made
                made = self.tls.wrap_socket(raw, server_side=True)
                self._sockets.append(made)
            self.script(Line(made, number, self))
            if self.tls is not None and made.fileno() >= 0:
                assert isinstance(made, ssl.SSLSocket)
                made.settimeout(0.5)
                made.unwrap()  # a proper end: close_notify
        except (OSError, ssl.SSLError, ValueError):
            pass  # the client went away
        except BaseException as fault:  # noqa: BLE001  (told when the server is left)
            self._faults.append(fault)
        finally:
            socket.socket.close(made)


# --- certificates -----------------------------------------------------------------------------


@dataclass
class Ca:
    """A certificate authority of two levels made for this test run."""

    folder: Path
    root: x509.Certificate
    middle: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def file(self) -> Path:
        return self.folder / "root.pem"

    def context(
        self, host: str = "127.0.0.1", *, days: int = 1, alone: bool = False
    ) -> ssl.SSLContext:
        """A server context. ``days`` negative: expired; ``alone``: signed by itself."""
        key = ec.generate_private_key(ec.SECP256R1())
        issuer = None if alone else (self.middle, self.key)
        leaf = certificate(host, key, issuer=issuer, days=days)
        chain = [leaf] if alone else [leaf, self.middle]
        path = self.folder / f"{leaf.serial_number}.pem"
        path.write_bytes(
            b"".join(one.public_bytes(PEM) for one in chain)
            + key.private_bytes(
                PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.load_cert_chain(path)
        made.set_alpn_protocols(["http/1.1"])
        made.chain = tuple(one.public_bytes(DER) for one in chain)  # type: ignore[attr-defined]
        made.spki = key.public_key().public_bytes(  # type: ignore[attr-defined]
            DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return made


def certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    *,
    issuer: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None = None,
    days: int = 1,
    ca: bool = False,
    more: x509.ExtensionType | None = None,
) -> x509.Certificate:
    now = dt.datetime.now(dt.UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"TEST ONLY {name}")])
    signer = key if issuer is None else issuer[1]
    issued_by = subject if issuer is None else issuer[0].subject
    usage = {
        "digital_signature": not ca, "content_commitment": False, "key_encipherment": False,
        "data_encipherment": False, "key_agreement": False, "key_cert_sign": ca, "crl_sign": ca,
        "encipher_only": False, "decipher_only": False,
    }  # fmt: skip
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issued_by)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=2))
        .not_valid_after(now + dt.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(**usage), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
    )
    if more is not None:
        builder = builder.add_extension(more, critical=False)
    if not ca:
        try:
            alternative: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(name))
        except ValueError:
            alternative = x509.DNSName(name)
        builder = builder.add_extension(
            x509.SubjectAlternativeName([alternative]), critical=False
        ).add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    return builder.sign(signer, hashes.SHA256())


_FOLDER = TemporaryDirectory(prefix="raw-server-")


@cache
def authority() -> Ca:
    folder = Path(_FOLDER.name)
    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root = certificate("root", root_key, days=9, ca=True)
    middle = certificate("middle", key, issuer=(root, root_key), days=9, ca=True)
    (folder / "root.pem").write_bytes(root.public_bytes(PEM))
    return Ca(folder, root, middle, key)


# --- a proxy ----------------------------------------------------------------------------------


def tunnelling(refuse: bytes | None = None) -> Script:
    """A proxy that makes tunnels to wherever it is asked, or answers every request with a text."""

    def script(line: Line) -> None:
        head = line.request()
        if refuse is not None:
            line.send(refuse)
            return
        host, _, port = head.split(b" ")[1].decode().rpartition(":")
        with socket.create_connection((host, int(port)), 5) as far:
            line.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=_pour, args=(far, line.socket), daemon=True)
            back.start()
            _pour(line.socket, far)
            back.join(5)

    return script


def _pour(source: socket.socket, drain: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while part := source.recv(65536):
            drain.sendall(part)
    with contextlib.suppress(OSError):
        drain.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def serving(*answers: bytes, tls: ssl.SSLContext | None = None) -> Iterator[RawServer]:
    with RawServer(answering(*answers), tls) as server:
        yield server
