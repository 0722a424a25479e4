"""Sessions whose chat answer is too large for a bundle file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path

from bundle.assemble import Assembly, CaptureClaims, Frozen
from bundle.keys import key_id
from bundle.recording import RecordedExchange, StoredBody
from bundle.seal import seal
from fixtures import goods
from fixtures.chat_sim import Chat
from fixtures.registry import Case
from fixtures.sealed import assembled
from fixtures.sessions import CAPTURER, START, Session
from verify.wire.limits import DEFAULT

INLINE = DEFAULT.inline_blob
MIB = 1 << 20
LINE = b'data: {"id":"later","choices":[{"index":0,"delta":{"content":"' + b"w" * 940 + b'"}}]}\n\n'


def grown(stream: bytes, size: int) -> bytes:
    """Return a stream of exactly ``size`` bytes: more data lines, and a comment to fill up."""
    first, _, rest = stream.partition(b"\n\n")
    room = size - len(first) - len(rest) - 2
    lines, left = divmod(room, len(LINE))
    if left and left < 4:
        lines, left = lines - 1, left + len(LINE)
    filler = b": " + b"f" * (left - 4) + b"\n\n" if left else b""
    return first + b"\n\n" + LINE * lines + filler + rest


def stored(folder: Path, body: bytes, name: str = "response.body") -> StoredBody:
    """Write a body the way a journal keeps it."""
    path = folder / name
    path.write_bytes(body)
    return StoredBody(path=path, size=len(body), sha256=sha256(body).digest())


@dataclass(frozen=True, kw_only=True)
class LargeSession(Session):
    """A session whose answer has ``size`` bytes; in a file below ``folder`` where there is one."""

    size: int
    folder: Path | None = None

    @cached_property
    def chat(self) -> Chat:
        """The chat, its stream grown."""
        small: Chat = Session.__dict__["chat"].func(self)
        response = grown(small.response, self.size)
        return replace(small, response=response, hashed_response=response)

    def exchanges(self) -> tuple[RecordedExchange, ...]:
        """Return the exchanges; the chat's answer in a file."""
        found = super().exchanges()
        if self.folder is None:
            return found
        return tuple(
            replace(
                one,
                response_body=None,
                response_file=stored(self.folder, one.response_body or b""),
            )
            if one.purpose == "chat"
            else one
            for one in found
        )


def session(size: int, folder: Path | None = None, name: str = "nanogpt") -> LargeSession:
    """Return a good session with an answer of ``size`` bytes."""
    base = goods.SESSIONS[name]()
    members = {member: getattr(base, member) for member in base.__dataclass_fields__}
    return LargeSession(**members, size=size, folder=folder)


def frozen(subject: Session) -> Frozen:
    """Return what is sealed of a session."""
    assembly, claims = assembled(subject)
    return assembly.freeze(claims)


def sealed(subject: LargeSession, blobs: Path, name: str = "nanogpt") -> Case:
    """Return the case of a session sealed with a blob store at ``blobs``."""
    return replace(goods.good(name), bundle=seal(frozen(subject), [CAPTURER], blobs=blobs))


def files(blobs: Path) -> list[Path]:
    """Return the files of a blob store."""
    return sorted((blobs / "sha256").iterdir()) if (blobs / "sha256").is_dir() else []


def lone(
    body: StoredBody | None,
    *,
    purpose: str = "chat",
    held: bytes | None = None,
    sha512: bool = False,
) -> Assembly:
    """Return an assembly of one exchange with this response, in a file or held."""
    assembly = Assembly(
        profile="nanogpt",
        signer=key_id(CAPTURER.spki()),
        statement_id="urn:uuid:00000000-0000-4000-8000-000000000000",
        salt=lambda name: sha256(name.encode()).digest(),
        sha512=sha512,
    )
    assembly.exchange(
        RecordedExchange(
            purpose=purpose,
            method="POST",
            url="https://x.example.test/",
            started_at=START,
            ended_at=START,
            status=200,
            response_body=held,
            response_file=body,
        ),
        body_role="http.response.body" if purpose == "chat" else "provider.attestation",
    )
    return assembly


CLAIMS = CaptureClaims(
    mode="live",
    started_at=START,
    ended_at=START,
    operator="operator of the simulation (TEST ONLY)",
    provider="nanogpt",
    endpoint="https://x.example.test",
    tool_version="1.0.0",
)
