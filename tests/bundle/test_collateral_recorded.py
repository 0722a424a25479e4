"""Recorded captures of live services: the calls cover what was recorded, and what was forgotten."""

from __future__ import annotations

import re
from itertools import pairwise
from urllib.parse import parse_qsl, urlsplit

import pytest

from bundle.collateral import Want
from bundle.importers.http_folder import read_recording
from tests.bundle.collateral_case import ask, of, recorded, urls
from verify.nvidia.payload import parse_payload

VENDORS = ("intel.com", "kdsintf.amd.com", "nras.attestation.nvidia.com")
FOLDERS = (
    "chutes_zai-org_glm-5-tee_20260520_021819",
    "nanogpt_tee_gemma-3-27b-it_20260610_014905",
    "nearcloud_qwen_qwen3.5-122b-a10b_20260610_014855",
    "neardirect_qwen_qwen3.5-122b-a10b_20260610_015359",
    "tinfoil_v3_cloud_llama3-3-70b_20260629_021249",
    "tinfoil_v3_direct_gemma4-31b_20260629_020805",
    "venice_e2ee-qwen3-5-122b-a10b_20260610_014707",
)
SAVED = tuple(
    f"nanogpt_20260325_225022/{model}"
    for model in (
        "deepseek-v3.2",
        "gemma-3-27b-it",
        "glm-5",
        "gpt-oss-120b",
        "llama3-3-70b",
        "qwen3-30b-a3b-instruct-2507",
    )
)


def expected_platforms(evidence_root, folder):
    """Return every FMSPC that the recorded expectations name."""
    text = (evidence_root / "captures" / folder / "expected.json").read_text()
    return {found.lower() for found in re.findall(r'"fmspc": *"([0-9A-Fa-f]{12})"', text)}


def platforms(calls):
    """Return every FMSPC that was asked for."""
    return {
        dict(parse_qsl(urlsplit(url).query))["fmspc"] for _, url in urls(calls) if "/tcb?" in url
    }


class Replay:
    """Answers with what was recorded under the same URL, else 404."""

    def __init__(self, exchanges):
        self.answers = {named.recorded.url: named.recorded for named in exchanges}

    def __call__(self, call):
        found = self.answers.get(call.url)
        if found is None:
            return recorded(call, 404)
        return recorded(call, found.status, found.response_body or b"", found.response_headers)


def captured(evidence_root, folder):
    recording = read_recording(evidence_root / "captures" / folder)
    found = [named.recorded for named in recording.exchanges]
    return recording.exchanges, [one for one in found if one.purpose == "attestation"]


def by_vendor(exchanges):
    """Return (method, URL) of what the recorder asked the vendors, each once, in order."""
    found = {}
    for named in exchanges:
        one = named.recorded
        if (urlsplit(one.url).hostname or "").endswith(VENDORS):
            found.setdefault((one.method, one.url))
    return list(found)


@pytest.mark.parametrize("folder", FOLDERS)
def test_recorded_capture_is_covered(evidence_root, folder):
    exchanges, attestations = captured(evidence_root, folder)
    calls = ask(attestations, Replay(exchanges), want=Want(nras=True))
    wanted = by_vendor(exchanges)
    assert len(wanted) > 1
    assert set(wanted) <= set(urls(calls)), "everything that was recorded is asked for"
    assert platforms(calls) == expected_platforms(evidence_root, folder)
    assert bool(platforms(calls)) is not ("tinfoil_v3_cloud" in folder)
    assert len({call.step for call in calls}) == len(calls)


@pytest.mark.parametrize("folder", FOLDERS)
def test_recorded_devices_are_submitted_with_the_nonce_they_carry(evidence_root, folder):
    exchanges, attestations = captured(evidence_root, folder)
    calls = of(ask(attestations, Replay(exchanges), want=Want(nras=True)), "nras")
    if not any(one.recorded.purpose == "nras" for one in exchanges):
        assert calls == []
        return
    for call in calls:
        asked = parse_payload(call.body)
        assert {entry.evidence[4:36].hex() for entry in asked.entries} == {asked.nonce}
        assert all(call.url.endswith("/v3/attest/gpu") for call in calls)
    sent = [
        parse_payload(one.recorded.request_body)
        for one in exchanges
        if one.recorded.purpose == "nras"
    ]
    entries = {entry.evidence for call in calls for entry in parse_payload(call.body).entries}
    assert {entry.evidence for one in sent for entry in one.entries} <= entries


def test_recorded_snp_capture_asks_for_the_very_certificate(evidence_root):
    folder = "tinfoil_v3_cloud_llama3-3-70b_20260629_021249"
    exchanges, attestations = captured(evidence_root, folder)
    calls = ask(attestations, Replay(exchanges))
    assert [urlsplit(url).path.rpartition("/")[2][:10] for _, url in urls(calls)] == [
        "1af1aa6c1f",
        "cert_chain",
        "crl",
    ]
    assert set(by_vendor(exchanges)) == set(urls(calls)[:2])


@pytest.mark.parametrize("folder", SAVED)
def test_saved_answer_asks_for_every_platform(evidence_root, folder):
    _, attestations = captured(evidence_root, folder)
    found = platforms(ask(attestations))
    assert found == expected_platforms(evidence_root, folder)
    assert found


def test_captures_with_two_platforms_are_among_them(evidence_root):
    counts = [len(expected_platforms(evidence_root, folder)) for folder in (*FOLDERS, *SAVED)]
    assert counts.count(2) >= 3
    assert max(counts) == 2


def test_recorded_manifest_ids_are_those_of_the_reports(evidence_root):
    _, attestations = captured(evidence_root, "neardirect_qwen_qwen3.5-122b-a10b_20260610_015359")
    calls = of(ask(attestations), "rim")
    kinds = [url.rpartition("/")[2] for _, url in urls(calls)]
    assert [one.startswith(("NV_GPU_DRIVER_GH100_", "NV_GPU_VBIOS_")) for one in kinds] == [
        True,
        True,
    ]


def test_recorded_devices_are_asked_about_with_lists_of_the_vendor(evidence_root):
    _, attestations = captured(evidence_root, "neardirect_qwen_qwen3.5-122b-a10b_20260610_015359")
    calls = ask(attestations, Replay(()))
    lists = [url for _, url in urls(calls) if url.startswith("https://crl.ndis.nvidia.com")]
    assert lists == [
        "https://crl.ndis.nvidia.com/crl/l2-gh100.crl",
        "https://crl.ndis.nvidia.com/crl/l1-root.crl",
    ]
    posts = [call for call in calls if call.url == "https://ocsp.ndis.nvidia.com/"]
    assert len(posts) == 8 + 2, "eight boot ROMs and the two certificates above them"
    assert all(first.step != second.step for first, second in pairwise(posts))
