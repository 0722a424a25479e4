"""The genuine release of a recorded router enclave, judged offline with the built-in keys."""

from __future__ import annotations

import base64
import json
from dataclasses import replace

import pytest

from bundle.importers.draft import draft
from bundle.importers.http_folder import read_recording
from bundle.keys import key_id
from bundle.policy_init import draft_policy
from bundle.seal import seal
from fixtures.chat_sim import seed
from fixtures.sessions import CAPTURER
from fixtures.sigstore_sim import PREDICATE
from verify.api import verify_bundle
from verify.engine.asof import AsOf
from verify.engine.errors import FormatError, Refused
from verify.policy.loader import default_bytes, load_policy
from verify.policy.model import ProvenanceRules
from verify.sigstore.bundle import read_answer, read_digest_file
from verify.sigstore.release import judge_release
from verify.trust.file import read_signer
from verify.trust.store import TrustStore

NAME = "tinfoil_v3_cloud_llama3-3-70b_20260629_021249"
RULES = ProvenanceRules(
    repositories=("tinfoilsh/confidential-model-router",),
    workflows=("tinfoil-release-publish.yml",),
    tags=("v0.0.110",),
    predicate_types=(PREDICATE,),
)
STORE = TrustStore.build()


def anchors(purpose, at):
    return STORE.anchors(purpose, at=at)


@pytest.fixture
def folder(evidence_root):
    return evidence_root / "captures" / NAME


def body_of(folder, number):
    (path,) = (folder / "responses").glob(f"{number}_*.body")
    return path.read_bytes()


@pytest.fixture
def answer(folder):
    return body_of(folder, "0006")


@pytest.fixture
def digest(folder):
    return read_digest_file(body_of(folder, "0005"))


def test_genuine_release_is_that_of_the_report(folder, answer, digest):
    expected = json.loads((folder / "expected.json").read_text())
    (found,) = read_answer(answer)
    release = judge_release(found, digest, RULES, anchors)
    (stated,) = expected["sigstore"]
    report = expected["reports"][0]["snp_report"]
    assert release.measurements.snp_measurement.hex() == report["measurement"]
    assert release.digest.hex() == stated["subject"]["digest"]["sha256"]
    assert (release.repository, release.tag) == (RULES.repositories[0], "v0.0.110")
    assert release.logged_at.isoformat() == "2026-06-23T21:51:05+00:00"


def parts(found):
    """Every part of the genuine bundle whose bytes are signed or are a signature."""
    material = found["verificationMaterial"]
    entry = material["tlogEntries"][0]
    return {
        "leaf": (material["certificate"], "rawBytes"),
        "promise": (entry["inclusionPromise"], "signedEntryTimestamp"),
        "body": (entry, "canonicalizedBody"),
        "root": (entry["inclusionProof"], "rootHash"),
        "payload": (found["dsseEnvelope"], "payload"),
        "signature": (found["dsseEnvelope"]["signatures"][0], "sig"),
        "log": (entry["logId"], "keyId"),
    }


@pytest.mark.parametrize("part", ["leaf", "promise", "body", "root", "payload", "signature", "log"])
def test_genuine_release_with_one_bit_changed_is_refused(answer, digest, part):
    count = 24
    for step in range(count):
        document = json.loads(answer)
        holder, name = parts(document["attestations"][0]["bundle"])[part]
        raw = bytearray(base64.b64decode(holder[name]))
        raw[step * len(raw) // count] ^= 1 << step % 8
        holder[name] = base64.b64encode(raw).decode()
        with pytest.raises((Refused, FormatError)) as error:
            judge_release(*read_answer(json.dumps(document).encode()), digest, RULES, anchors)
        assert error.value.reason is not None


PEM = b"-----BEGIN PUBLIC KEY-----\n" + base64.b64encode(CAPTURER.spki())
TRUST = TrustStore.build(signers=[read_signer(PEM + b"\n-----END PUBLIC KEY-----\n")])


def sealed(recording):
    made = draft(
        recording,
        signer=key_id(CAPTURER.spki()),
        statement_id="urn:uuid:00000000-0000-4000-8000-000000000058",
        salt=lambda name: seed(f"salt {name}"),
        operator="test",
    )
    return seal(made.assembly.freeze(made.claims), [CAPTURER])


def without(recording, *parts):
    kept = tuple(
        one for one in recording.exchanges if not any(part in one.recorded.url for part in parts)
    )
    assert len(kept) < len(recording.exchanges)
    return replace(recording, exchanges=kept)


def test_genuine_router_session_is_verified_under_a_policy_made_for_it(folder):
    bundle = sealed(read_recording(folder))
    found = draft_policy("tinfoil-v3-snp", bundle, TRUST)
    assert found.open == ()
    policy = load_policy(found.data)
    assert policy.provenance is not None
    assert policy.provenance.workflows == RULES.workflows
    assert policy.snp.minimum_tcb == {
        "genoa": {"bootloader": 10, "tee": 0, "snp": 23, "microcode": 84}
    }
    report = verify_bundle(bundle, policy=policy, trust=TRUST, as_of=AsOf.capture())
    assert report.verdict.value == "VERIFIED"
    row = next(one for one in report.checks if one.id == "reference.measurements")
    assert list(row.matched) == ["tinfoilsh/confidential-model-router v0.0.110"]


def test_default_alone_ends_incomplete_for_want_of_a_floor_and_a_signer(folder):
    bundle = sealed(read_recording(folder))
    policy = load_policy(default_bytes("tinfoil-v3-snp"))
    report = verify_bundle(bundle, policy=policy, trust=TRUST, as_of=AsOf.capture())
    assert report.verdict.value != "VERIFIED"


def test_router_session_without_its_statement_is_not_verified(folder):
    bundle = sealed(without(read_recording(folder), "/attestations/"))
    found = draft_policy("tinfoil-v3-snp", bundle, TRUST)
    assert ("sigstore.release", "BLOCKED", "sigstore.bundle.missing") in found.open


def test_router_session_without_any_release_is_pinned_by_its_measurement(folder):
    bundle = sealed(without(read_recording(folder), "github"))
    found = draft_policy("tinfoil-v3-snp", bundle, TRUST)
    assert found.open == ()
    policy = load_policy(found.data)
    assert policy.provenance is None
    assert len(policy.snp.fields["measurement"].values) == 1
    report = verify_bundle(bundle, policy=policy, trust=TRUST, as_of=AsOf.capture())
    assert report.verdict.value == "VERIFIED"
