"""Family tinfoil: an enclave that binds its TLS key, an HPKE key, a nonce and its GPU evidence.

No response key exists. Version 3 documents carry a nonce and hashes of the device evidence; version
2 documents hold nothing but a compressed quote or report, and no nonce.

Source: providers.md 1.2, 3.4, 7.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Final, cast

from verify.crypto.x509 import load_certificate, split_pem
from verify.engine.errors import FormatError, Refused
from verify.engine.reason import Reason
from verify.engine.value import value
from verify.families.identity import (
    Binding,
    Item,
    NonceRuling,
    RecognisedAnswer,
    ReportObject,
    Shape,
)
from verify.families.members import (
    Companion,
    array,
    base64_bytes,
    below,
    hex_bytes,
    mapping,
    optional_text,
    required,
    text,
)
from verify.wire.strict_json import Json, span

MAX_DEVICES: Final = 32

_PEM: Final = "application/x-pem-file"
_PLATFORMS: Final[Mapping[str, str]] = {"tdx": "tdx.quote", "sev-snp": "snp.report"}
_V2: Final[Mapping[str, str]] = {
    "https://tinfoil.sh/predicate/tdx-guest/v2": "tdx.quote",
    "https://tinfoil.sh/predicate/sev-snp-guest/v2": "snp.report",
}


@value
class TinfoilReport(ReportObject):
    """A version 3 document. Every value 32 bytes as stated; hashes None where not stated.

    ``gpu``, ``nvswitch``: the items whose exact text the hashes are of, None where absent.
    """

    hpke_key: bytes
    nonce: bytes
    gpu_hash: bytes | None
    nvswitch_hash: bytes | None
    gpu: Item | None
    nvswitch: Item | None

    @property
    def preimage(self) -> bytes:
        """What report_data opens with the hash of (providers.md 7)."""
        parts = (self.tls_fingerprint, self.hpke_key, self.nonce, self.gpu_hash, self.nvswitch_hash)
        return b"".join(part for part in parts if part is not None)


@value
class CompressedReport(ReportObject):
    """A version 2 document: it states nothing; all there is stands in report_data."""


def _hash(members: Mapping[str, Json], name: str) -> bytes | None:
    path = "/report_data"
    stated = optional_text(members, name, path)
    return None if stated is None else hex_bytes(stated, below(path, name), 32)


def _devices(
    members: Mapping[str, Json], name: str, roles: tuple[str, str]
) -> tuple[tuple[Item, Item], ...]:
    found = members.get(name)
    if found is None:
        return ()
    path = f"/{name}"
    place = below(path, "evidences")
    listed = array(required(mapping(found, path), "evidences", path), place)
    if len(listed) > MAX_DEVICES:
        raise FormatError(
            0, f"more than {MAX_DEVICES} devices", reason=Reason.EXCHANGE_OVER_LIMIT, path=place
        )
    devices: list[tuple[Item, Item]] = []
    for number, entry in enumerate(listed):
        at = below(place, number)
        device = mapping(entry, at)
        items: list[Item] = []
        for member, role, media_type in (
            ("evidence", roles[0], "application/octet-stream"),
            ("certificate", roles[1], _PEM),
        ):
            if not base64_bytes(text(device, member, at), below(at, member)):
                raise FormatError(
                    0,
                    f"{member} is empty",
                    reason=Reason.SHAPE_LENGTH_INVALID,
                    path=below(at, member),
                )
            items.append(
                Item(
                    role=role,
                    steps=(f"select:{below(at, member)}", "base64"),
                    pointer="",
                    media_type=media_type,
                )
            )
        devices.append((items[0], items[1]))
    return tuple(devices)


def _hashed(members: Mapping[str, Json], name: str) -> Item | None:
    if members.get(name) is None:
        return None
    return Item(
        role="nvidia.payload",
        steps=(f"span:/{name}",),
        pointer="",
        media_type="application/json",
    )


def _v3(members: Mapping[str, Json], artifact: str) -> RecognisedAnswer:
    stated = mapping(members.get("report_data"), "/report_data")
    cpu = mapping(members.get("cpu"), "/cpu")
    role = _PLATFORMS.get(text(cpu, "platform", "/cpu"))
    if role is None:
        raise FormatError(
            0,
            "neither tdx nor sev-snp",
            reason=Reason.SHAPE_ENCODING_INVALID,
            path="/cpu/platform",
        )
    if not base64_bytes(text(cpu, "report", "/cpu"), "/cpu/report"):
        raise FormatError(
            0, "an empty report", reason=Reason.SHAPE_LENGTH_INVALID, path="/cpu/report"
        )
    path = "/report_data"
    quote = Item(role=role, steps=("select:/cpu/report", "base64"), pointer="")
    certificate = text(members, "certificate", "")
    signature = text(members, "signature", "")
    base64_bytes(signature, "/signature")
    devices = _devices(members, "gpu", ("nvidia.gpu-evidence", "nvidia.gpu-chain"))
    switches = _devices(members, "nvswitch", ("nvidia.switch-evidence", "nvidia.switch-chain"))
    gpu, nvswitch = _hashed(members, "gpu"), _hashed(members, "nvswitch")
    items = [
        quote,
        Item(
            role="provider.evidence",
            steps=("select:/certificate", "text"),
            pointer="",
            media_type=_PEM,
        ),
        *(item for item in (gpu, nvswitch) if item is not None),
    ]
    for pair in (*devices, *switches):
        items.extend(pair)
    report = TinfoilReport(
        pointer="",
        # an enclave without devices of its own computes nothing: it passes requests on
        role="enclave" if devices else "router",
        quote=quote,
        tls_fingerprint=hex_bytes(text(stated, "tls_key_fp", path), below(path, "tls_key_fp"), 32),
        devices=(*devices, *switches),
        hpke_key=hex_bytes(text(stated, "hpke_key", path), below(path, "hpke_key"), 32),
        nonce=hex_bytes(text(stated, "nonce", path), below(path, "nonce"), 32),
        gpu_hash=_hash(stated, "gpu_evidence_hash"),
        nvswitch_hash=_hash(stated, "nvswitch_evidence_hash"),
        gpu=gpu,
        nvswitch=nvswitch,
    )
    return RecognisedAnswer(
        artifact=artifact,
        shape="tinfoil-v3",
        family="tinfoil",
        reports=(report,),
        items=tuple(items),
        tls_certificate=certificate,
        document_signature=signature,
    )


def _v2(members: Mapping[str, Json], artifact: str) -> RecognisedAnswer:
    stated = text(members, "format", "")
    role = _V2.get(stated)
    if role is None:
        raise Refused(
            Reason.SHAPE_FAMILY_NOT_JUDGED,
            f"documents of the format {stated} are recognised and not judged",
            got="tinfoil-v2",
            expected=" or ".join(_V2),
            path="/format",
        )
    base64_bytes(text(members, "body", ""), "/body")
    quote = Item(role=role, steps=("select:/body", "base64", "gunzip"), pointer="")
    echo = members.get("nonce")
    return RecognisedAnswer(
        artifact=artifact,
        shape="tinfoil-v2",
        family="tinfoil",
        reports=(CompressedReport(pointer="", role="enclave", quote=quote),),
        items=(quote,),
        echo=echo if isinstance(echo, str) else None,
    )


def read(
    members: Mapping[str, Json],
    artifact: str,
    shape: Shape,
    companions: Sequence[Companion] = (),  # noqa: ARG001  (this family's answers stand alone)
) -> RecognisedAnswer:
    """Read a document of version 2 or 3. Raises `FormatError`, `Refused` with a closed code."""
    return _v3(members, artifact) if shape == "tinfoil-v3" else _v2(members, artifact)


# --- formulas over a verified quote ----------------------------------------------------------


def judge_nonce(report: ReportObject, report_data: bytes, nonce: bytes) -> NonceRuling:  # noqa: ARG001
    """Return the nonce inside the hash, if the hash holds.

    Refused: ``freshness.family_binds_no_nonce`` (absent), ``binding.report_data_mismatch``.
    """
    if not isinstance(report, TinfoilReport):
        gap = Refused(
            Reason.FRESHNESS_FAMILY_BINDS_NO_NONCE,
            "documents of version 2 have no place for a nonce",
            expected="a nonce in report_data",
            path=report.pointer,
        )
        return NonceRuling(bound=None, refused=(gap,))
    mismatch = _mismatch(report, report_data)
    if mismatch is not None:
        return NonceRuling(bound=None, refused=(mismatch,))
    return NonceRuling(bound=report.nonce)


def _mismatch(report: TinfoilReport, report_data: bytes) -> Refused | None:
    expected = sha256(report.preimage).digest()
    if report_data[:32] == expected:
        return None
    return Refused(
        Reason.BINDING_REPORT_DATA_MISMATCH,
        "report_data does not open with the hash of the stated values",
        got=report_data[:32].hex(),
        expected=expected.hex(),
        path="/report_data",
    )


def judge_binding(
    report: ReportObject,
    report_data: bytes,
    seen: Sequence[bytes],  # noqa: ARG001  (row 52 compares channels)
    nonces: Sequence[bytes],  # noqa: ARG001  (the nonce is stated in the document)
) -> Binding:
    """Return what the quote binds: the TLS key and the HPKE key."""
    if not isinstance(report, TinfoilReport):
        return Binding(
            form="tinfoil_v2",
            algorithm="hpke",
            address=report_data[32:64],
            public_key=None,
            tls_fingerprint=report_data[:32],
        )
    refused: list[Refused] = []
    mismatch = _mismatch(report, report_data)
    if mismatch is not None:
        refused.append(mismatch)
    if any(report_data[32:64]):
        refused.append(
            Refused(
                Reason.BINDING_REPORT_DATA_TAIL_NOT_ZERO,
                "the second half of report_data is not zero",
                got=report_data[32:64].hex(),
                expected=bytes(32).hex(),
                path="/report_data",
            )
        )
    return Binding(
        form="tinfoil_v3",
        algorithm="hpke",
        address=report.hpke_key,
        public_key=None,
        tls_fingerprint=report.tls_fingerprint,
        refused=tuple(refused),
    )


def unsigned_text(body: bytes) -> bytes:
    """Return the document with the value of ``signature`` emptied, without a trailing newline.

    Raises `FormatError` where the member does not stand there as a plain string.
    """
    start, stop = span(body, "/signature")
    return (body[: start + 1] + body[stop - 1 :]).removesuffix(b"\n")


def judge_document(body: bytes, certificate: str, stated: str) -> None:
    """Demand the signature of a version 3 document by the key of its own certificate.

    Raises `Refused` (``binding.document_signature_invalid``). Source: providers.md 7.
    """
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415  (few bundles need it)
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    try:
        leaf = load_certificate(split_pem(certificate.encode())[0])
        signature = base64_bytes(stated, "/signature")
        text_signed = unsigned_text(body)
    except FormatError as error:
        raise Refused(
            Reason.BINDING_DOCUMENT_SIGNATURE_INVALID,
            error.what,
            got=error.what,
            expected="a certificate, and a signature by its key",
            path="/signature",
        ) from error
    try:
        # a key on no known curve verifies nothing
        cast("ec.EllipticCurvePublicKey", leaf.key).verify(
            signature, text_signed, ec.ECDSA(hashes.SHA256())
        )
    except (InvalidSignature, ValueError, AttributeError) as error:
        raise Refused(
            Reason.BINDING_DOCUMENT_SIGNATURE_INVALID,
            "the key of the document's certificate did not sign it",
            got="a signature that does not hold",
            expected="a signature by the certificate's key",
            path="/signature",
        ) from error


def judge_gpu(
    report: TinfoilReport, gpu: bytes | None, nvswitch: bytes | None
) -> tuple[Refused, ...]:
    """Compare the exact texts of ``gpu`` and ``nvswitch`` with the hashes inside the quote.

    ``binding.gpu_hash_mismatch``; for the switches alone ``binding.nvswitch_hash_mismatch``
    (absent: a known fault of the service). Source: providers.md 7.
    """
    refused: list[Refused] = []
    for name, reason, found, stated in (
        ("gpu", Reason.BINDING_GPU_HASH_MISMATCH, gpu, report.gpu_hash),
        ("nvswitch", Reason.BINDING_NVSWITCH_HASH_MISMATCH, nvswitch, report.nvswitch_hash),
    ):
        hashed = None if found is None else sha256(found).digest()
        if hashed != stated:
            refused.append(
                Refused(
                    reason,
                    f"{name} does not hash to the value that the quote commits to",
                    got="absent" if hashed is None else hashed.hex(),
                    expected="no hash stated" if stated is None else stated.hex(),
                    path=f"/{name}",
                )
            )
    return tuple(refused)
