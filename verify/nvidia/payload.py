"""Containers in which providers and the attestation service carry device evidence.

Two forms are read: an object with a list of entries, and the bare list; either may stand as JSON
text inside one JSON string. What a container says about itself (nonce, architecture, versions) is
the sender's word: it is compared with the signed content and used for nothing else.

Source: nvidia.md 2.0, 10.2, 17.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from verify.engine.errors import FormatError, Refused
from verify.engine.reason import Reason
from verify.engine.value import value
from verify.nvidia.certificates import MAX_CHAIN_TEXT, Family
from verify.nvidia.encoding import base64_bytes, json_list, json_object, json_text, json_value
from verify.nvidia.spdm import MAX_EVIDENCE, Report
from verify.wire.strict_json import Json

MAX_DEVICES: Final = 128
MAX_PAYLOAD: Final = 8 * 1024 * 1024
_LISTS: Final = ("evidence_list", "evidences")


@value
class Entry:
    """One device as a container carries it: decoded bytes, and what the sender says of it.

    ``path``: JSON Pointer of the entry. None where the container says nothing.
    """

    evidence: bytes
    chain: bytes
    path: str
    nonce: str | None = None
    arch: str | None = None
    driver: str | None = None
    vbios: str | None = None


@value
class Payload:
    """A container: its entries in order. Declarations of the whole are copied to each entry."""

    entries: tuple[Entry, ...]
    nonce: str | None
    arch: str | None
    claims_version: str | None


def _stated(members: Mapping[str, Json], name: str, path: str) -> str | None:
    value = members.get(name)
    if value is None:
        return None
    return json_text(value, Reason.GPU_INPUT_MALFORMED, f"{path}/{name}")


def _entry(value: Json, path: str, nonce: str | None, arch: str | None) -> Entry:
    members = json_object(value, Reason.GPU_INPUT_MALFORMED, path)
    found: dict[str, bytes] = {}
    for name, most in (("evidence", MAX_EVIDENCE), ("certificate", MAX_CHAIN_TEXT)):
        place = f"{path}/{name}"
        text = json_text(members.get(name), Reason.GPU_INPUT_MALFORMED, place)
        if len(text) > most * 4 // 3 + 4:
            raise FormatError(
                0, f"more than {most} bytes", reason=Reason.GPU_INPUT_TOO_LARGE, path=place
            )
        found[name] = base64_bytes(text, Reason.GPU_INPUT_ENCODING_INVALID, place)
    return Entry(
        evidence=found["evidence"],
        chain=found["certificate"],
        path=path,
        nonce=_stated(members, "nonce", path) or nonce,
        arch=_stated(members, "arch", path) or arch,
        driver=_stated(members, "driver_version", path),
        vbios=_stated(members, "vbios_version", path),
    )


def parse_payload(data: bytes) -> Payload:
    """Parse a container of device evidence.

    Raises FormatError: ``gpu.input.too_large``, ``gpu.input.malformed``,
    ``gpu.input.encoding_invalid``, ``gpu.input.device_count``. Source: nvidia.md 2.0.
    """
    if len(data) > MAX_PAYLOAD:
        raise FormatError(
            MAX_PAYLOAD, f"{len(data)} bytes of payload", reason=Reason.GPU_INPUT_TOO_LARGE
        )
    value = json_value(data, Reason.GPU_INPUT_MALFORMED)
    if isinstance(value, str):
        value = json_value(value.encode("utf-8", "surrogatepass"), Reason.GPU_INPUT_MALFORMED)
    nonce = arch = version = None
    path = ""
    if isinstance(value, Mapping):
        nonce = _stated(value, "nonce", "")
        arch = _stated(value, "arch", "")
        version = _stated(value, "claims_version", "")
        names = [name for name in _LISTS if name in value]
        if len(names) != 1:
            raise FormatError(0, "no list of evidence", reason=Reason.GPU_INPUT_MALFORMED, path="")
        path = f"/{names[0]}"
        value = value[names[0]]
    listed = json_list(value, Reason.GPU_INPUT_MALFORMED, path)
    if not listed:
        raise FormatError(
            0, "an empty list of devices", reason=Reason.GPU_INPUT_DEVICE_COUNT, path=path
        )
    if len(listed) > MAX_DEVICES:
        raise FormatError(0, f"{len(listed)} devices", reason=Reason.GPU_INPUT_TOO_LARGE, path=path)
    return Payload(
        entries=tuple(
            _entry(one, f"{path}/{index}", nonce, arch) for index, one in enumerate(listed)
        ),
        nonce=nonce,
        arch=arch,
        claims_version=version,
    )


def judge_declared(entry: Entry, report: Report, family: Family) -> None:
    """What the container says of a device is what its leaf and report say.

    Raises Refused (``gpu.input.declared_mismatch``). Source: nvidia.md 1, 2.0.
    """
    for name, declared, signed in (
        ("arch", entry.arch, family.architecture.value),
        ("driver_version", entry.driver, report.driver),
        ("vbios_version", entry.vbios, report.vbios),
    ):
        if declared is not None and declared.lower() != (signed or "").lower():
            raise Refused(
                Reason.GPU_INPUT_DECLARED_MISMATCH,
                f"the container declares another {name} than the device",
                got=declared,
                expected=signed or "",
                path=f"{entry.path}/{name}",
            )
