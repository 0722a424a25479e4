"""Family ionet: a quote that binds the nonce and nothing else.

Whatever the service's guide says, neither the signing key nor the image is in the quote: both are
gaps, never passes.

Source: providers.md 5.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from verify.crypto.secp256k1 import parse_address
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
    mapping,
    quote_bytes,
    text,
)
from verify.wire.strict_json import Json

MAX_DEVICES: Final = 32
_SNP_SIZE: Final = 1184
_PEM: Final = "application/x-pem-file"


@value
class IonetReport(ReportObject):
    """The answer. ``address``: 20 bytes of a key that nothing binds."""

    address: bytes
    image_digest: str | None


def _devices(gpu: Mapping[str, Json]) -> tuple[tuple[Item, Item], ...]:
    if "evidence_list" not in gpu:
        return ()
    place = "/gpu/evidence_list"
    listed = array(gpu.get("evidence_list"), place)
    if len(listed) > MAX_DEVICES:
        raise FormatError(
            0, f"more than {MAX_DEVICES} devices", reason=Reason.EXCHANGE_OVER_LIMIT, path=place
        )
    devices: list[tuple[Item, Item]] = []
    for number, entry in enumerate(listed):
        at = below(place, number)
        device = mapping(entry, at)
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
                    pointer="",
                    media_type=media_type,
                )
            )
        devices.append((items[0], items[1]))
    return tuple(devices)


def read(
    members: Mapping[str, Json],
    artifact: str,
    shape: Shape,
    companions: Sequence[Companion] = (),  # noqa: ARG001  (this family's answers stand alone)
) -> RecognisedAnswer:
    """Read an answer. Raises `FormatError` with a closed code.

    An error text in ``cpu.quote`` is ``shape.error_text_in_evidence``.
    """
    cpu, gpu = mapping(members.get("cpu"), "/cpu"), mapping(members.get("gpu"), "/gpu")
    step, raw = quote_bytes(text(cpu, "quote", "/cpu"), "/cpu/quote")
    role = "snp.report" if len(raw) == _SNP_SIZE else "tdx.quote"
    address_text = text(members, "signing_address", "")
    try:
        address = parse_address(address_text).value
    except FormatError as error:
        raise FormatError(
            0, error.what, reason=Reason.SHAPE_ENCODING_INVALID, path="/signing_address"
        ) from error
    quote = Item(role=role, steps=("select:/cpu/quote", step), pointer="")
    payload = Item(
        role="nvidia.payload", steps=("span:/gpu",), pointer="", media_type="application/json"
    )
    key = Item(
        role="provider.signing-key",
        steps=("select:/signing_address", "text"),
        pointer="",
        media_type="text/plain",
    )
    devices = _devices(gpu)
    image = members.get("image_digest")
    report = IonetReport(
        pointer="",
        role="model",
        quote=quote,
        devices=devices,
        payload=payload,
        keys=(key,),
        address=address,
        image_digest=image if isinstance(image, str) else None,
    )
    echo = members.get("nonce")
    return RecognisedAnswer(
        artifact=artifact,
        shape=shape,
        family="ionet",
        reports=(report,),
        items=(quote, payload, key, *(item for pair in devices for item in pair)),
        echo=echo if isinstance(echo, str) else None,
    )


# --- formulas over a verified quote ----------------------------------------------------------


def judge_nonce(report: ReportObject, report_data: bytes, nonce: bytes) -> NonceRuling:  # noqa: ARG001
    """Return the bound nonce; the second half must be zero (providers.md 5.2)."""
    refused: tuple[Refused, ...] = ()
    if any(report_data[32:64]):
        refused = (
            Refused(
                Reason.BINDING_REPORT_DATA_TAIL_NOT_ZERO,
                "the second half of report_data is not zero",
                got=report_data[32:64].hex(),
                expected=bytes(32).hex(),
                path=report.pointer,
            ),
        )
    return NonceRuling(bound=report_data[:32], refused=refused)


def judge_binding(
    report: ReportObject,
    report_data: bytes,  # noqa: ARG001  (it holds the nonce alone)
    seen: Sequence[bytes],  # noqa: ARG001  (no TLS key is bound)
    nonces: Sequence[bytes],  # noqa: ARG001  (row 48 compares it)
) -> Binding:
    """Say that the signing key stands in no quote: ``binding.key_not_attested`` (absent)."""
    if not isinstance(report, IonetReport):
        raise TypeError("a report object of another family")
    address = report.address
    gap = Refused(
        Reason.BINDING_KEY_NOT_ATTESTED,
        "nothing ties the signing key to the quote",
        got=address.hex(),
        expected="the key in report_data",
        path="/signing_address",
    )
    return Binding(
        form="nonce_then_zeros",
        algorithm="ecdsa",
        address=address,
        public_key=None,
        tls_fingerprint=None,
        refused=(gap,),
    )
