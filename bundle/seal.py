"""Seal: sign a frozen Statement, put the packed file together, prove it reads back, write it once.

Source: bundle-format.md 5.1 (writer's layout), 6.3 (credential search), 9.2, 9.3.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn
from urllib.parse import quote

from bundle.assemble import Frozen
from bundle.bodies import ExternalBlob, remove, write_blobs
from bundle.keys import Signer, key_id
from verify.engine.errors import FormatError, MalformedInput, UsageError
from verify.wire.limits import EXTERNAL_HARD

if TYPE_CHECKING:
    from verify.wire.container import Blob
    from verify.wire.model import Digest

MEDIA_TYPE: Final = "application/vnd.teebundle.evidence.v1+json"
PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
_PLAIN: Final = frozenset("\t\n\r")


class SealError(Exception):
    """The bundle was not written. Says what was found and what to do."""


def pae(payload_type: str, payload: bytes) -> bytes:
    """Return the DSSE pre-authentication encoding: the bytes that are signed."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def credential_forms(secret: str) -> tuple[bytes, ...]:
    """Return the byte strings by which a credential would be recognised.

    Plain in any case, percent-encoded, hex in both cases, as JSON writers escape it, and base64 at
    each of its three alignments with the characters that depend on neighbours cut off.
    """
    raw = secret.encode()
    forms = {raw, raw.lower(), raw.upper(), raw.hex().encode(), raw.hex().upper().encode()}
    for safe in ("", "/"):
        percent = quote(secret, safe=safe)
        lower = re.sub("%[0-9A-F]{2}", lambda found: found[0].lower(), percent)
        forms |= {percent.encode(), lower.encode()}
    escaped = json.dumps(secret)[1:-1]
    forms |= {escaped.encode(), escaped.replace("/", "\\/").encode()}
    for case in ("\\u%04x", "\\u%04X"):  # as Go and .NET do
        codes = {ord(one): case % ord(one) for one in "\"&'+<>`"}
        forms.add(secret.translate(codes).encode())
    for shift in range(3):
        text = base64.b64encode(bytes(shift) + raw)
        inner = text[(0, 2, 3)[shift] : len(text) - (4 if (shift + len(raw)) % 3 else 0)]
        if len(inner) >= 8:
            forms.add(inner)
            forms.add(inner.translate(bytes.maketrans(b"+/", b"-_")))
    return tuple(form for form in forms if form)


def _refuse_credential(place: str) -> NoReturn:
    message = (
        f"a configured credential stands in {place}; nothing was written. "
        "Redact it at the source, or capture again with another credential"
    )
    raise SealError(message)


def search_credentials(
    places: Mapping[str, bytes],
    secrets: Iterable[str],
    large: Mapping[str, ExternalBlob] | None = None,
) -> None:
    """Refuse to go on if a credential stands in any of the byte strings about to be stored.

    ``large``: what lies beside the file, searched piece by piece, across their seams too.
    Raises `SealError` naming the place, never the credential.
    """
    forms = tuple(dict.fromkeys(form for secret in secrets for form in credential_forms(secret)))
    if not forms:
        return
    for form in forms:
        for place, data in places.items():
            if form in data:
                _refuse_credential(place)
    overlap = max(map(len, forms)) - 1
    for place, blob in (large or {}).items():
        seam = b""
        for piece in blob.pieces():
            window = seam + piece
            if any(form in window for form in forms):
                _refuse_credential(place)
            seam = window[-overlap:] if overlap else b""


def blob_entry(data: bytes, *, salted: bool = False) -> dict[str, str]:
    """Return a blob entry: ``utf-8`` for plain raw text, ``base64`` for everything else."""
    if not salted:
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            text = None
        if text is not None and "\ufeff" not in text:
            control = any(
                (ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0) and c not in _PLAIN for c in text
            )
            if not control:
                return {"encoding": "utf-8", "data": text}
    return {"encoding": "base64", "data": base64.b64encode(data).decode("ascii")}


def envelope(payload: bytes, signers: Sequence[Signer]) -> dict[str, object]:
    """Return the DSSE envelope over ``payload`` with one signature for each signer."""
    message = pae(PAYLOAD_TYPE, payload)
    return {
        "payloadType": PAYLOAD_TYPE,
        "payload": base64.b64encode(payload).decode("ascii"),
        "signatures": [
            {
                "keyid": key_id(signer.spki()),
                "sig": base64.b64encode(signer.sign(message)).decode("ascii"),
            }
            for signer in signers
        ],
    }


def packed(document: Mapping[str, object]) -> bytes:
    """Return a packed object in the writer's layout (bundle-format.md 5.1)."""
    return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode()


def assemble_file(frozen: Frozen, signers: Sequence[Signer]) -> bytes:
    """Sign and put the packed file together, without writing or checking it."""
    blobs: dict[str, Mapping[str, object]] = {
        digest: blob_entry(data, salted=digest in frozen.salted)
        for digest, data in frozen.blobs.items()
    }
    for digest, blob in frozen.external.items():
        blobs[digest] = {"encoding": "external", "size": blob.size}
    return packed(
        {
            "mediaType": MEDIA_TYPE,
            "statement": envelope(frozen.payload, signers),
            "material": [],
            "blobs": {digest: blobs[digest] for digest in sorted(blobs)},
            "redactions": [],
            "attachments": [],
            "renewals": [],
        }
    )


def _external_faults(blobs: Mapping[Digest, Blob], folder: Path | None) -> Iterator[str]:
    """Say what is wrong with the blobs beside the file: read once, piece by piece."""
    # the reader's own; see `_read_back`
    from verify.cli.blobs import BlobFolder  # noqa: PLC0415
    from verify.wire.container import External  # noqa: PLC0415
    from verify.wire.outside import read_outside  # noqa: PLC0415

    outer = {digest: blob for digest, blob in blobs.items() if isinstance(blob, External)}
    source = None
    if outer and folder is not None:
        # what a reader accepts by default is the reader's affair
        source = BlobFolder(str(folder), limit=max(blob.size for blob in outer.values()))
    for digest, blob in outer.items():
        given = None if source is None else source(digest)
        found = None if given is None else read_outside(given, limit=blob.size)
        if found is None:
            yield f"blob {digest} is not in the blob folder as it was written"
        elif (found.size, f"sha256:{found.sha256}") != (blob.size, digest):
            yield f"blob {digest} is not what lies under that digest"


def _read_back(data: bytes, signers: Sequence[Signer], folder: Path | None = None) -> None:
    """Read what is about to be written with the shipped reader, as an auditor would.

    Container, schemas, signatures, Statement, digests, framing, derivations, absences: rows 1 to 8
    without a policy. ``folder``: the blob store beside the file. Raises `SealError`, naming the
    first thing that is wrong: a bug of the caller.
    """
    # the reader is the verifier itself; importing it costs more than writing a key pair
    from verify.checks.container import derive_all  # noqa: PLC0415
    from verify.checks.opening import stored_evidence  # noqa: PLC0415
    from verify.crypto.ecdsa import Signed  # noqa: PLC0415
    from verify.crypto.signatures import load_signer_key, signed  # noqa: PLC0415
    from verify.wire.container import External, read_bundle  # noqa: PLC0415
    from verify.wire.statement import read_statement, statement_faults  # noqa: PLC0415

    try:
        bundle = read_bundle(data)
        envelope_read = bundle.statement.envelope
        found = read_statement(envelope_read.payload)
        keys = {key_id(signer.spki()): load_signer_key(signer.spki()) for signer in signers}
    except (MalformedInput, FormatError) as error:
        message = f"what was sealed does not read back: {error}; nothing was written"
        raise SealError(message) from error
    for signature in envelope_read.signatures:
        made = signed(keys[signature.keyid], signature.sig, envelope_read.signed)
        if made is not Signed.YES:
            message = f"the signature of {signature.keyid} does not verify; nothing was written"
            raise SealError(message)
    faults = [fault.what for fault in statement_faults(found, frozenset(keys))]
    faults += [
        f"blob {digest} is not what lies under that digest"
        for digest, blob in bundle.blobs.items()
        if isinstance(blob, bytes) and "sha256:" + sha256(blob).hexdigest() != digest
    ]
    faults += _external_faults(bundle.blobs, folder)
    evidence, derived_faults = derive_all(stored_evidence(bundle, found.statement))
    faults += [fault.what for fault in derived_faults]
    faults += [
        f"{artifact.id} has no bytes"
        for artifact in found.statement.artifacts
        if artifact.id not in evidence.bodies
        and not isinstance(bundle.blobs.get(artifact.digest), External)
    ]
    faults += [
        f"{artifact.id} is {artifact.size} bytes, its blob another number"
        for artifact in found.statement.artifacts
        if isinstance(blob := bundle.blobs.get(artifact.digest), External)
        and blob.size != artifact.size
    ]
    if faults:
        message = f"what was sealed contradicts itself: {faults[0]}; nothing was written"
        raise SealError(message)


def seal(
    frozen: Frozen,
    signers: Sequence[Signer],
    *,
    secrets: Iterable[str] = (),
    blobs: Path | None = None,
) -> bytes:
    """Return the packed file, after it has been read back and every container check passed.

    ``secrets``: configured credentials, searched for in everything about to be stored. ``blobs``:
    the blob store for bodies that are too large for the file (``verify --blobs``); they are written
    into it here, after the search, and removed again where sealing fails. Raises UsageError where
    there are such bodies and no folder, `SealError` where anything is found; then nothing may be
    written.
    """
    if not signers:
        message = "a bundle needs at least one signer; name one with --key"
        raise UsageError(message)
    largest = max((blob.size for blob in frozen.external.values()), default=0)
    if largest > EXTERNAL_HARD:
        message = f"a body of {largest} bytes: no reader takes more than {EXTERNAL_HARD}"
        raise UsageError(message)
    if frozen.external and blobs is None:
        message = (
            f"a body of {largest} bytes is too large for the bundle file and lies beside it; "
            "name a folder for it with --blobs"
        )
        raise UsageError(message)
    places = {"the statement": frozen.payload, **frozen.blobs}
    search_credentials(places, secrets, frozen.external)
    written = () if blobs is None else write_blobs(frozen.external, blobs)
    try:
        data = assemble_file(frozen, signers)
        _read_back(data, signers, blobs)
    except BaseException:
        remove(written)
        raise
    return data


def refuse_input(path: Path, inputs: Iterable[Path | str | None]) -> None:
    """Raise UsageError where ``path`` is one of the files a command reads: a key, a bundle."""
    for name in inputs:
        if name is None:
            continue
        with contextlib.suppress(OSError):
            if path.samefile(name):
                message = f"{path}: is an input of this command; choose another name"
                raise UsageError(message)


def write_new(path: Path, data: bytes, *, overwrite: bool = False) -> None:
    """Write a file whole or not at all: temporary file beside it (0600), fsync, rename.

    Raises UsageError where the target exists and ``overwrite`` is False, or the folder is missing.
    """
    if not overwrite and (path.exists() or path.is_symlink()):
        message = f"{path}: exists already; choose another name or pass --overwrite"
        raise UsageError(message)
    if path.exists() and not path.is_file():  # a rename would put a file in place of a device
        message = f"{path}: is no regular file; choose another name"
        raise UsageError(message)
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        message = f"{path}: cannot write there: {error.strerror}"
        raise UsageError(message) from error
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if overwrite:
            temporary.replace(path)
        else:
            # a link, unlike a rename, fails where another writer was faster
            os.link(temporary, path)
    except FileExistsError as error:
        message = f"{path}: exists already; choose another name or pass --overwrite"
        raise UsageError(message) from error
    except OSError as error:
        message = f"{path}: cannot write there: {error.strerror}"
        raise UsageError(message) from error
    finally:
        temporary.unlink(missing_ok=True)
