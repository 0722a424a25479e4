"""Family chutes: instances of a model, each with a quote, GPUs and an end-to-end encryption key.

No response key exists. What a quote binds is the key that encrypts for the instance, and the
certificate of its attestation service.

Source: providers.md 1.2, 3.4, 6.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Final

from verify.engine.errors import FormatError, Refused
from verify.engine.reason import Reason
from verify.engine.value import value
from verify.families.certificates import certificate_spki
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
    mapping,
    optional_text,
    required,
    text,
)
from verify.wire.strict_json import Json

MAX_INSTANCES: Final = 64
MAX_DEVICES: Final = 32
KEY_SIZE: Final = 1184
"""Bytes of an ML-KEM-768 encapsulation key."""

_PEM: Final = "application/x-pem-file"


@value
class ChutesReport(ReportObject):
    """One instance. ``key_text``: base64 as offered, None where the instance list has none.

    ``certificate``: DER of the item, None in aggregated answers. ``nonce_text``: the nonce that an
    aggregator used, None where the client's own was passed on.
    """

    instance_id: str
    key_text: str | None
    certificate: bytes | None
    nonce_text: str | None


def _key_text(stated: str, path: str) -> str:
    if len(base64_bytes(stated, path)) != KEY_SIZE:
        raise FormatError(
            0, f"not a key of {KEY_SIZE} bytes", reason=Reason.SHAPE_LENGTH_INVALID, path=path
        )
    return stated


def _devices(entry: Mapping[str, Json], path: str) -> tuple[tuple[Item, Item], ...]:
    place = below(path, "gpu_evidence")
    listed = array(required(entry, "gpu_evidence", path), place)
    if len(listed) > MAX_DEVICES:
        raise FormatError(
            0, f"more than {MAX_DEVICES} devices", reason=Reason.EXCHANGE_OVER_LIMIT, path=place
        )
    devices: list[tuple[Item, Item]] = []
    for number, found in enumerate(listed):
        at = below(place, number)
        device = mapping(found, at)
        items: list[Item] = []
        for name, role, media_type in (
            ("evidence", "nvidia.gpu-evidence", "application/octet-stream"),
            ("certificate", "nvidia.gpu-chain", _PEM),
        ):
            if not base64_bytes(text(device, name, at), below(at, name)):
                raise FormatError(
                    0, f"{name} is empty", reason=Reason.SHAPE_LENGTH_INVALID, path=below(at, name)
                )
            items.append(
                Item(
                    role=role,
                    steps=(f"select:{below(at, name)}", "base64"),
                    pointer=path,
                    media_type=media_type,
                )
            )
        devices.append((items[0], items[1]))
    return tuple(devices)


def _quote(entry: Mapping[str, Json], name: str, path: str) -> Item:
    at = below(path, name)
    if not base64_bytes(text(entry, name, path), at):
        raise FormatError(0, "an empty quote", reason=Reason.SHAPE_LENGTH_INVALID, path=at)
    return Item(role="tdx.quote", steps=(f"select:{at}", "base64"), pointer=path)


def _offered(companions: Sequence[Companion]) -> dict[str, tuple[str, Item]]:
    """Return instance id -> (key text, item) of every key in the recorded instance lists."""
    found: dict[str, tuple[str, Item]] = {}
    for artifact, members in companions:
        listed = members.get("instances")
        if isinstance(listed, str) or not isinstance(listed, Sequence):
            continue
        for number, instance in enumerate(listed[:MAX_INSTANCES]):
            at = f"/instances/{number}"
            entry = mapping(instance, at)
            key = optional_text(entry, "e2e_pubkey", at)
            if key is None:
                continue
            place = below(at, "e2e_pubkey")
            item = Item(
                role="provider.signing-key",
                steps=(f"select:{place}", "text"),
                pointer=at,
                media_type="text/plain",
                source=artifact,
            )
            found.setdefault(text(entry, "instance_id", at), (_key_text(key, place), item))
    return found


def _native(
    entry: Mapping[str, Json], path: str, offered: dict[str, tuple[str, Item]]
) -> ChutesReport:
    instance = text(entry, "instance_id", path)
    stated = optional_text(entry, "certificate", path)
    certificate = None if stated is None else base64_bytes(stated, below(path, "certificate"))
    key = offered.get(instance)
    return ChutesReport(
        pointer=path,
        role="instance",
        quote=_quote(entry, "quote", path),
        devices=_devices(entry, path),
        keys=() if key is None else (key[1],),
        instance_id=instance,
        key_text=None if key is None else key[0],
        certificate=certificate,
        nonce_text=None,
    )


def _aggregated(entry: Mapping[str, Json], path: str) -> ChutesReport:
    place = below(path, "e2e_pubkey")
    key = _key_text(text(entry, "e2e_pubkey", path), place)
    item = Item(
        role="provider.signing-key",
        steps=(f"select:{place}", "text"),
        pointer=path,
        media_type="text/plain",
    )
    return ChutesReport(
        pointer=path,
        role="instance",
        quote=_quote(entry, "intel_quote", path),
        devices=_devices(entry, path),
        keys=(item,),
        instance_id=text(entry, "instance_id", path),
        key_text=key,
        certificate=None,
        nonce_text=text(entry, "nonce", path),
    )


def read(
    members: Mapping[str, Json],
    artifact: str,
    shape: Shape,
    companions: Sequence[Companion] = (),
) -> RecognisedAnswer:
    """Read an answer of one of the two shapes. Raises `FormatError` with a closed code."""
    name = "evidence" if shape == "chutes-native" else "all_attestations"
    place = f"/{name}"
    listed = array(required(members, name, ""), place)
    if not listed:
        raise FormatError(
            0, "an empty list of instances", reason=Reason.SHAPE_LIST_EMPTY, path=place
        )
    if len(listed) > MAX_INSTANCES:
        raise FormatError(
            0, f"more than {MAX_INSTANCES} instances", reason=Reason.EXCHANGE_OVER_LIMIT, path=place
        )
    offered = _offered(companions) if shape == "chutes-native" else {}
    reports: list[ChutesReport] = []
    items: list[Item] = []
    for number, entry in enumerate(listed):
        path = below(place, number)
        found = mapping(entry, path)
        report = (
            _native(found, path, offered) if shape == "chutes-native" else _aggregated(found, path)
        )
        reports.append(report)
        items.append(report.quote)
        if report.certificate is not None:
            items.append(
                Item(
                    role="provider.evidence",
                    steps=(f"select:{below(path, 'certificate')}", "base64"),
                    pointer=path,
                    media_type="application/pkix-cert",
                )
            )
        for pair in report.devices:
            items.extend(pair)
        if shape == "chutes-aggregated":
            items.extend(report.keys)
    items.extend(item for _, item in offered.values())
    echo = members.get("nonce")
    return RecognisedAnswer(
        artifact=artifact,
        shape=shape,
        family="chutes",
        reports=tuple(reports),
        items=tuple(items),
        echo=echo if isinstance(echo, str) else None,
    )


# --- formulas over a verified quote ----------------------------------------------------------


def _own(report: ReportObject) -> ChutesReport:
    if not isinstance(report, ChutesReport):
        raise TypeError("a report object of another family")
    return report


def bound_hash(nonce_text: str, key_text: str) -> bytes:
    """Return SHA-256 over the ASCII texts of nonce and key, not over their bytes."""
    return sha256(nonce_text.encode() + key_text.encode()).digest()


def _unknown_key(report: ChutesReport) -> Refused:
    return Refused(
        Reason.BINDING_E2E_KEY_UNKNOWN,
        "no instance list of the bundle offers this instance's key",
        got=report.instance_id,
        expected="e2e_pubkey",
        path=report.pointer,
    )


def _formula(report: ChutesReport, report_data: bytes, nonces: Sequence[str]) -> str | None:
    """Return the first nonce text for which the formula holds, or None."""
    for nonce in nonces:
        if report_data[:32] == bound_hash(nonce, report.key_text or ""):
            return nonce
    return None


def _mismatch(report: ChutesReport, report_data: bytes, nonce: str) -> Refused:
    return Refused(
        Reason.BINDING_REPORT_DATA_MISMATCH,
        "report_data opens with no hash of this key and a nonce of this session",
        got=report_data[:32].hex(),
        expected=bound_hash(nonce, report.key_text or "").hex(),
        path=report.pointer,
    )


def judge_nonce(report: ReportObject, report_data: bytes, nonce: bytes) -> NonceRuling:
    """Return the nonce inside the hash: the session's, else the one an aggregator states.

    Refused: ``binding.e2e_key_unknown`` (absent), ``binding.report_data_mismatch``.
    """
    own = _own(report)
    if own.key_text is None:
        return NonceRuling(bound=None, refused=(_unknown_key(own),))
    candidates = [nonce.hex()] + ([] if own.nonce_text is None else [own.nonce_text])
    found = _formula(own, report_data, candidates)
    if found is None:
        return NonceRuling(bound=None, refused=(_mismatch(own, report_data, nonce.hex()),))
    try:
        return NonceRuling(bound=bytes.fromhex(found))
    except ValueError:
        # the aggregator's nonce is no hex: it is bound, and it is not ours
        return NonceRuling(bound=found.encode())


def _judge_certificate(report: ChutesReport, report_data: bytes) -> Refused | None:
    path = below(report.pointer, "certificate")
    if report.certificate is None:
        return Refused(
            Reason.BINDING_INSTANCE_CERTIFICATE_MISSING,
            "the item has no certificate to compare with report_data",
            expected="certificate",
            path=report.pointer,
        )
    try:
        found = certificate_spki(report.certificate)
    except FormatError as error:
        return Refused(Reason.SHAPE_ENCODING_INVALID, error.what, path=path)
    if found != report_data[32:64]:
        return Refused(
            Reason.BINDING_INSTANCE_CERTIFICATE_NOT_BOUND,
            "report_data does not end with the hash of the certificate's key",
            got=found.hex(),
            expected=report_data[32:64].hex(),
            path=path,
        )
    return None


def judge_binding(
    report: ReportObject,
    report_data: bytes,
    seen: Sequence[bytes],  # noqa: ARG001  (no client channel ends at an instance)
    nonces: Sequence[bytes],
) -> Binding:
    """Return what the quote binds: the encryption key and the instance's certificate."""
    own = _own(report)
    refused: list[Refused] = []
    if own.key_text is None:
        refused.append(_unknown_key(own))
    else:
        texts = [nonce.hex() for nonce in nonces]
        texts += [] if own.nonce_text is None else [own.nonce_text]
        if _formula(own, report_data, texts) is None:
            refused.append(_mismatch(own, report_data, texts[0] if texts else ""))
    certificate = _judge_certificate(own, report_data)
    if certificate is not None:
        refused.append(certificate)
    return Binding(
        form="sha256_asciinonce_asciie2epub",
        algorithm="ml-kem-768",
        address=sha256((own.key_text or "").encode()).digest(),
        public_key=None,
        tls_fingerprint=None,
        refused=tuple(refused),
    )
