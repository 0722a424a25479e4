"""A Nitro attestation document: an untagged COSE_Sign1 over a CBOR map of fixed members.

Strict: what does not encode to the same bytes again is refused, which leaves one spelling of every
length, no duplicate key and nothing after the end. Nothing is judged here.

Source: sev-snp.md 17; RFC 9052 4.2; RFC 8949 4.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from verify.crypto.x509 import sealed
from verify.engine.errors import FormatError
from verify.engine.reason import Reason
from verify.engine.value import value

MAX_DOCUMENT: Final = 16 * 1024
MAX_CERTIFICATE: Final = 1024
MAX_BUNDLE: Final = 8
PCR_COUNT: Final = 32

_PROTECTED: Final = bytes.fromhex("a1013822")
_SIGNATURE_SIZE: Final = 96
_PCR_SIZES: Final = frozenset((32, 48, 64))
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST_MS: Final = 253_402_300_799_000
_MEMBERS: Final = frozenset(
    (
        "module_id",
        "digest",
        "timestamp",
        "pcrs",
        "certificate",
        "cabundle",
        "public_key",
        "user_data",
        "nonce",
    )
)
_OPTIONAL: Final[Mapping[str, int]] = {"public_key": 1024, "user_data": 512, "nonce": 512}


@value
class NitroDocument:
    """A document that parsed. ``timestamp``: cut to whole seconds, UTC.

    ``protected``, ``payload``: the byte strings as captured, which the signature (r ‖ s, 96 bytes)
    covers. ``pcrs``: index to value. ``certificate``: DER of the leaf; ``cabundle``: root first.
    """

    protected: bytes
    payload: bytes
    signature: bytes
    module_id: str
    timestamp: datetime
    pcrs: Mapping[int, bytes]
    certificate: bytes
    cabundle: tuple[bytes, ...]
    public_key: bytes | None
    user_data: bytes | None
    nonce: bytes | None

    @property
    def signed(self) -> bytes:
        """The Sig_structure of RFC 9052 4.4 over the captured byte strings."""
        from cbor2 import dumps  # noqa: PLC0415  (few bundles need it)

        return dumps(["Signature1", self.protected, b"", self.payload])


def _bad(what: str, offset: int = 0) -> FormatError:
    return FormatError(offset, what, reason=Reason.NITRO_DOCUMENT_MALFORMED)


def _both_ways(data: bytes) -> tuple[object, bytes]:
    from cbor2 import dumps, loads  # noqa: PLC0415  (few bundles need it)

    found: object = loads(data)
    return found, dumps(found)


def _decoded(data: bytes, what: str) -> object:
    """Return the one CBOR item of ``data``, which must be its only encoding."""
    try:
        found, again = sealed(_both_ways, data, f"{what} is not CBOR")
    except FormatError as error:
        raise _bad(error.what) from error
    if again != data:
        raise _bad(f"{what} is not in its one strict encoding")
    return found


def _bytes(found: object, what: str, limit: int, size: int | None = None) -> bytes:
    if not isinstance(found, bytes) or not found:
        raise _bad(f"{what} is no byte string")
    if len(found) > limit or size not in (None, len(found)):
        raise _bad(f"{what} has {len(found)} bytes")
    return found


def _pcrs(found: object) -> Mapping[int, bytes]:
    if not isinstance(found, dict) or not 0 < len(found) <= PCR_COUNT:
        raise _bad("pcrs is no map of registers")
    registers: dict[int, bytes] = {}
    for index, register in found.items():
        if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < PCR_COUNT:
            raise _bad("a register has no number from 0 to 31")
        if not isinstance(register, bytes) or len(register) not in _PCR_SIZES:
            raise _bad(f"register {index} has no known size")
        registers[index] = register
    return registers


def _timestamp(found: object) -> datetime:
    if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found <= _LATEST_MS:
        raise _bad("timestamp is no time")
    return _EPOCH + timedelta(seconds=found // 1000)


def _payload(payload: bytes) -> Mapping[str, object]:
    found = _decoded(payload, "payload")
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise _bad("payload is no map of members")
    if set(found) - _MEMBERS or _MEMBERS - set(found) - set(_OPTIONAL):
        raise _bad(f"payload has the members {', '.join(sorted(found))[:200]}")
    return found


def parse_document(data: bytes) -> NitroDocument:
    """Read one document.

    Raises `FormatError`: ``nitro.document.malformed``, ``nitro.document.algorithm_unsupported``.
    """
    if len(data) > MAX_DOCUMENT:
        raise _bad(f"more than {MAX_DOCUMENT} bytes", MAX_DOCUMENT)
    whole = _decoded(data, "document")
    if not isinstance(whole, list) or len(whole) != 4:
        raise _bad("not an untagged COSE_Sign1 array of four")
    protected, unprotected, payload, signature = whole
    if not isinstance(protected, bytes) or not isinstance(_decoded(protected, "header"), dict):
        raise _bad("no protected header")
    if protected != _PROTECTED:
        raise FormatError(
            0,
            "the protected header names another algorithm than ES384",
            reason=Reason.NITRO_DOCUMENT_ALGORITHM_UNSUPPORTED,
        )
    if unprotected != {} or not isinstance(unprotected, dict):
        raise _bad("the unprotected header is not empty")
    stated = _bytes(payload, "payload", MAX_DOCUMENT)
    members = _payload(stated)
    module, bundle = members["module_id"], members["cabundle"]
    if not isinstance(module, str) or not module:
        raise _bad("module_id is no text")
    if members["digest"] != "SHA384":
        raise _bad("digest is not SHA384")
    if not isinstance(bundle, list) or not 0 < len(bundle) <= MAX_BUNDLE:
        raise _bad("cabundle is no list of certificates")
    optional = {
        name: None if members.get(name) is None else _bytes(members[name], name, limit)
        for name, limit in _OPTIONAL.items()
    }
    return NitroDocument(
        protected=protected,
        payload=stated,
        signature=_bytes(signature, "signature", _SIGNATURE_SIZE, _SIGNATURE_SIZE),
        module_id=module,
        timestamp=_timestamp(members["timestamp"]),
        pcrs=_pcrs(members["pcrs"]),
        certificate=_bytes(members["certificate"], "certificate", MAX_CERTIFICATE),
        cabundle=tuple(_bytes(one, "a certificate", MAX_CERTIFICATE) for one in bundle),
        public_key=optional["public_key"],
        user_data=optional["user_data"],
        nonce=optional["nonce"],
    )
