"""Time stamps, beacon, releases, trust, addresses, faults by name; the same bytes every time."""

from __future__ import annotations

import time
from dataclasses import fields
from datetime import datetime, timedelta
from hashlib import sha256

import pytest
from cryptography import x509
from rfc3161_client import TimestampRequestBuilder, decode_timestamp_response
from rfc3161_client.base import HashAlgorithm

from bundle.collateral import Endpoints
from fixtures import amd_pki, intel_pki, sigstore_sim, time_sim
from fixtures.simulator import vendors as simulated
from fixtures.simulator.clock import real_time
from fixtures.simulator.vendors import (
    VENDOR_FAULTS,
    Vendors,
    is_vendor_fault,
    simulator_trust,
    vendor_endpoints,
)
from fixtures.simulator.wire import Request
from tests.simulator.vendor_calls import BASE, DAYS, ENDPOINTS, PRESENT, appraised, ask, at, given
from verify.crypto import notes
from verify.crypto.timestamps import read_token, verify_token
from verify.crypto.x509 import load_certificate
from verify.engine.errors import FormatError, Refused
from verify.engine.reason import Reason
from verify.policy.model import ProvenanceRules
from verify.sigstore.bundle import read_answer, read_digest_file
from verify.sigstore.release import judge_release
from verify.trust.anchor import VENDOR, Purpose
from verify.trust.file import read_trust_file
from verify.trust.store import TrustStore

ADDED = tuple(purpose.value for purpose in VENDOR)
TRUST = TrustStore.build(files=[read_trust_file(simulator_trust())])
MESSAGE = b"a signature to be stamped"


# --- time stamps ---------------------------------------------------------------------------------


def query(algorithm=HashAlgorithm.SHA256, *, nonce=True):
    builder = TimestampRequestBuilder().data(MESSAGE).hash_algorithm(algorithm)
    return (builder if nonce else builder.nonce(nonce=False)).build()


def tsa_root(trust=TRUST):
    (anchor,) = trust.of(Purpose.TSA)
    return anchor.data


@pytest.mark.parametrize("moment", DAYS, ids=str)
@pytest.mark.parametrize("algorithm", [HashAlgorithm.SHA256, HashAlgorithm.SHA512])
def test_tsa_token_is_verified_and_says_the_present_second(moment, algorithm):
    asked = query(algorithm)
    body = given(at(moment), "tsa", body=asked.as_bytes())
    token = read_token(body)
    assert token.gen_time == moment.replace(microsecond=0)
    assert token.outside() is None
    assert token.names(load_certificate(tsa_root()))
    verify_token(token, tsa_root(), MESSAGE)
    assert decode_timestamp_response(body).tst_info.nonce == asked.nonce
    with pytest.raises(FormatError):
        verify_token(token, time_sim.authority(), MESSAGE)


def test_tsa_nonce_is_left_out_where_none_was_sent_and_wrong_by_fault():
    bare = decode_timestamp_response(given(at(PRESENT), "tsa", body=query(nonce=False).as_bytes()))
    assert bare.tst_info.nonce is None
    asked = query()
    wrong = given(at(PRESENT, "tsa-wrong-nonce"), "tsa", body=asked.as_bytes())
    verify_token(read_token(wrong), tsa_root(), MESSAGE)
    assert decode_timestamp_response(wrong).tst_info.nonce not in (None, asked.nonce)


@pytest.mark.parametrize(
    ("faults", "body"),
    [
        (("tsa-reject",), query().as_bytes()),
        ((), b""),
        ((), b"0\x00"),
        ((), b"0\x03\x02\x01\x01"),
        ((), query().as_bytes()[:-1]),
        ((), query().as_bytes().replace(bytes.fromhex("0609608648016503040201"),
                                        bytes.fromhex("0609608648016503040204"))),
    ],
    # a query holds a random nonce, so its bytes cannot name the case
    ids=["by fault", "empty", "no query", "a number", "cut", "another hash"],
)  # fmt: skip
def test_tsa_rejects(faults, body):
    answer = given(at(PRESENT, *faults), "tsa", body=body)
    with pytest.raises(FormatError, match="status is 2, not granted"):
        read_token(answer)


def test_tsa_answers_posts_alone():
    assert ask(at(PRESENT), "tsa").status == 405


# --- beacon --------------------------------------------------------------------------------------


def keys(purpose):
    return [notes.read_verifier_key(anchor.data.decode()) for anchor in TRUST.of(purpose)]


@pytest.mark.parametrize("moment", DAYS, ids=str)
def test_beacon_is_signed_by_its_log_and_was_witnessed_shortly_before(moment):
    found = notes.read_checkpoint(given(at(moment), "beacon").decode())
    (log,), (witness,) = keys(Purpose.BEACON_LOG), keys(Purpose.WITNESS)
    assert notes.signed(found.note, log) is True
    seconds = notes.cosigned(found.note, witness)
    age = moment - datetime.fromtimestamp(seconds, moment.tzinfo)
    assert timedelta(seconds=10) <= age < timedelta(seconds=20)


def test_beacon_of_a_later_time_is_of_a_larger_log():
    sizes = [notes.read_checkpoint(given(at(m), "beacon").decode()).size for m in DAYS]
    assert sizes == sorted(set(sizes))
    same = at(PRESENT + timedelta(seconds=1))
    assert given(same, "beacon") == given(at(PRESENT), "beacon")


# --- releases ------------------------------------------------------------------------------------


def test_release_is_found_by_its_tag_and_is_genuine():
    vendors, repository = at(DAYS[3]), sigstore_sim.REPOSITORY
    latest = given(vendors, "tinfoil_releases", f"/repos/{repository}/releases/latest")
    assert b'"tag_name": "v1.2.3"' in latest
    file = given(
        vendors, "tinfoil_releases", f"/{repository}/releases/download/v1.2.3/tinfoil.hash"
    )
    digest = read_digest_file(file)
    body = given(
        vendors, "tinfoil_releases", f"/repos/{repository}/attestations/sha256:{digest.hex()}"
    )
    (bundle,) = read_answer(body)
    rules = ProvenanceRules(
        repositories=(repository,),
        workflows=None,
        tags=None,
        predicate_types=(sigstore_sim.PREDICATE,),
    )

    def believed(trust):
        return lambda purpose, when: trust.anchors(purpose, at=when, accept_added=ADDED)

    assert judge_release(bundle, digest, rules, believed(TRUST)).tag == "v1.2.3"
    with pytest.raises(Refused) as refused:
        judge_release(bundle, digest, rules, believed(TrustStore.build()))
    assert refused.value.reason is Reason.SIGSTORE_LOG_UNKNOWN


def test_release_of_an_own_repository_is_genuine_and_others_are_not_found():
    own = sigstore_sim.SimulatedRelease(
        repository="somebody/router",
        digest=sha256(b"another document").digest(),
        ref="refs/tags/v9",
        rtmr1=b"\x01" * 48,
    )
    vendors = Vendors(time=lambda: PRESENT, releases=(sigstore_sim.SimulatedRelease(), own))
    path = f"/repos/somebody/router/attestations/sha256:{own.digest.hex()}"
    (bundle,) = read_answer(given(vendors, "tinfoil_releases", path))
    rules = ProvenanceRules(
        repositories=("somebody/router",),
        workflows=None,
        tags=None,
        predicate_types=(sigstore_sim.PREDICATE,),
    )
    found = judge_release(
        bundle,
        own.digest,
        rules,
        lambda purpose, when: TRUST.anchors(purpose, at=when, accept_added=ADDED),
    )
    assert (found.repository, found.tag) == ("somebody/router", "v9")
    missing = ask(vendors, "tinfoil_releases", "/repos/nobody/router/releases/latest")
    assert missing.status == 404


# --- trust ---------------------------------------------------------------------------------------


def test_trust_file_holds_every_authority_of_the_simulation_until_2035():
    for purpose in (
        *VENDOR - {Purpose.AWS_NITRO_ROOT},
        Purpose.TSA,
        Purpose.BEACON_LOG,
        Purpose.WITNESS,
    ):
        for moment in DAYS:
            assert TRUST.anchors(purpose, at=moment, accept_added=ADDED), purpose
    for anchor in TRUST.added_vendor_anchors:
        assert anchor.name.startswith("test-")
    # Sigstore is judged when the log took an entry; every other root is judged at as_of.
    lasting = {Purpose.INTEL_SGX_ROOT, Purpose.NVIDIA_DEVICE_ROOT, Purpose.NVIDIA_RIM_ROOT}
    for anchor in TRUST.added_vendor_anchors:
        if anchor.purpose in lasting:
            certificate = x509.load_der_x509_certificate(anchor.data)
            assert certificate.not_valid_after_utc > DAYS[3]
            assert certificate.not_valid_before_utc < DAYS[0]


def test_default_trust_rejects_all_of_it():
    built_in = TrustStore.build()
    for anchor in read_trust_file(simulator_trust()).anchors:
        assert built_in.find(anchor.purpose, anchor.sha256) is None, anchor.name
    assert built_in.of(Purpose.TSA) == built_in.of(Purpose.BEACON_LOG) == ()
    for genuine in built_in.of(Purpose.INTEL_SGX_ROOT):
        found = appraised(at(PRESENT), PRESENT, intel_pki.BASE)
        assert found.code is None
        assert genuine.data != intel_pki.BASE.anchor
    for genuine in built_in.of(Purpose.AMD_ARK):
        assert genuine.data not in amd_pki.anchors().values()


# --- addresses, faults, determinism ----------------------------------------------------------------


def test_endpoints_are_the_capture_s_own_names():
    assert set(vendor_endpoints(BASE)) == {f.name for f in fields(Endpoints)} | {"tsa", "beacon"}
    assert Endpoints(**{f.name: ENDPOINTS[f.name] for f in fields(Endpoints)}).amd_kds
    assert vendor_endpoints(BASE + "/") == ENDPOINTS
    assert set(at(PRESENT).services) == set(ENDPOINTS)


def test_request_that_is_no_vendor_s_is_left_to_others():
    for target in ("/", "/v1/models", "/intel-pcs-of-somebody/x", "/checkpoints"):
        asked = Request(
            method="GET", target=target, headers=(), body=b"", connection=0, spki=None, number=0
        )
        assert at(PRESENT)(asked) is None


def test_faults_have_names_that_are_checked():
    assert is_vendor_fault("collateral-404@root-crl")
    for name in (*VENDOR_FAULTS, *(f"{n}@{i}" for n, s in simulated.ITEMS.items() for i in s)):
        assert is_vendor_fault(name)
        Vendors(faults=(name,))
    for name in ("", "collateral-405", "collateral-404@x", "rim-404@tcb", "tsa-reject@"):
        assert not is_vendor_fault(name)
        with pytest.raises(ValueError, match="no fault of a vendor"):
            Vendors(faults=(name,))


def test_faults_can_be_switched_while_the_vendors_live():
    faults: set[str] = set()
    vendors = Vendors(time=lambda: PRESENT, faults=faults)
    path = f"/tdx/certification/v4/tcb?fmspc={intel_pki.FMSPC.hex()}"
    assert ask(vendors, "intel_pcs", path).status == 200
    faults.add("collateral-404")
    assert ask(vendors, "intel_pcs", path).status == 404
    faults.clear()
    assert ask(vendors, "intel_pcs", path).status == 200


ALL = [
    ("intel_pcs", f"/tdx/certification/v4/tcb?fmspc={intel_pki.FMSPC.hex()}", None),
    ("intel_pcs", "/tdx/certification/v4/qe/identity", None),
    ("intel_pcs", "/sgx/certification/v4/pckcrl?ca=platform&encoding=der", None),
    ("intel_certificates", "/IntelSGXRootCA.der", None),
    ("nvidia_rim", "/v1/rim/NV_GPU_DRIVER_GH100_570.172.08", None),
    ("nvidia_crl", "/crl/l1-root.crl", None),
    ("nvidia_nras", "/.well-known/jwks.json", None),
    ("amd_kds", "/vcek/v1/Genoa/cert_chain", None),
    ("amd_kds", "/vcek/v1/Genoa/crl", None),
    ("tinfoil_releases", "/repos/example/enclave/releases/latest", None),
    ("beacon", "", None),
    ("tsa", "", query(nonce=False).as_bytes()),
]


def test_the_same_instant_gives_the_same_bytes_and_the_next_day_others():
    for service, path, body in ALL:
        once, again = (ask(at(PRESENT), service, path, body=body) for _ in range(2))
        assert once == again
        later = ask(at(PRESENT + timedelta(days=1)), service, path, body=body)
        unmoved = service in ("nvidia_rim", "tinfoil_releases") or path.endswith("cert_chain")
        assert (later == once) is unmoved, path


def test_answers_are_fast_once_made():
    vendors = at(PRESENT)
    for service, path, body in ALL:
        ask(vendors, service, path, body=body)
    begun = time.process_time()
    for service, path, body in ALL:
        ask(vendors, service, path, body=body)
    assert (time.process_time() - begun) / len(ALL) < 0.05


def test_vendors_live_now_unless_told_otherwise():
    body = given(Vendors(), "tsa", body=query().as_bytes())
    assert abs(read_token(body).gen_time - real_time()) < timedelta(seconds=60)
