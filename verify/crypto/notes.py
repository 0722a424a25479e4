"""Signed notes, log checkpoints, witness cosignatures and inclusion proofs.

Parsed and checked, never interpreted beyond origin, size, root and cosignature time: extension
lines and a proof's ``extra`` line give no facts (bundle-format.md 9.4).

Source: C2SP signed-note, tlog-checkpoint, tlog-cosignature, tlog-proof; RFC 6962 2.1.1.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

from verify.crypto import ed25519
from verify.engine.errors import FormatError
from verify.engine.value import value
from verify.wire import base64

NOTE_LIMIT: Final = 64 * 1024
SIGNATURES: Final = 64
LOG_KEY: Final = 0x01
"""Type of a key that signs notes: Ed25519."""
WITNESS_KEY: Final = 0x04
"""Type of a key that cosigns checkpoints with a time: Ed25519."""

_HEADER: Final = "c2sp.org/tlog-proof@v1"
_DASH: Final = "\u2014 "
_PATH_LIMIT: Final = 64
_NUMBER_DIGITS: Final = 19


@value
class VerifierKey:
    """A key that logs or witnesses sign with. ``key_id``: the four bytes that name it in a note."""

    name: str
    key_id: bytes
    kind: int
    key: bytes


@value
class NoteSignature:
    """One signature line: not yet checked."""

    name: str
    key_id: bytes
    signature: bytes


@value
class Note:
    """``text`` ends in a newline and is what is signed."""

    text: bytes
    signatures: tuple[NoteSignature, ...]


@value
class Checkpoint:
    """A log's statement about its tree: ``size`` leaves under ``root`` (32 bytes)."""

    origin: str
    size: int
    root: bytes
    note: Note


@value
class LogProof:
    """Inclusion of one entry: ``index`` of its leaf, ``path`` from the leaf's sibling upwards."""

    index: int
    path: tuple[bytes, ...]
    checkpoint: Checkpoint


def read_verifier_key(text: str) -> VerifierKey:
    """Read ``name+id+base64(type ‖ key)``; the id must be the key's own. Raises FormatError."""
    name, _, rest = text.partition("+")
    stated, _, encoded = rest.partition("+")
    material = base64.decode(encoded)
    if not _is_name(name) or len(material) != 33 or material[0] not in (LOG_KEY, WITNESS_KEY):
        raise FormatError(0, "a verifier key is name+id+key, of an Ed25519 log or witness")
    found = sha256(name.encode() + b"\n" + material).digest()[:4]
    if found.hex() != stated:
        raise FormatError(0, f"the id of this verifier key is {found.hex()}")
    return VerifierKey(name=name, key_id=found, kind=material[0], key=material[1:])


def _is_name(text: str) -> bool:
    return text != "" and "+" not in text and not any(c.isspace() for c in text)


def _number(text: str, what: str) -> int:
    plain = text.isascii() and text.isdigit() and len(text) <= _NUMBER_DIGITS
    if not plain or (text != "0" and text[0] == "0"):
        raise FormatError(0, f"{what} is not a decimal number")
    return int(text)


def _hash(text: str, what: str) -> bytes:
    data = base64.decode(text)
    if len(data) != 32:
        raise FormatError(0, f"{what} is not 32 bytes")
    return data


def read_note(text: str) -> Note:
    """Read a signed note. Raises FormatError."""
    if len(text) > NOTE_LIMIT:
        raise FormatError(NOTE_LIMIT, f"a note longer than {NOTE_LIMIT} characters")
    if any(ord(c) < 0x20 and c != "\n" for c in text) or any(
        0xD800 <= ord(c) < 0xE000 for c in text
    ):
        raise FormatError(0, "a note holds no control characters")
    body, blank, lines = text.rpartition("\n\n")
    if not blank or not lines.endswith("\n"):
        raise FormatError(0, "a note is text, an empty line, and signature lines")
    signatures = []
    for line in lines[:-1].split("\n"):
        name, space, encoded = line.removeprefix(_DASH).partition(" ")
        if not line.startswith(_DASH) or not space or not _is_name(name):
            raise FormatError(0, "a signature line is a dash, a name and a signature")
        data = base64.decode(encoded)
        if len(data) < 5:
            raise FormatError(0, "a signature shorter than its key id")
        signatures.append(NoteSignature(name=name, key_id=data[:4], signature=data[4:]))
    if len(signatures) > SIGNATURES:
        raise FormatError(0, f"more than {SIGNATURES} signatures")
    return Note(text=(body + "\n").encode(), signatures=tuple(signatures))


def read_checkpoint(text: str) -> Checkpoint:
    """Read a log's checkpoint. Raises FormatError."""
    note = read_note(text)
    lines = note.text.decode().split("\n")[:-1]
    if len(lines) < 3 or not all(lines):
        raise FormatError(0, "a checkpoint has three lines at least, none of them empty")
    return Checkpoint(
        origin=lines[0],
        size=_number(lines[1], "the tree size"),
        root=_hash(lines[2], "the root hash"),
        note=note,
    )


def read_log_proof(text: str) -> LogProof:
    """Read a transparency log proof. Raises FormatError."""
    head, blank, checkpoint = text.partition("\n\n")
    lines = head.split("\n")
    if not blank or lines.pop(0) != _HEADER:
        raise FormatError(0, f"a proof begins with {_HEADER} and has a checkpoint")
    if lines and lines[0].startswith("extra "):
        base64.decode(lines.pop(0).removeprefix("extra "))
    if not lines or not lines[0].startswith("index "):
        raise FormatError(0, "a proof names the index of its entry")
    index = _number(lines.pop(0).removeprefix("index "), "the index")
    if len(lines) > _PATH_LIMIT:
        raise FormatError(0, f"a path longer than {_PATH_LIMIT}")
    return LogProof(
        index=index,
        path=tuple(_hash(line, "a path element") for line in lines),
        checkpoint=read_checkpoint(checkpoint),
    )


def leaf_hash(entry: bytes) -> bytes:
    """Return the leaf hash of a log entry: SHA-256(00 ‖ entry)."""
    return sha256(b"\x00" + entry).digest()


def root_of(leaf: bytes, proof: LogProof) -> bytes | None:
    """Return the root that the path leads to, or None where the path does not fit the tree.

    Source: RFC 6962 2.1.1; RFC 9162 2.1.3.2.
    """
    index, last = proof.index, proof.checkpoint.size - 1
    if not 0 <= index <= last:
        return None
    found = leaf
    for step in proof.path:
        if last == 0:
            return None
        if index & 1 or index == last:
            found = sha256(b"\x01" + step + found).digest()
            while not index & 1 and index:
                index >>= 1
                last >>= 1
        else:
            found = sha256(b"\x01" + found + step).digest()
        index >>= 1
        last >>= 1
    return found if last == 0 else None


def _of(note: Note, key: VerifierKey) -> tuple[NoteSignature, ...]:
    return tuple(s for s in note.signatures if s.name == key.name and s.key_id == key.key_id)


def signed(note: Note, key: VerifierKey) -> bool | None:
    """Whether a log key signed the note; None where no line names the key. All its lines count."""
    lines = _of(note, key)
    if not lines:
        return None
    return all(
        len(line.signature) == 64 and ed25519.signed(key.key, line.signature, note.text)
        for line in lines
    )


def cosigned(note: Note, key: VerifierKey) -> int | bool | None:
    """Return the time (POSIX seconds) at which a witness cosigned.

    None where no line names the key; False where one does and its signature is wrong. Several good
    lines: the earliest time.
    """
    times = []
    for line in _of(note, key):
        if len(line.signature) != 72:
            return False
        time = int.from_bytes(line.signature[:8], "big")
        message = b"cosignature/v1\ntime %d\n%b" % (time, note.text)
        if time >= 1 << 63 or not ed25519.signed(key.key, line.signature[8:], message):
            return False
        times.append(time)
    return min(times, default=None)
