"""Every recorded device: facts, chain, signature, firmware id, nonce and topology as measured."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from verify.engine.errors import FormatError, Refused
from verify.engine.reason import Reason
from verify.nvidia import certificates, devices, legacy, rim, spdm
from verify.nvidia.judging import refusals

AS_OF = datetime(2026, 6, 10, 12, 0, 0, tzinfo=UTC)
ROOT = bytes.fromhex("102bf659d5419614c9d8e6aecebc80454eb26b1df6a769ac720b9a690b167b48")
ITEMS = (
    "nras-chutes-20260520",
    "nras-nanogpt-20260610",
    "nras-neardirect-20260610",
    "nras-tinfoil-direct-20260629",
    "ppcie-node-8gpu-4switch",
    "sdk-gb100-575",
    "sdk-h100-535",
    "sdk-h100-570-124",
    "sdk-h100-570-cert-hold",
    "sdk-h100-580",
    "sdk-h100-590-multi4",
    "sdk-h100-590-single",
    "sdk-h100-590-single-b",
    "sdk-h100-bad-signature",
    "sdk-ls10-bad-signature",
    "sdk-ls10-hex",
    "sdk-ls10-multi4",
    "sdk-ls10-single",
    "wheel-h100-550",
)


@dataclass(frozen=True)
class Recorded:
    """One recorded device beside what was measured about it."""

    evidence: bytes
    chain: bytes
    expected: dict[str, Any]
    declared_nonce: str | None


def entries(path: Path) -> list[dict[str, Any]]:
    loaded = json.loads(path.read_bytes())
    if isinstance(loaded, dict):
        return loaded["evidence_list"]
    return loaded


def recorded(folder: Path) -> list[Recorded]:
    expected = json.loads((folder / "expected.json").read_bytes())
    wanted = [*expected["devices"], *expected.get("switches", [])]
    if (folder / "report.hex").exists():
        report = bytes.fromhex((folder / "report.hex").read_text().strip())
        return [Recorded(report, (folder / "chain.pem").read_bytes(), wanted[0], None)]
    found: list[dict[str, Any]] = []
    for name in ("gpu_evidence.json", "switch_evidence.json", "evidence.json", "request.json"):
        if (folder / name).exists():
            found.extend(entries(folder / name))
    assert len(found) == len(wanted)
    return [
        Recorded(
            base64.b64decode(entry["evidence"]),
            base64.b64decode(entry["certificate"]),
            facts,
            entry.get("nonce"),
        )
        for entry, facts in zip(found, wanted, strict=True)
    ]


def load(item: Recorded, label: str) -> devices.Device:
    chain = certificates.parse_chain(item.chain)
    return devices.Device(
        label=label,
        report=spdm.parse_report(item.evidence),
        chain=chain,
        family=certificates.family_of(chain),
    )


@pytest.mark.parametrize("name", ITEMS)
def test_recorded_device_parses_to_the_measured_facts(evidence_root: Path, name: str) -> None:
    for item in recorded(evidence_root / "nvidia" / name):
        want, device = item.expected, load(item, "x")
        report = device.report
        assert hashlib.sha256(report.data).hexdigest() == want["report_sha256"]
        assert len(report.blocks) == want["measurement_blocks"]
        assert hashlib.sha256(b"".join(report.blocks)).hexdigest() == want["measurements_sha256"]
        zero = [index for index, value in enumerate(report.blocks, 1) if not any(value)]
        assert zero == want["zero_blocks"]
        assert report.responder_nonce_offset == want["responder_nonce_offset"]
        assert report.responder_nonce.hex() == want["responder_nonce"]
        assert report.opaque_offset == want["opaque_offset"]
        assert report.signature_offset - report.opaque_offset == want["opaque_length"]
        assert report.signature_offset == want["signature_offset"]
        assert [entry.kind for entry in report.opaque] == want["opaque_types"]
        assert report.unknown_types == ()
        assert report.requester_nonce.hex() == want["requester_nonce"]
        assert report.driver == want.get("driver")
        assert report.vbios == want["vbios"]
        for kind, key in (
            (spdm.OpaqueType.PROJECT, "project"),
            (spdm.OpaqueType.PROJECT_SKU, "project_sku"),
            (spdm.OpaqueType.CHIP_SKU, "chip_sku"),
            (spdm.OpaqueType.CHIP_INFO, "chip_info"),
        ):
            assert report.text(kind) == want.get(key)
        if "nvdec0" in want:
            assert report.nvdec0_disabled is (want["nvdec0"] == "disabled")
        flag = want.get("feature_flag")
        if flag is not None:
            assert report.mode.value == flag
        elif want.get("protected_pcie"):
            assert report.mode is spdm.GpuMode.PPCIE
        else:
            assert report.mode is spdm.GpuMode.UNKNOWN
        if not device.is_switch:
            pdis = report.switch_pdis
            assert (None if pdis is None else sorted(pdis)) == want["switch_pdis"]


@pytest.mark.parametrize("name", ITEMS)
def test_recorded_device_leads_to_the_measured_ids(evidence_root: Path, name: str) -> None:
    for item in recorded(evidence_root / "nvidia" / name):
        want, device = item.expected, load(item, "x")
        assert device.family.name == want["family"]
        assert device.family.architecture.value == want["nras_arch"]
        assert device.chain.ueid == want["ueid"]
        assert device.chain.hardware_model == want["hwmodel_cn"]
        assert device.chain.pdi == want["pdi_from_certificate"]
        assert device.chain.leaf.sha256.hex() == want["leaf_sha256"]
        names = [one.common_names[0] for one in device.chain.certificates]
        assert names == want["chain"]["subjects_cn"]
        ids = rim.wanted_ids(device.report, device.family)
        if device.is_switch:
            (found,) = ids.values()
            assert found in {want.get("bios_rim_id"), want.get("vbios_rim_id")}
        else:
            assert ids[rim.RimKind.DRIVER] == want["driver_rim_id"]
            assert ids[rim.RimKind.VBIOS] == want["vbios_rim_id"]
        firmware = certificates.firmware_id(device.chain.leaf)
        assert firmware is not None
        assert firmware.digest.hex() == want["fwid"]["certificate"]
        assert firmware.oid == want["fwid"]["certificate_oid"]


@pytest.mark.parametrize("name", ITEMS)
def test_recorded_device_is_judged_as_measured(evidence_root: Path, name: str) -> None:
    for item in recorded(evidence_root / "nvidia" / name):
        want, device = item.expected, load(item, "x")
        report, chain = device.report, device.chain
        codes = [
            refused.reason.code
            for refused in (
                *certificates.chain_refusals(chain, {ROOT}, AS_OF),
                *refusals(
                    partial(devices.judge_opaque, device),
                    partial(certificates.judge_report_signature, report, chain),
                    partial(certificates.judge_fwid, report, chain),
                ),
            )
        ]
        if "expected_nonce" in want:
            expected = bytes.fromhex(want["expected_nonce"])
            codes += [
                refused.reason.code
                for refused in refusals(partial(devices.judge_nonce, report, expected))
            ]
        absent = [code for code in codes if Reason.of(code).kind.value == "absent"]
        assert sorted(set(codes) - set(absent)) == sorted(want["fail_codes"])
        assert set(absent) == {"gpu.fwid.not_reported"} & set(want["note_codes"])
        constant = report.requester_nonce in devices.CONSTANT_NONCES
        assert constant is ("gpu.nonce.constant" in want["note_codes"])
        if item.declared_nonce is not None:
            devices.judge_declared_nonce(report, item.declared_nonce)


@pytest.mark.parametrize("name", ITEMS)
def test_recorded_device_has_the_measured_legacy_slices(evidence_root: Path, name: str) -> None:
    for item in recorded(evidence_root / "nvidia" / name):
        want = item.expected["nanogpt_legacy"]
        if item.expected["family"] == "LS10":
            assert "bytes_96_127" not in want
            continue
        found = legacy.slices(item.evidence)
        assert found is not None
        assert found.a.hex() == want["bytes_96_127"]
        assert found.b.hex() == want["bytes_160_191"]
        assert (found.a == legacy.PIN_A) is (want["pin_mrenclave"] == "match")
        assert (found.b == legacy.PIN_B) is (want["pin_mrsigner"] == "match")


@pytest.mark.parametrize("name", ITEMS)
def test_recorded_set_is_judged_as_measured(evidence_root: Path, name: str) -> None:
    folder = evidence_root / "nvidia" / name
    expected = json.loads((folder / "expected.json").read_bytes())
    found = [load(item, str(index)) for index, item in enumerate(recorded(folder))]
    reject = [
        refused.reason.code
        for refused in refusals(
            partial(devices.judge_distinct, found),
            partial(devices.judge_one_nonce, found),
            partial(devices.judge_one_mode, found),
        )
    ]
    absent = []
    genuine = all(item.expected["signature_ok"] for item in recorded(folder))
    if genuine and "gpu.devices.duplicate" not in reject:
        for _, refused in devices.topology_refusals(found):
            (absent if refused.reason.kind.value == "absent" else reject).append(
                refused.reason.code
            )
    assert reject == expected.get("set_fail_codes", [])
    notes = expected.get("set_note_codes")
    if notes and "gpu.devices.duplicate" not in reject:
        assert set(absent) == set(notes)
    else:
        assert set(absent) <= {
            "gpu.topology.not_reported",
            "gpu.topology.gpus_not_attested",
            "gpu.topology.switches_not_attested",
        }


def test_recorded_node_names_itself_in_both_directions(evidence_root: Path) -> None:
    folder = evidence_root / "nvidia" / "ppcie-node-8gpu-4switch"
    found = [load(item, str(index)) for index, item in enumerate(recorded(folder))]
    assert devices.topology_refusals(found) == ()
    topology = json.loads((folder / "expected.json").read_bytes())["topology"]
    assert sorted(d.chain.pdi or "" for d in found if d.is_switch) == topology["switch_pdis"]
    assert (
        sorted(d.chain.pdi or "" for d in found if not d.is_switch)
        == (topology["gpu_pdis_from_certificates"])
    )
    without = [device for device in found if device.label != "3"]
    codes = {refused.reason for _, refused in devices.topology_refusals(without)}
    assert codes == {Reason.GPU_TOPOLOGY_GPU_SET_MISMATCH}


def test_recorded_chutes_devices_sign_the_derived_nonce(evidence_root: Path) -> None:
    folder = evidence_root / "nvidia" / "nras-chutes-20260520"
    derived = json.loads((folder / "expected.json").read_bytes())["derived_nonce"]
    value = hashlib.sha256(
        derived["nonce_hex"].encode() + derived["e2e_pubkey_base64"].encode()
    ).digest()
    assert value.hex() == derived["value"]
    for item in recorded(folder):
        devices.judge_nonce(spdm.parse_report(item.evidence), value)


def test_recorded_report_with_a_stray_byte_is_refused(evidence_root: Path) -> None:
    item = recorded(evidence_root / "nvidia" / "sdk-h100-580")[0]
    with pytest.raises(FormatError) as caught:
        spdm.parse_report(item.evidence + b"\0")
    assert caught.value.reason is Reason.GPU_REPORT_TRAILING_BYTES
    certificates.judge_report_signature(
        spdm.read_report(item.evidence + b"\0"), certificates.parse_chain(item.chain)
    )


def test_recorded_report_with_any_flipped_bit_fails(evidence_root: Path) -> None:
    item = recorded(evidence_root / "nvidia" / "sdk-h100-580")[0]
    chain = certificates.parse_chain(item.chain)
    positions = [*range(160), *range(160, len(item.evidence), 37)]
    for at in positions:
        changed = bytearray(item.evidence)
        changed[at] ^= 1 << (at % 8)
        with pytest.raises((FormatError, Refused)):
            certificates.judge_report_signature(spdm.parse_report(bytes(changed)), chain)
