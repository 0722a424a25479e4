"""Every fault of the table: what it does on the wire, and what a verification makes of it."""

from __future__ import annotations

import json
import time
from pathlib import Path

import httpx
import pytest

from bundle.providers import provider as provider_named
from fixtures.simulator.faults import FAULTS, ON_SNP, ON_TDX, Expectation
from fixtures.simulator.providers import PROFILES, SCENARIOS, scenarios_of
from fixtures.simulator.world import Simulator
from fixtures.verification import Answer
from tests.simulator.simulator_case import capture, client

SLOW = {"slow-first-byte"}
"""Faults that are silence: nobody waits for them here but `test_silence_...`."""


def _place(name: str) -> tuple[str, str]:
    """Return where a fault is played: the first provider and scenario that it fits."""
    fault = FAULTS[name]
    for provider in ("near-direct", *PROFILES):
        for scenario in scenarios_of(provider):
            if fault.fits(provider, scenario.name):
                return provider, scenario.name
    raise AssertionError(name)


def codes(answer: Answer) -> set[str]:
    assert answer.report is not None
    found = {row.reason.code for row in answer.report.checks if row.reason is not None}
    for row in answer.report.checks:
        found |= {finding.reason.code for finding in row.findings}
    found |= {note.reason.code for note in answer.report.notes}
    return found | {note.reason.code for note in answer.report.limits}


def _held(answer: Answer, expected: Expectation) -> None:
    assert answer.verdict == expected.verdict, answer.checks
    assert set(expected.reasons) <= codes(answer)


@pytest.mark.parametrize("name", sorted(set(FAULTS) - SLOW))
def test_fault_gives_its_verdict_and_reasons(name: str, tmp_path: Path) -> None:
    provider, scenario = _place(name)
    expected = FAULTS[name].expected(provider)
    with Simulator(provider, scenario=scenario, fault=name) as simulator:
        captured = capture(
            simulator,
            provider_named(provider),
            tmp_path,
            stream=FAULTS[name].stream or SCENARIOS[scenario].stream is not False,
        )
        assert not simulator.provider.troubles
        _held(captured.answer(simulator), expected)
    troubles = {found.failure.trouble for found in captured.exchanges if found.failure is not None}
    assert troubles == ({expected.failure} if expected.failure else set())


@pytest.mark.parametrize("provider", ["nanogpt", "near-gateway", "phala", "venice", "redpill"])
@pytest.mark.parametrize("name", ["signature-other-chat", "nonce-dropped", "sse-crlf", "json-html"])
def test_fault_of_another_provider_gives_its_verdict_and_reasons(
    name: str, provider: str, tmp_path: Path
) -> None:
    with Simulator(provider, fault=name) as simulator:
        captured = capture(simulator, provider_named(provider), tmp_path)
        _held(captured.answer(simulator), FAULTS[name].expected(provider))


@pytest.mark.parametrize("name", sorted(ON_TDX))
def test_vendor_fault_on_tdx_gives_its_verdict_and_reasons(name: str, tmp_path: Path) -> None:
    with Simulator("near-direct", fault=name) as simulator:
        captured = capture(simulator, provider_named("near-direct"), tmp_path)
        _held(captured.answer(simulator), ON_TDX[name])


@pytest.mark.parametrize("name", sorted(ON_SNP))
def test_vendor_fault_on_snp_gives_its_verdict_and_reasons(name: str, tmp_path: Path) -> None:
    with Simulator("tinfoil", scenario="tinfoil-v3-snp-router", fault=name) as simulator:
        captured = capture(simulator, provider_named("tinfoil"), tmp_path)
        _held(captured.answer(simulator), ON_SNP[name])


def test_fault_on_the_second_request_leaves_the_first_alone(tmp_path: Path) -> None:
    with Simulator("nanogpt", fault="json-html", nth=2) as simulator:
        captured = capture(simulator, provider_named("nanogpt"), tmp_path)
    first, second = (found.response_body or b"" for found in captured.of("attestation"))
    assert "intel_quote" in json.loads(first)
    assert second.startswith(b"<!doctype html>")


def test_fault_of_the_wire_can_be_played_on_another_kind_of_request(tmp_path: Path) -> None:
    with Simulator("nanogpt", fault="500-once", on="signature") as simulator:
        captured = capture(simulator, provider_named("nanogpt"), tmp_path)
        assert [found.status for found in captured.of("attestation")] == [200, 200]
        assert [found.status for found in captured.of("signature")] == [500, 200]
        assert captured.answer(simulator).verdict == "VERIFIED"


def test_fault_names_what_it_expects_of_a_capture_that_waits(tmp_path: Path) -> None:
    with Simulator("nanogpt", fault="429-retry-after") as simulator:
        captured = capture(simulator, provider_named("nanogpt"), tmp_path)
    assert captured.waited[captured.steps.index("attest-1/2")] == 2.0
    first, second = captured.of("attestation")[:2]
    assert first.status == 429
    assert first.url != second.url, "a retried attestation has a nonce of its own"


def test_secret_echo_is_on_the_wire_and_not_in_what_was_recorded(tmp_path: Path) -> None:
    with Simulator("nanogpt", fault="secret-echo") as simulator:
        captured = capture(simulator, provider_named("nanogpt"), tmp_path)
        sealed = captured.sealed()
    names = [name for name, _ in captured.of("chat")[0].response_headers or ()]
    assert "X-Debug-Key" in names
    assert simulator.api_key.encode() not in sealed


def test_every_fault_fits_somewhere_and_says_what_it_does() -> None:
    for name, fault in FAULTS.items():
        assert _place(name)
        assert fault.does
        assert (fault.instead is None) or not fault.inside


def test_silence_is_silence_and_ends_with_the_simulation() -> None:
    with Simulator("nanogpt", fault="slow-first-byte") as simulator, client(simulator) as c:
        with pytest.raises(httpx.ReadTimeout):
            c.get(simulator.base_url + "/api/v1/tee/attestation?nonce=" + "ab" * 32, timeout=0.2)
        assert [one.path for one in simulator.journal.requests] == ["/api/v1/tee/attestation"]
        assert c.get(simulator.base_url + "/api/v1/models").status_code == 200
        begun = time.monotonic()
    assert time.monotonic() - begun < 3
