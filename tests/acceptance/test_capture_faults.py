"""What a whole capture does when things go wrong: stops, keeps its journal, seals what it has."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundle.capture import Means, resume
from bundle.journal import Journal
from bundle.keys import key_id
from bundle.providers import provider
from bundle.transport import Credential, Transport, utc_now
from fixtures.simulator.faults import FAULTS
from tests.acceptance.capture_case import Made, captured
from verify.engine.report import Verdict

HERE = "near-direct"
STOPPING = sorted(
    name
    for name, fault in FAULTS.items()
    if fault.fits(HERE, HERE)
    and not fault.expected(HERE).finished
    and fault.kinds == frozenset({"attestation"})
)
"""Faults after which no chat is made: the capture ends with exit code 5."""
TOLERATED = ("429-retry-after", "500-once", "502-503-504", "signature-404-twice", "date-skew")
LOUD = ("signature-404", "signature-200-unavailable", "sse-cut")


def sealed_as_it_is(made: Made) -> None:
    """Seal what a stopped capture left; no request is made."""
    with Transport() as line:
        means = Means(
            transport=line,
            signers=(made.signer,),
            clock=utc_now,
            credentials={"provider": Credential("Authorization", "Bearer none at all")},
            secrets=(made.simulator.api_key,),
            keep_journal=True,
        )
        made.result = resume(made.journal, provider(HERE), means, seal_incomplete=True)


@pytest.mark.parametrize("name", STOPPING)
def test_a_capture_without_usable_attestation_stops_and_can_be_sealed(
    name: str, tmp_path: Path
) -> None:
    expected = FAULTS[name].expected(HERE)
    made = captured(HERE, tmp_path, fault=name, asked={"stream": True, "timeout_s": 0.2})
    requests = made.simulator.journal.requests
    assert made.error is not None
    assert made.error.exit_code == 5
    assert made.simulator.api_key not in str(made.error)
    assert "--resume" in str(made.error)
    assert not made.out.exists()
    assert made.journal.is_dir()
    assert not [r for r in requests if r.path.endswith("/chat/completions")]
    if expected.tries is not None:  # for one algorithm, or for each of the two
        asked = len([r for r in requests if r.path.endswith("/report")])
        assert asked in {expected.tries, 2 * expected.tries}
    kept = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert not [p for p in kept if made.simulator.api_key.encode() in p.read_bytes()]
    before = len(requests)
    sealed_as_it_is(made)
    assert len(requests) == before
    assert made.result is not None
    assert not made.result.complete
    report = made.report()
    assert report.verdict in {Verdict.REJECTED, Verdict.INCOMPLETE}
    # under a policy that asks for no chat, the reason is not behind the missing chat
    narrow = made.simulator.policy(key_id(made.signer.spki()), chat=False)
    assert set(expected.reasons) <= made.reasons(report) | made.reasons(made.report(policy=narrow))


@pytest.mark.parametrize("name", TOLERATED)
def test_a_passing_trouble_is_waited_out_and_every_try_is_kept(name: str, tmp_path: Path) -> None:
    made = captured(HERE, tmp_path, fault=name, asked={"stream": True})
    assert made.error is None, made.error
    assert made.result is not None
    assert made.result.whole, made.result.gaps
    assert made.report().verdict is Verdict.VERIFIED
    if FAULTS[name].expected(HERE).warns:
        assert any("clock" in warning for warning in made.result.warnings)
    nonces = [
        r.query["nonce"] for r in made.simulator.journal.requests if r.path.endswith("/report")
    ]
    assert len(nonces) == len(set(nonces))
    assert all(len(nonce) == 64 and nonce == nonce.lower() for nonce in nonces)


@pytest.mark.parametrize("name", LOUD)
def test_what_could_not_be_had_is_told_and_the_rest_is_kept(name: str, tmp_path: Path) -> None:
    made = captured(HERE, tmp_path, fault=name, asked={"stream": True})
    requests = made.simulator.journal.requests
    assert made.result is not None, made.error
    assert not made.result.whole
    assert [gap for gap in made.result.gaps if gap.essential]
    assert len([r for r in requests if r.path.endswith("/chat/completions")]) == 1
    report = made.report()
    assert report.verdict.value == FAULTS[name].expected(HERE).verdict
    assert set(FAULTS[name].expected(HERE).reasons) <= made.reasons(report)


def test_the_wait_that_a_service_asks_for_is_kept(tmp_path: Path) -> None:
    waited: list[float] = []
    made = captured(
        HERE,
        tmp_path,
        fault="429-retry-after",
        means={"jitter": lambda: 0.0, "sleep": waited.append},
    )
    assert made.result is not None
    assert waited == [2.0]


def test_every_failed_try_is_in_the_journal(tmp_path: Path) -> None:
    made = captured(HERE, tmp_path, fault="500-forever", asked={"algorithms": ("ecdsa",)})
    assert made.error is not None
    with Journal.open(made.journal) as journal:
        assert [exchange.status for exchange in journal.exchanges] == [500] * 6
        assert len({exchange.url for exchange in journal.exchanges}) == 6


def test_a_self_made_certificate_is_taken_only_for_a_named_host(tmp_path: Path) -> None:
    made = captured(
        HERE,
        tmp_path,
        fault="tls-self-made",
        asked={"stream": True},
        transport={"unverified_hosts": frozenset({"127.0.0.1"})},
    )
    assert made.error is None, made.error
    assert made.report().verdict is Verdict.VERIFIED
