"""Every recorded service answer, and the devices and answers inside every HTTP capture."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from verify.engine.reason import Reason
from verify.nvidia import certificates, nras, payload, spdm

PIN = bytes.fromhex("fd32837f954e2c45db073105166dfe6985ae0480bb113fba63b091a75affe896")
ROOT = bytes.fromhex("102bf659d5419614c9d8e6aecebc80454eb26b1df6a769ac720b9a690b167b48")
EXCHANGES = (
    "nras-chutes-20260520",
    "nras-nanogpt-20260610",
    "nras-neardirect-20260610",
    "nras-tinfoil-direct-20260629",
)
ANSWERS = {"sdk-eat-gpu-v3": "wheel-h100-550", "sdk-eat-switch-v3": "sdk-ls10-hex"}
CAPTURES = (
    "chutes_zai-org_glm-5-tee_20260520_021819",
    "nanogpt_20260325_225022/deepseek-v3.2",
    "nanogpt_20260325_225022/gemma-3-27b-it",
    "nanogpt_20260325_225022/glm-5",
    "nanogpt_20260325_225022/gpt-oss-120b",
    "nanogpt_20260325_225022/llama3-3-70b",
    "nanogpt_20260325_225022/qwen3-30b-a3b-instruct-2507",
    "nanogpt_tee_gemma-3-27b-it_20260610_014905",
    "nearcloud_qwen_qwen3.5-122b-a10b_20260610_014855",
    "neardirect_qwen_qwen3.5-122b-a10b_20260610_015359",
    "tinfoil_v3_cloud_llama3-3-70b_20260629_021249",
    "tinfoil_v3_direct_gemma4-31b_20260629_020805",
    "venice_e2ee-qwen3-5-122b-a10b_20260610_014707",
)


def rules(received_at: datetime, *, versions: frozenset[str] = nras.VERSIONS) -> nras.TokenRules:
    return nras.TokenRules(
        pins={PIN},
        versions=versions,
        received_at=received_at,
        as_of=received_at,
        max_distance_s=600,
    )


def all_codes(
    answer: nras.Answer,
    keys: nras.KeySet | None,
    request: payload.Payload,
    at: datetime,
) -> set[str]:
    found = list(nras.token_refusals(answer, keys, len(request.entries), rules(at)))
    found += nras.result_refusals(answer)
    for token in answer.devices:
        entry = request.entries[token.position]
        found += nras.binding_refusals(
            answer,
            token,
            spdm.parse_report(entry.evidence),
            certificates.parse_chain(entry.chain),
        )
    return {refused.reason.code for refused in found}


def exchange(folder: Path) -> tuple[nras.Answer, nras.KeySet, payload.Payload]:
    return (
        nras.parse_answer((folder / "answer.json").read_bytes()),
        nras.parse_key_set((folder / "jwks.json").read_bytes()),
        payload.parse_payload((folder / "request.json").read_bytes()),
    )


@pytest.mark.parametrize("name", EXCHANGES)
def test_recorded_exchange_is_judged_as_measured(evidence_root: Path, name: str) -> None:
    folder = evidence_root / "nvidia" / name
    expected = json.loads((folder / "expected.json").read_bytes())
    answer, keys, request = exchange(folder)
    received = datetime.fromisoformat(expected["received_at"])
    codes = all_codes(answer, keys, request, received)
    assert sorted(codes) == sorted(expected["nras"]["fail_codes_as_of_capture"])
    assert len(keys.keys) == expected["nras"]["jwks_keys"]
    assert answer.version == expected["nras"]["claims_version"]
    assert answer.issued_at == expected["nras"]["iat"]
    assert [token.name for token in answer.devices] == [
        one["name"] for one in expected["nras"]["devices"]
    ]


@pytest.mark.parametrize("name", EXCHANGES)
def test_recorded_exchange_outside_the_life_of_its_keys_is_refused(
    evidence_root: Path, name: str
) -> None:
    folder = evidence_root / "nvidia" / name
    answer, keys, request = exchange(folder)
    late = datetime(2026, 11, 1, tzinfo=UTC)
    codes = {
        refused.reason
        for refused in nras.token_refusals(answer, keys, len(request.entries), rules(late))
    }
    assert codes == {
        Reason.NRAS_TOKEN_TIME_INCONSISTENT,
        Reason.NRAS_TOKEN_EXPIRED_AT_CAPTURE,
    }


@pytest.mark.parametrize("name", EXCHANGES)
def test_recorded_exchange_with_a_foreign_pin_or_no_key_is_refused(
    evidence_root: Path, name: str
) -> None:
    folder = evidence_root / "nvidia" / name
    answer, keys, _ = exchange(folder)
    key = nras.resolve(nras.find_key(answer.overall, keys))
    with pytest.raises(nras.Refused) as caught:
        nras.judge_pinned(key, {bytes(32)})
    assert caught.value.reason is Reason.NRAS_KEY_INTERMEDIATE_NOT_PINNED
    with pytest.raises(nras.Refused) as caught:
        nras.find_key(answer.overall, None)
    assert caught.value.reason is Reason.NRAS_KEY_MISSING


@pytest.mark.parametrize("name", list(ANSWERS))
def test_recorded_answer_without_keys_binds_to_its_device(evidence_root: Path, name: str) -> None:
    folder = evidence_root / "nvidia" / name
    expected = json.loads((folder / "expected.json").read_bytes())["nras"]
    answer = nras.parse_answer((folder / "answer.json").read_bytes())
    assert answer.version == expected["claims_version"] == "3.0"
    at = datetime.fromtimestamp(expected["iat"], tz=UTC)
    codes = {refused.reason.code for refused in nras.token_refusals(answer, None, 1, rules(at))}
    staging = "stg" in expected["issuer"]
    assert codes == {"nras.key.missing"} | ({"nras.token.issuer_mismatch"} if staging else set())
    assert nras.result_refusals(answer) == ()
    device = evidence_root / "nvidia" / ANSWERS[name]
    report = spdm.parse_report(bytes.fromhex((device / "report.hex").read_text().strip()))
    chain = certificates.parse_chain((device / "chain.pem").read_bytes())
    (token,) = answer.devices
    assert len(token.claims) == expected["devices"][0]["claims"]
    assert nras.binding_refusals(answer, token, report, chain) == ()


def gpu_entries(value: Any) -> list[dict[str, Any]]:
    """Find every evidence entry in an attestation body, JSON inside strings included."""
    found: list[dict[str, Any]] = []
    if isinstance(value, dict):
        if "evidence" in value and "certificate" in value and isinstance(value["evidence"], str):
            found.append(value)
        else:
            for inner in value.values():
                found += gpu_entries(inner)
    elif isinstance(value, list):
        for inner in value:
            found += gpu_entries(inner)
    elif isinstance(value, str) and value.lstrip().startswith("{") and "evidence_list" in value:
        found += gpu_entries(json.loads(value))
    return found


@pytest.mark.parametrize("name", CAPTURES)
def test_capture_devices_verify_in_the_measured_number(evidence_root: Path, name: str) -> None:
    folder = evidence_root / "captures" / name
    expected = json.loads((folder / "expected.json").read_bytes())
    exchanged = expected["attestation_exchange"]["file"]
    entries = {
        entry["evidence"]: entry
        for entry in gpu_entries(json.loads((folder / exchanged).read_bytes()))
    }
    as_of = datetime.fromtimestamp(expected["as_of_unix"], tz=UTC)
    for entry in entries.values():
        report = spdm.parse_report(base64.b64decode(entry["evidence"]))
        chain = certificates.parse_chain(base64.b64decode(entry["certificate"]))
        assert certificates.chain_refusals(chain, {ROOT}, as_of) == ()
        certificates.judge_report_signature(report, chain)
        certificates.judge_fwid(report, chain)
    assert len(entries) == expected["summary"]["spdm_signatures_verified"]


@pytest.mark.parametrize("name", [name for name in CAPTURES if "/" not in name])
def test_capture_answers_are_judged_as_measured(evidence_root: Path, name: str) -> None:
    folder = evidence_root / "captures" / name
    expected = json.loads((folder / "expected.json").read_bytes())
    results = []
    for want in expected.get("nras") or []:
        meta = json.loads((folder / want["file"]).with_suffix(".json").read_bytes())
        number = int(Path(want["file"]).name[:4])
        (keys,) = (folder / "responses").glob(f"{number + 1:04d}_*jwks*.body")
        answer = nras.parse_answer((folder / want["file"]).read_bytes())
        request = payload.parse_payload(base64.b64decode(meta["req_body_base64"]))
        at = datetime.fromtimestamp(want["iat"], tz=UTC)
        codes = all_codes(answer, nras.parse_key_set(keys.read_bytes()), request, at)
        results.append(want["overall_result"])
        if want["overall_result"]:
            assert codes == set()
        else:
            assert codes == {
                "nras.result.overall_false",
                "nras.device.error_reported",
                "nras.bind.nonce_mismatch",
            }
        assert len(answer.tokens) == want["tokens"]
    assert results == (expected["summary"]["nras_overall"] or [])
