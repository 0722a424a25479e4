"""Readers and judgements of release statements, on simulated ones."""

from __future__ import annotations

import base64
import contextlib
import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures import intel_pki
from fixtures.sigstore_sim import (
    DIGEST,
    ISSUER,
    LOGGED,
    PREDICATE,
    REPOSITORY,
    SimulatedRelease,
    anchors,
    digest_file,
    intermediate,
    root,
    utf8,
)
from verify.engine.errors import FormatError, Refused
from verify.engine.reason import Reason
from verify.policy.model import ProvenanceRules
from verify.sigstore.bundle import (
    read_answer,
    read_digest_file,
    read_entry_content,
    read_measurements,
    read_statement,
)
from verify.sigstore.certificate import Timestamp, promised, read_timestamps, read_workflow
from verify.sigstore.release import judge_release
from verify.trust.anchor import Purpose
from verify.trust.file import read_trust_file
from verify.trust.store import TrustStore

GOOD = SimulatedRelease()
RULES = ProvenanceRules(
    repositories=(REPOSITORY,), workflows=None, tags=None, predicate_types=(PREDICATE,)
)
ADDED = ("sigstore-fulcio", "sigstore-rekor", "sigstore-ct")


def store(entries):
    document = {
        "schema": "urn:teebundle:schema:trust:v1",
        "name": "sigstore",
        "issuedAt": "2026-06-01T00:00:00.000Z",
        "anchors": entries,
    }
    return TrustStore.build(files=[read_trust_file(json.dumps(document).encode())])


TRUST = store(anchors())


def believed(trust=TRUST):
    return lambda purpose, at: trust.anchors(purpose, at=at, accept_added=ADDED)


def judged(release=GOOD, rules=RULES, trust=TRUST):
    (found,) = read_answer(release.answer())
    return judge_release(found, DIGEST, rules, believed(trust))


def reason_of(release=GOOD, rules=RULES, trust=TRUST):
    with pytest.raises((Refused, FormatError)) as error:
        judged(release, rules, trust)
    return error.value.reason


def test_release_good_is_read_whole():
    release = judged()
    assert (release.repository, release.tag, release.workflow) == (
        REPOSITORY,
        "v1.2.3",
        "release.yml",
    )
    assert release.logged_at == LOGGED
    assert release.measurements.rtmr2 == bytes(48)


def test_release_simulation_is_the_same_every_time():
    assert GOOD.answer() == SimulatedRelease().answer()


# --- readers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [digest_file(), DIGEST.hex().upper().encode()])
def test_digest_file_with_and_without_newline_is_read(data):
    assert read_digest_file(data) == DIGEST


@pytest.mark.parametrize("data", [b"", b"00" * 31, digest_file() + b"\n", b"\n" + digest_file()])
def test_digest_file_of_another_form_is_malformed(data):
    with pytest.raises(FormatError) as error:
        read_digest_file(data)
    assert error.value.reason is Reason.SIGSTORE_BUNDLE_MALFORMED


def test_answer_that_lists_nothing_has_no_bundle():
    with pytest.raises(FormatError) as error:
        read_answer(b'{"attestations": []}')
    assert error.value.reason is Reason.SIGSTORE_BUNDLE_MISSING


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b'{"attestations": "x"}',
        b'{"attestations": ""}',
        b'{"attestations": {}}',
        b'{"attestations": [1]}',
        b'{"attestations": [{}]}',
        b'{"a": 1, "a": 2}',
        json.dumps({"attestations": [{}] * 17}).encode(),
    ],
)
def test_answer_of_another_shape_is_malformed(data):
    with pytest.raises(FormatError) as error:
        read_answer(data)
    assert error.value.reason is Reason.SIGSTORE_BUNDLE_MALFORMED


MATERIAL = "/verificationMaterial"
ENTRY = f"{MATERIAL}/tlogEntries/0"


def changed(pointer, new):
    document = GOOD.document()
    *path, last = pointer.strip("/").split("/")
    place = document
    for token in path:
        place = place[int(token)] if isinstance(place, list) else place[token]
    if new is None:
        del place[last]
    else:
        place[last] = new
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("pointer", "new"),
    [
        ("/mediaType", None),
        (MATERIAL, None),
        (f"{MATERIAL}/certificate", None),
        (f"{MATERIAL}/certificate/rawBytes", "!"),
        (f"{MATERIAL}/certificate/rawBytes", ""),
        (f"{MATERIAL}/tlogEntries", []),
        (f"{ENTRY}/integratedTime", 1780315500),
        (f"{ENTRY}/integratedTime", "0"),
        (f"{ENTRY}/integratedTime", "9999999999999"),
        (f"{ENTRY}/integratedTime", "01"),
        (f"{ENTRY}/inclusionPromise", None),
        (f"{ENTRY}/logId/keyId", "AAAA"),
        (f"{ENTRY}/logIndex", "-1"),
        (f"{ENTRY}/canonicalizedBody", "A"),
        (f"{ENTRY}/inclusionProof", None),
        (f"{ENTRY}/inclusionProof/hashes", "x"),
        (f"{ENTRY}/inclusionProof/hashes", ["AAAA"]),
        (f"{ENTRY}/inclusionProof/checkpoint", None),
        ("/dsseEnvelope/payloadType", "text/plain"),
        ("/dsseEnvelope/signatures", [{"sig": "AAAA"}, {"sig": "AAAA"}]),
        ("/dsseEnvelope/signatures/0", {}),
    ],
)
def test_bundle_with_one_member_wrong_is_malformed(pointer, new):
    if pointer.endswith("signatures/0"):
        document = GOOD.document()
        document["dsseEnvelope"]["signatures"] = [{}]
        data = json.dumps(document).encode()
    else:
        data = changed(pointer, new)
    with pytest.raises(FormatError) as error:
        read_answer(data)
    assert error.value.reason is Reason.SIGSTORE_BUNDLE_MALFORMED


def test_bundle_of_a_tree_of_one_entry_is_read():
    (found,) = read_answer(changed(f"{ENTRY}/inclusionProof/hashes", []))
    assert found.entry.proof.path == ()


def entry_content():
    (found,) = read_answer(GOOD.answer())
    return json.loads(found.entry.body)


@pytest.mark.parametrize(
    "edit",
    [
        lambda d: d.update(kind="hashedrekord"),
        lambda d: d.update(apiVersion="0.0.2"),
        lambda d: d.update(spec=[]),
        lambda d: d["spec"]["payloadHash"].update(algorithm="sha512"),
        lambda d: d["spec"]["payloadHash"].update(value="0"),
        lambda d: d["spec"]["signatures"].append(1),
        lambda d: d["spec"]["signatures"][0].update(verifier=""),
    ],
)
def test_entry_content_of_another_kind_is_a_mismatch(edit):
    document = entry_content()
    edit(document)
    with pytest.raises(FormatError) as error:
        read_entry_content(json.dumps(document).encode(), "")
    assert error.value.reason is Reason.SIGSTORE_LOG_ENTRY_MISMATCH


@pytest.mark.parametrize(
    "edit",
    [
        lambda d: d.update(_type="https://in-toto.io/Statement/v0.1"),
        lambda d: d.update(subject=[]),
        lambda d: d["subject"].append(d["subject"][0]),
        lambda d: d["subject"][0].update(digest={}),
        lambda d: d.update(predicateType=1),
    ],
)
def test_statement_of_another_form_is_malformed(edit):
    assert reason_of(replace(GOOD, statement=edit)) is Reason.SIGSTORE_STATEMENT_MALFORMED
    with pytest.raises(FormatError):
        read_statement(b"\xff", "")


@pytest.mark.parametrize(
    "predicate",
    [
        None,
        {},
        {"snp_measurement": "00" * 48},
        {"snp_measurement": "0x" * 48, "tdx_measurement": {"rtmr1": "", "rtmr2": ""}},
    ],
)
def test_predicate_without_three_measurements_is_malformed(predicate):
    with pytest.raises(FormatError) as error:
        read_measurements(predicate, "")
    assert error.value.reason is Reason.SIGSTORE_PREDICATE_MALFORMED


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300))
def test_readers_give_a_value_or_a_format_error(data):
    for read in (
        read_answer,
        read_digest_file,
        read_timestamps,
        read_workflow,
        lambda raw: read_entry_content(raw, ""),
        lambda raw: read_statement(raw, ""),
    ):
        with contextlib.suppress(FormatError):
            read(data)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_leaf_with_bytes_changed_is_read_or_a_format_error(data):
    (found,) = read_answer(GOOD.answer())
    raw = bytearray(found.leaf)
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    changed_leaf = replace_leaf(found, bytes(raw))
    if bytes(raw) == found.leaf:
        return
    with pytest.raises((Refused, FormatError)) as error:
        judge_release(changed_leaf, DIGEST, RULES, believed())
    assert error.value.reason is not None


def replace_leaf(found, leaf):
    from verify.engine.value import replace as replaced

    return replaced(found, leaf=leaf)


# --- the certificate -------------------------------------------------------------------------

SEQUENCE, OCTETS, OID = 0x30, 0x04, 0x06


def tbs(*extensions, tag=0xA3):
    return intel_pki.tlv(
        SEQUENCE, intel_pki.tlv(tag, intel_pki.tlv(SEQUENCE, b"".join(extensions)))
    )


def extension(oid, value):
    return intel_pki.tlv(
        SEQUENCE, intel_pki.tlv(OID, bytes.fromhex(oid)) + intel_pki.tlv(OCTETS, value)
    )


CLAIM = extension("2b0601040183bf300108", utf8(ISSUER))


@pytest.mark.parametrize(
    "data",
    [
        intel_pki.tlv(SEQUENCE, b""),
        tbs(CLAIM, tag=0xA4),
        intel_pki.tlv(SEQUENCE, intel_pki.tlv(0xA3, b"")),
        tbs(intel_pki.tlv(SEQUENCE, intel_pki.tlv(OID, b"\x55"))),
        tbs(CLAIM, CLAIM),
    ],
)
def test_signed_part_of_another_form_is_a_format_error(data):
    with pytest.raises(FormatError) as error:
        read_workflow(data)
    assert error.value.reason is None


@pytest.mark.parametrize(
    "claim",
    [
        extension("2b0601040183bf300108", b"bare text"),
        extension("2b0601040183bf300108", intel_pki.tlv(0x0C, b"\xff")),
        extension("2b0601040183bf300105", b"\xff"),
    ],
)
def test_claim_that_is_no_text_is_inconsistent(claim):
    with pytest.raises(FormatError) as error:
        read_workflow(tbs(claim))
    assert error.value.reason is Reason.SIGSTORE_IDENTITY_INCONSISTENT


@pytest.mark.parametrize("size", [10, 150, 300])
def test_signed_part_without_timestamps_stays_as_it_was(size):
    whole = tbs(CLAIM, extension("550403", bytes(size)))
    assert read_workflow(whole).bare == whole


ONE = Timestamp(
    version=0, log_id=bytes(32), at=1, extensions=b"", algorithm=b"\x04\x03", signature=b"x"
)


def encoded(body, *, more=0, times=1):
    one = len(body).to_bytes(2, "big") + body
    return intel_pki.tlv(OCTETS, (times * len(one) + more).to_bytes(2, "big") + times * one)


BODY = bytes(33) + bytes(8) + b"\x00\x00" + b"\x04\x03" + b"\x00\x01x"


def test_timestamp_is_read_by_its_layout():
    (found,) = read_timestamps(encoded(BODY))
    assert (found.version, found.log_id, found.at, found.signature) == (0, bytes(32), 0, b"x")


@pytest.mark.parametrize(
    "data",
    [
        encoded(BODY, more=1),
        encoded(BODY + b"x"),
        encoded(BODY[:-1]),
        encoded(BODY, times=9),
        encoded(BODY, times=0),
        intel_pki.tlv(OCTETS, b""),
        b"",
    ],
)
def test_timestamps_of_another_layout_are_a_format_error(data):
    with pytest.raises(FormatError):
        read_timestamps(data)


def test_timestamp_of_another_version_or_algorithm_is_not_read():
    from verify.engine.value import replace as replaced

    assert promised(ONE, bytes(32), b"tbs") is not None
    assert promised(replaced(ONE, version=1), bytes(32), b"tbs") is None
    assert promised(replaced(ONE, algorithm=b"\x08\x07"), bytes(32), b"tbs") is None


def test_timestamp_of_the_far_future_is_refused():
    def late(listed):
        raw = bytearray(listed)
        raw[2 + 33 : 2 + 41] = b"\xff" * 8
        return bytes(raw)

    assert reason_of(replace(GOOD, timestamps=late)) is Reason.SIGSTORE_SCT_INVALID


# --- who signed ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "release",
    [
        replace(GOOD, named={1: b"https://accounts.example.test"}),
        replace(GOOD, named={5: b"fork/enclave"}),
        replace(GOOD, named={6: None}),
        replace(GOOD, named={9: None}),
        replace(GOOD, named={12: None}),
        replace(GOOD, named={14: utf8("refs/heads/main")}),
        replace(GOOD, named={18: utf8("https://github.com/fork/enclave")}),
        replace(GOOD, subject=f"https://github.com/{REPOSITORY}"),
        replace(GOOD, subject=GOOD.uri.replace("release.yml", "a/release.yml")),
        replace(GOOD, subject=GOOD.uri.replace("release.yml", "")),
        replace(GOOD, subject=GOOD.uri.replace("refs/tags", "refs/heads/x@refs/tags")),
    ],
)
def test_identity_whose_claims_differ_is_inconsistent(release):
    assert reason_of(release) is Reason.SIGSTORE_IDENTITY_INCONSISTENT


def test_identity_without_the_bare_issuer_is_accepted():
    assert judged(replace(GOOD, named={1: None})).tag == "v1.2.3"


def test_identity_without_issuer_is_refused():
    assert reason_of(replace(GOOD, named={8: None})) is Reason.SIGSTORE_IDENTITY_ISSUER_MISMATCH


@pytest.mark.parametrize("ref", ["refs/tags/a/b", "refs/tags/", "refs/tags/v1\n", "refs/heads/v1"])
def test_identity_at_no_single_tag_is_refused(ref):
    assert reason_of(replace(GOOD, ref=ref)) is Reason.SIGSTORE_IDENTITY_REF_NOT_ACCEPTED


def rules(**members):
    from verify.engine.value import replace as replaced

    return replaced(RULES, **members)


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"repositories": ()}, Reason.SIGSTORE_IDENTITY_REPOSITORY_MISMATCH),
        ({"workflows": ()}, Reason.SIGSTORE_IDENTITY_REPOSITORY_MISMATCH),
        ({"workflows": ("other.yml",)}, Reason.SIGSTORE_IDENTITY_REPOSITORY_MISMATCH),
        ({"tags": ()}, Reason.SIGSTORE_IDENTITY_REF_NOT_ACCEPTED),
        ({"tags": ("v1",)}, Reason.SIGSTORE_IDENTITY_REF_NOT_ACCEPTED),
        ({"predicate_types": ()}, Reason.SIGSTORE_STATEMENT_TYPE_NOT_ACCEPTED),
    ],
)
def test_identity_that_the_policy_does_not_name_is_refused(members, reason):
    assert reason_of(rules=rules(**members)) is reason


def test_identity_that_the_policy_names_in_full_is_accepted():
    assert judged(rules=rules(workflows=("release.yml",), tags=("v1.2.3",)))


# --- whom to believe -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("left_out", "reason"),
    [
        ("test-fulcio-root", Reason.SIGSTORE_CERTIFICATE_CHAIN_INVALID),
        ("test-fulcio-intermediate", Reason.SIGSTORE_CERTIFICATE_CHAIN_INVALID),
        ("test-rekor", Reason.SIGSTORE_LOG_UNKNOWN),
        ("test-ct", Reason.SIGSTORE_SCT_INVALID),
    ],
)
def test_release_under_a_key_nobody_believes_is_refused(left_out, reason):
    entries = [entry for entry in anchors() if entry["name"] != left_out]
    assert reason_of(trust=store(entries)) is reason


@pytest.mark.parametrize("name", ["test-rekor", "test-ct", "test-fulcio-root"])
def test_release_under_a_pin_without_bytes_is_refused(name):
    entries = anchors()
    for entry in entries:
        if entry["name"] == name:
            entry.update(kind="pin", data=None)
    assert reason_of(trust=store(entries)) is not None


def test_release_logged_before_the_log_was_believed_is_refused():
    entries = anchors()
    for entry in entries:
        if entry["name"] == "test-rekor":
            entry["validFor"]["start"] = "2026-07-01T00:00:00.000Z"
    assert reason_of(trust=store(entries)) is Reason.SIGSTORE_LOG_UNKNOWN


def test_added_anchors_do_not_count_unless_the_policy_names_their_purpose():
    at = datetime(2026, 6, 1, tzinfo=UTC)
    known = {anchor.data for anchor in TRUST.anchors(Purpose.SIGSTORE_FULCIO, at=at)}
    assert not known & {root(), intermediate()}


# --- the log ---------------------------------------------------------------------------------


def edited(change):
    return replace(GOOD, bundle=change)


def entry_of(document):
    return document["verificationMaterial"]["tlogEntries"][0]


@pytest.mark.parametrize(
    "change",
    [
        lambda d: entry_of(d)["inclusionProof"]["checkpoint"].update(envelope="no note"),
        lambda d: entry_of(d)["inclusionProof"].update(treeSize="3"),
        lambda d: entry_of(d)["inclusionProof"]["checkpoint"].update(
            envelope=entry_of(d)["inclusionProof"]["checkpoint"]["envelope"].replace(
                " - 1\n", " - 2\n"
            )
        ),
        lambda d: entry_of(d)["inclusionProof"]["checkpoint"].update(
            envelope=entry_of(d)["inclusionProof"]["checkpoint"]["envelope"].split("\u2014")[0]
            + "\u2014 other "
            + base64.b64encode(b"other key").decode()
            + "\n"
        ),
    ],
)
def test_checkpoint_that_the_log_did_not_sign_is_refused(change):
    assert reason_of(edited(change)) is Reason.SIGSTORE_LOG_CHECKPOINT_INVALID


def test_checkpoint_of_another_root_is_refused():
    other = base64.b64encode(bytes(32)).decode()

    def swap(text):
        head, _, _ = text.rpartition("\n2\n")
        return f"{head}\n2\n{other}\n"

    assert reason_of(replace(GOOD, checkpoint=swap)) is Reason.SIGSTORE_LOG_CHECKPOINT_INVALID


@pytest.mark.parametrize("pem", [b"no pem", intel_pki.pem(root())])
def test_entry_with_another_verifier_is_a_mismatch(pem):
    def change(document):
        document["spec"]["signatures"][0]["verifier"] = base64.b64encode(pem).decode()

    assert reason_of(replace(GOOD, entry=change)) is Reason.SIGSTORE_LOG_ENTRY_MISMATCH


@pytest.mark.parametrize("der", [b"no certificate", root()])
def test_bundle_with_another_certificate_is_refused(der):
    def change(document):
        raw = base64.b64encode(der).decode()
        document["verificationMaterial"]["certificate"]["rawBytes"] = raw

    assert reason_of(edited(change)) in {
        Reason.SIGSTORE_CERTIFICATE_CHAIN_INVALID,
        Reason.SIGSTORE_SIGNATURE_INVALID,
    }


def test_leaf_that_outlives_its_authority_is_refused():
    entries = anchors()
    late = replace(GOOD, minted=datetime(2026, 6, 1, 12, 6, tzinfo=UTC))
    assert reason_of(late, trust=store(entries)) is Reason.SIGSTORE_CERTIFICATE_NOT_VALID_AT_TIME


def test_bundle_faults_that_vectors_hold_are_refused_with_their_code():
    for release, reason in (
        (edited(lambda d: d.update(mediaType="x")), Reason.SIGSTORE_BUNDLE_FORMAT_UNSUPPORTED),
        (replace(GOOD, timestamps=lambda _listed: b""), Reason.SIGSTORE_SCT_INVALID),
        (replace(GOOD, statement=lambda d: d.update(x=1)), Reason.SIGSTORE_STATEMENT_MALFORMED),
        (
            replace(GOOD, statement=lambda d: d["subject"][0]["digest"].update(sha256="22" * 32)),
            Reason.SIGSTORE_STATEMENT_SUBJECT_MISMATCH,
        ),
        (
            edited(
                lambda d: (entry_of(d).pop("inclusionPromise"), entry_of(d).pop("integratedTime"))
            ),
            Reason.SIGSTORE_BUNDLE_TIME_UNSUPPORTED,
        ),
    ):
        assert reason_of(release) is reason
