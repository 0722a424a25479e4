"""Every recorded manifest: canonical form, content, authenticity at three times, comparisons."""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from verify.nvidia import certificates, rim, spdm

ROOT = bytes.fromhex("12977b5115acb0381179279fffeb5a8c4d264971ebb32298023a465fa41df5d1")
ITEMS = (
    "rim-driver-gh100-550.144.03",
    "rim-neg-debug-chain",
    "rim-neg-driver-535-edited",
    "rim-neg-driver-570-expired",
    "rim-neg-signature-value",
    "rim-neg-switch-edited",
    "rim-neg-switch-wrong-product",
    "rim-switch-ls10-96.10.55.00.01",
    "rim-vbios-96005E0001-reissue",
    "wheel-rim-96005E0001",
    "wheel-rim-96005E0004",
    "wheel-rim-9600740020",
)


def read(evidence_root: Path, name: str) -> tuple[rim.Rim, dict[str, Any]]:
    folder = evidence_root / "nvidia" / name
    return (
        rim.parse_rim((folder / "rim.xml").read_bytes()),
        json.loads((folder / "expected.json").read_bytes()),
    )


def device(evidence_root: Path, name: str) -> tuple[spdm.Report, certificates.Family]:
    folder = evidence_root / "nvidia" / name
    if (folder / "report.hex").exists():
        evidence = bytes.fromhex((folder / "report.hex").read_text().strip())
        chain = (folder / "chain.pem").read_bytes()
    else:
        entry = json.loads((folder / "evidence.json").read_bytes())[0]
        evidence = base64.b64decode(entry["evidence"])
        chain = base64.b64decode(entry["certificate"])
    return spdm.parse_report(evidence), certificates.family_of(certificates.parse_chain(chain))


@pytest.mark.parametrize("name", ITEMS)
def test_recorded_rim_has_the_measured_canonical_form(evidence_root: Path, name: str) -> None:
    found, expected = read(evidence_root, name)
    want, document = expected["rim"], found.document
    assert hashlib.sha384(document.body).hexdigest() == want["canonical_body_sha384"]
    assert len(document.body) == want["canonical_body_bytes"]
    assert hashlib.sha384(document.signed_info).hexdigest() == want["canonical_signedinfo_sha384"]


@pytest.mark.parametrize("name", ITEMS)
def test_recorded_rim_parses_to_the_measured_facts(evidence_root: Path, name: str) -> None:
    found, expected = read(evidence_root, name)
    want, manifest = expected["rim"], found.manifest
    assert found.recorded_id is None
    assert manifest.product == want["product"]
    assert manifest.edition == want["edition"]
    assert manifest.software_name == want["software_name"]
    assert manifest.version == want["version"]
    assert manifest.tag_id == want["tag_id"]
    assert len(manifest.resources) == want["resources"]
    assert [entry.index for entry in manifest.active] == want["active"]
    several = {
        str(entry.index): len(entry.alternatives)
        for entry in manifest.active
        if len(entry.alternatives) > 1
    }
    assert several == want["alternatives"]
    assert len(found.certificates) == want["certificates"]
    assert [one.sha256.hex() for one in found.certificates if one] == want["chain_sha256"]
    assert found.signer_serial == want["signer_serial_hex"]


@pytest.mark.parametrize("name", ITEMS)
def test_recorded_rim_is_judged_as_measured_at_three_times(evidence_root: Path, name: str) -> None:
    found, expected = read(evidence_root, name)
    for evaluation in expected["rim"]["evaluations"]:
        as_of = datetime.fromisoformat(evaluation["as_of"])
        codes = {refused.reason.code for refused in rim.authenticity_refusals(found, {ROOT}, as_of)}
        wanted = set(evaluation["fail_codes"])
        assert wanted <= codes <= wanted | set(evaluation["optional_codes"])


@pytest.mark.parametrize("name", ITEMS)
def test_recorded_rim_compares_as_measured(evidence_root: Path, name: str) -> None:
    found, expected = read(evidence_root, name)
    for want in expected["comparisons"]:
        report, family = device(evidence_root, want["evidence_item"])
        kind = rim.RimKind(want["rim_kind"])
        result = rim.compare(found.manifest, report, kind)
        assert result.active == want["active"]
        assert list(result.skipped) == want["skipped_nvdec"]
        assert result.compared == want["compared"]
        assert len(result.matched) == want["matched"]
        assert list(result.mismatched) == want["mismatched_indices"]
        assert list(result.missing) == want["missing_blocks"]
        assert want["product_equal"] is not bool(
            rim.refusals(lambda: rim.judge_product(found.manifest, report, family))  # noqa: B023
        )
        assert want["version_equal"] is not bool(
            rim.refusals(lambda: rim.judge_version(found.manifest, report, kind))  # noqa: B023
        )
