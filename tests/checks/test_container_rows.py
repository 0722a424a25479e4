"""Container checks: the worked example passes; each fault gives exactly its code."""

from __future__ import annotations

import base64
import copy
import json
import pickle
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from fixtures.worked_example import (
    ANSWER,
    OFFICER,
    OTHER,
    P256,
    QUOTE,
    REQUEST,
    RESPONSE,
    SECRET,
    SIGNER,
    Draft,
    Key,
    artifact,
    blob_entry,
    digest,
    envelope,
    exchange,
    salted,
    seed,
    subjects,
    written,
)
from tests.checks.container_case import REASONS, anchor, noted, outcomes, policy, said, trust
from verify.checks import signers
from verify.checks.signers import JudgedSigner, SignerState
from verify.engine.errors import MalformedInput
from verify.engine.outcome import Status
from verify.engine.reason import Reason, ReasonClass
from verify.trust.anchor import SIGNER_OPTION, Kind, Purpose
from verify.wire.model import ArtifactState, Evidence
from verify.wire.statement import VerifiedPayload, VerifiedStatement, establish_payload


def check(draft, expected, **options):
    """Assert the rows that did not pass, exactly."""
    found = outcomes(draft, **options)
    assert said(found) == expected
    for outcome in found.values():
        for finding in outcome.findings:
            assert str(finding.pointer).partition("#")[0] != ""
    return found


def only(row, reason):
    return {row: reason.code}


# --- good bundles ----------------------------------------------------------------------------


def test_worked_example_passes_every_container_row():
    found = check(Draft(), {})
    assert len(found) == len(REASONS)
    payload = found["envelope.signature"].fact
    assert isinstance(payload, VerifiedPayload)
    assert payload.keyids == {SIGNER.keyid}
    assert payload.signers[0].name == "capture-1"
    evidence = found["blobs.derived"].fact
    assert isinstance(evidence, Evidence)
    assert evidence.body("quote-1") == QUOTE
    assert evidence.body("req-1") == REQUEST
    assert evidence.states["quote-1"] is ArtifactState.DERIVED
    assert evidence.states["att-1"] is ArtifactState.PRESENT
    assert "quote-1" not in found["blobs.digests"].fact.bodies


def test_two_signers_and_a_curve_key_pass():
    draft = Draft(signers=(SIGNER, P256))
    rules = policy(signers={"threshold": 2, "distinct_operators": True})
    assert len(check(draft, {}, rules=rules)["envelope.signature"].fact.signers) == 2


def test_materialised_derived_artifact_passes_with_and_without_its_source():
    draft = Draft()
    draft.stored["quote-1"] = QUOTE
    found = check(draft, {})
    assert found["blobs.derived"].fact.states["quote-1"] is ArtifactState.PRESENT
    del draft.stored["att-1"]
    found = check(draft, only("artifacts.accounted", Reason.ARTIFACT_MISSING))
    assert found["blobs.derived"].fact.body("quote-1") == QUOTE


def test_two_raw_artifacts_share_one_blob():
    draft = Draft()
    draft.add(artifact("att-2", "provider.evidence", ANSWER, {"local": "again"}))
    check(draft, {})


# --- 1 envelope.signature --------------------------------------------------------------------


def test_signature_of_other_bytes_is_invalid():
    document = Draft().document()
    other = Draft()
    other.predicate["profile"] = "other"
    document["statement"]["signatures"] = other.document()["statement"]["signatures"]
    check(written(document), only("envelope.signature", Reason.ENVELOPE_SIGNATURE_INVALID))


@pytest.mark.parametrize("key", [SIGNER, P256])
def test_signature_of_every_flipped_byte_is_invalid(key):
    document = Draft(signers=(key,)).document()
    entry = document["statement"]["signatures"][0]
    good = base64.b64decode(entry["sig"])
    for at in range(len(good)):
        entry["sig"] = base64.b64encode(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :]).decode()
        found = outcomes(written(document))
        assert said(found) == only("envelope.signature", Reason.ENVELOPE_SIGNATURE_INVALID)


def test_signature_of_another_payload_byte_is_invalid():
    document = Draft().document()
    payload = bytearray(base64.b64decode(document["statement"]["payload"]))
    payload[-1] ^= 1
    document["statement"]["payload"] = base64.b64encode(payload).decode()
    check(written(document), only("envelope.signature", Reason.ENVELOPE_SIGNATURE_INVALID))


def test_known_signer_with_a_bad_signature_fails_beside_a_good_one():
    document = Draft(signers=(SIGNER, P256)).document()
    document["statement"]["signatures"][1]["sig"] = base64.b64encode(bytes(70)).decode()
    check(written(document), only("envelope.signature", Reason.ENVELOPE_SIGNATURE_INVALID))


def test_signer_that_the_policy_does_not_accept_fails():
    rules = policy(signers={"accept": ("name:capture-p256",)})
    check(Draft(), only("envelope.signature", Reason.ENVELOPE_SIGNER_NOT_ACCEPTED), rules=rules)


def test_signer_that_nobody_knows_blocks():
    draft = Draft(signers=(OTHER,))
    found = check(draft, only("envelope.signature", Reason.ENVELOPE_SIGNER_UNKNOWN))
    assert found["envelope.signature"].status is Status.BLOCKED


def test_signer_of_the_attachments_does_not_sign_bundles():
    draft = Draft(signers=(OFFICER,))
    check(draft, only("envelope.signature", Reason.ENVELOPE_SIGNER_UNKNOWN))


def test_threshold_that_is_not_met_blocks():
    rules = policy(signers={"threshold": 2})
    check(Draft(), only("envelope.signature", Reason.ENVELOPE_THRESHOLD_NOT_MET), rules=rules)
    draft = Draft(signers=(SIGNER, P256))
    store = trust()
    rules = policy(signers={"threshold": 2, "distinct_operators": True})
    assert said(outcomes(draft, rules=rules, store=store)) == {}


def test_two_keys_of_one_operator_are_one_operator():
    store = trust(anchor(OTHER, Purpose.CAPTURE_SIGNER, "second", operator="operator of capture-1"))
    rules = policy(
        signers={
            "accept": ("name:capture-1", "name:second"),
            "threshold": 2,
            "distinct_operators": True,
        }
    )
    draft = Draft(signers=(SIGNER, OTHER))
    check(
        draft,
        only("envelope.signature", Reason.ENVELOPE_THRESHOLD_NOT_MET),
        rules=rules,
        store=store,
    )


def test_unknown_signature_beside_an_accepted_one_is_a_note():
    found = check(Draft(signers=(SIGNER, OTHER)), {})
    assert noted(found) == {"envelope.unknown_signature_ignored"}


def test_renewals_are_counted_and_not_evaluated():
    draft = Draft(renewals=[{"kind": "timestamp", "hash": "sha256", "covers": [], "token": "AAAA"}])
    assert noted(check(draft, {})) == {"envelope.renewals_not_evaluated"}


def test_key_given_singly_counts_where_the_policy_names_nobody():
    store = trust(anchor(OTHER, Purpose.CAPTURE_SIGNER, "single", origin=SIGNER_OPTION))
    draft = Draft(signers=(OTHER,))
    draft.predicate["session"]["signer"] = OTHER.keyid
    nobody = policy(signers={"accept": ()})
    assert "envelope.signature" not in said(outcomes(draft, rules=nobody, store=store))
    found = outcomes(draft, store=store)
    assert said(found) == only("envelope.signature", Reason.ENVELOPE_SIGNER_NOT_ACCEPTED)
    found = outcomes(Draft(), rules=nobody, store=store)
    assert said(found) == only("envelope.signature", Reason.ENVELOPE_SIGNER_NOT_ACCEPTED)


def test_trust_entry_without_a_usable_key_verifies_nothing():
    store = trust(anchor(OTHER, Purpose.CAPTURE_SIGNER, "bad", data=b"none", kind=Kind.SPKI))
    found = outcomes(Draft(signers=(OTHER,)), store=store)
    assert said(found) == only("envelope.signature", Reason.ENVELOPE_SIGNATURE_INVALID)


# --- certificates ----------------------------------------------------------------------------


CA_KEY = Key("authority", "p256")


def certificate(subject, key, issuer, signer, *, ca, sign=True, critical=None, length=None):
    def name(text):
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    start = datetime(2026, 1, 1, tzinfo=UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name(issuer))
        .public_key(key.private.public_key())
        .serial_number(7)
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=365))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=length), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=sign,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                key_cert_sign=ca,
                crl_sign=False,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
    )
    if critical is not None:
        builder = builder.add_extension(
            x509.UnrecognizedExtension(x509.ObjectIdentifier(critical), b"\x05\x00"), critical=True
        )
    return builder.sign(signer.private, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


ROOT = certificate("root", CA_KEY, "root", CA_KEY, ca=True)
FLAT = certificate("root", CA_KEY, "root", CA_KEY, ca=True, length=0)
MIDDLE_KEY = Key("middle", "p256")
MIDDLE = certificate("middle", MIDDLE_KEY, "root", CA_KEY, ca=True)
LEAF = certificate("leaf", OTHER, "root", CA_KEY, ca=False)
BELOW = certificate("leaf", OTHER, "middle", MIDDLE_KEY, ca=False)


def chained(chain, key=OTHER):
    draft = Draft(
        signers=(key,),
        material=[
            {
                "keyid": key.keyid,
                "x509Chain": [base64.b64encode(der).decode() for der in chain],
                "rfc3161": [],
                "tlogProofs": [],
            }
        ],
    )
    draft.predicate["session"]["signer"] = key.keyid
    return draft


def under(root=ROOT):
    return trust(anchor(root, Purpose.CAPTURE_SIGNER_CA, "authority"))


CHAINED = {"accept": ("name:authority",)}


@pytest.mark.parametrize("chain", [[LEAF], [BELOW, MIDDLE]])
def test_certificate_that_leads_to_a_known_authority_signs(chain):
    found = outcomes(chained(chain), rules=policy(signers=CHAINED), store=under())
    assert "envelope.signature" not in said(found)
    signer = found["envelope.signature"].fact.signers[0]
    assert signer.name == "authority"
    assert len(signer.chain) == len(chain)
    by_key = policy(signers={"accept": (OTHER.keyid,)})
    found = outcomes(chained(chain), rules=by_key, store=under())
    assert "envelope.signature" not in said(found)


@pytest.mark.parametrize(
    "chain",
    [
        [certificate("leaf", OTHER, "root", MIDDLE_KEY, ca=False)],
        [certificate("leaf", SIGNER, "root", CA_KEY, ca=False)],
        [certificate("leaf", OTHER, "root", CA_KEY, ca=True)],
        [certificate("leaf", OTHER, "root", CA_KEY, ca=False, sign=False)],
        [certificate("leaf", OTHER, "root", CA_KEY, ca=False, critical="1.2.3.4")],
        [BELOW, certificate("middle", MIDDLE_KEY, "root", CA_KEY, ca=False)],
        [LEAF, MIDDLE],
    ],
)
def test_certificate_that_only_names_a_known_authority_is_invalid(chain):
    check(
        chained(chain),
        only("envelope.signature", Reason.ENVELOPE_CHAIN_INVALID),
        rules=policy(signers=CHAINED),
        store=under(),
    )


def test_certificate_below_an_authority_that_allows_no_further_one_is_invalid():
    check(
        chained([BELOW, MIDDLE]),
        only("envelope.signature", Reason.ENVELOPE_CHAIN_INVALID),
        rules=policy(signers=CHAINED),
        store=under(FLAT),
    )


def test_certificate_of_a_key_that_signs_no_bundles_is_invalid():
    key = Key("p384")
    key.private = ec.derive_private_key(7, ec.SECP384R1())
    leaf = certificate("leaf", key, "root", CA_KEY, ca=False)
    found = outcomes(chained([leaf]), rules=policy(signers=CHAINED), store=under())
    assert said(found) == only("envelope.signature", Reason.ENVELOPE_CHAIN_INVALID)


def test_certificate_with_a_signature_of_other_bytes_is_invalid():
    document = chained([LEAF]).document()
    document["statement"]["signatures"][0]["sig"] = base64.b64encode(bytes(64)).decode()
    found = outcomes(written(document), rules=policy(signers=CHAINED), store=under())
    assert said(found) == only("envelope.signature", Reason.ENVELOPE_SIGNATURE_INVALID)


@pytest.mark.parametrize(
    "chain", [[], [b"no certificate"], [certificate("l", OTHER, "x", CA_KEY, ca=False)]]
)
def test_certificate_of_nobody_known_is_unknown(chain):
    found = outcomes(chained(chain), rules=policy(signers=CHAINED), store=under())
    assert said(found) == only("envelope.signature", Reason.ENVELOPE_SIGNER_UNKNOWN)


def test_certificate_of_an_authority_the_policy_does_not_name_is_not_accepted():
    found = outcomes(chained([LEAF]), store=under())
    assert said(found) == only("envelope.signature", Reason.ENVELOPE_SIGNER_NOT_ACCEPTED)


def test_authority_that_cannot_be_read_vouches_for_nobody():
    store = trust(
        anchor(b"junk", Purpose.CAPTURE_SIGNER_CA, "junk"),
        anchor(OTHER, Purpose.CAPTURE_SIGNER_CA, "key"),
    )
    found = outcomes(chained([LEAF]), rules=policy(signers=CHAINED), store=store)
    assert said(found) == only("envelope.signature", Reason.ENVELOPE_SIGNER_UNKNOWN)


def test_certificate_whose_key_cannot_be_read_is_invalid(monkeypatch):
    """A library that refuses the key stands in for the algorithms it does not know."""

    def unreadable():
        raise UnsupportedAlgorithm

    spki = signers._spki

    def judged(_certificate):
        return spki(SimpleNamespace(native=SimpleNamespace(public_key=unreadable)))

    monkeypatch.setattr(signers, "_spki", judged)
    found = outcomes(chained([LEAF]), rules=policy(signers=CHAINED), store=under())
    assert said(found) == only("envelope.signature", Reason.ENVELOPE_CHAIN_INVALID)


def test_signer_that_is_not_accepted_gives_no_fact():
    judged = JudgedSigner(index=0, keyid=OTHER.keyid, state=SignerState.UNKNOWN)
    with pytest.raises(ValueError, match="not accepted"):
        judged.accepted()


# --- 2 statement.form ------------------------------------------------------------------------


def changed(change):
    draft = Draft()
    change(draft)
    return draft


def resubject(draft):
    draft.statement["subject"] = subjects(draft.predicate["artifacts"])


def drop_subject(draft):
    draft.statement["subject"].pop()


def add_subject(draft):
    draft.statement["subject"].append(draft.statement["subject"][0])


def swap_subjects(draft):
    draft.statement["subject"].reverse()


def rename_subject(draft):
    draft.statement["subject"][0]["name"] = "other"


@pytest.mark.parametrize("change", [drop_subject, add_subject, swap_subjects, rename_subject])
def test_subject_that_is_not_the_artifact_list_fails(change):
    check(changed(change), only("statement.form", Reason.STATEMENT_SUBJECT_MISMATCH))


def same_artifact(draft):
    draft.predicate["artifacts"].append(copy.deepcopy(draft.predicate["artifacts"][0]))
    resubject(draft)


def same_exchange(draft):
    draft.predicate["exchanges"][1]["id"] = "att-1"
    for entry in draft.predicate["artifacts"]:
        if entry["origin"].get("exchange") == "ex-2":
            entry["origin"]["exchange"] = "att-1"


def same_nonce(draft):
    draft.predicate["session"]["nonces"].append(draft.predicate["session"]["nonces"][0])


@pytest.mark.parametrize("change", [same_artifact, same_exchange, same_nonce])
def test_id_that_stands_twice_fails(change):
    check(changed(change), only("statement.form", Reason.STATEMENT_ID_DUPLICATE))


def unresolved_body(draft):
    draft.predicate["exchanges"][0]["response"]["body"] = "nothing"
    draft.artifact("att-1")["origin"] = {"local": "x"}


def foreign_body(draft):
    draft.predicate["exchanges"][0]["request"]["body"] = "mark-1"


def shared_body(draft):
    draft.predicate["exchanges"][1]["response"]["body"] = "att-1"
    draft.artifact("res-1")["origin"] = {"local": "x"}


def unnamed_origin(draft):
    draft.predicate["exchanges"][0]["response"] = None


def absent_exchange(draft):
    draft.artifact("mark-1")["origin"] = {"exchange": "ex-9"}


def absent_source(draft):
    draft.artifact("quote-1")["origin"]["artifact"] = "nothing"


def absent_source_of_a_source(draft):
    absent_source(draft)
    draft.add(derived("quote-2", "quote-1"))


def absent_evidence(draft):
    draft.predicate["bindings"][0]["evidence"] = "nothing"


def absent_nonce(draft):
    draft.predicate["bindings"][0]["nonce"] = "quote-1"


def wrong_marker(draft):
    draft.predicate["bindings"][1]["marker"] = "req-1"


def absent_chat(draft):
    draft.predicate["bindings"].append(
        {"type": "attested-around", "before": "att-1", "after": "att-1", "chat": "att-1"}
    )


def absent_beacon(draft):
    draft.predicate["session"]["nonces"][0]["beacon"] = "att-1"


def wrong_headers(draft):
    draft.predicate["exchanges"][0]["response"]["headers"] = "att-1"


def absent_certificate(draft):
    draft.predicate["exchanges"][0]["tls"] = {
        "version": "TLSv1.3",
        "cipher": "x",
        "alpn": None,
        "chain": ["att-1"],
        "spki": "sha256:" + "0" * 64,
        "webpki": True,
    }


@pytest.mark.parametrize(
    "change",
    [
        unresolved_body,
        foreign_body,
        shared_body,
        unnamed_origin,
        absent_exchange,
        absent_source,
        absent_source_of_a_source,
        absent_evidence,
        absent_nonce,
        wrong_marker,
        absent_chat,
        absent_beacon,
        wrong_headers,
        absent_certificate,
    ],
)
def test_reference_to_nothing_that_may_stand_there_fails(change):
    check(changed(change), only("statement.form", Reason.STATEMENT_REFERENCE_UNRESOLVED))


def late_start(draft):
    draft.predicate["capture"]["startedAt"] = "2026-11-21T06:10:04.000Z"


def late_first_byte(draft):
    draft.predicate["exchanges"][0]["firstByteAt"] = "2026-11-21T06:10:00.950Z"


def early_end(draft):
    entry = draft.predicate["exchanges"][0]
    entry.update(firstByteAt=None, endedAt="2026-11-21T06:10:00.050Z")


def same_seq(draft):
    draft.predicate["exchanges"][1]["seq"] = 1


@pytest.mark.parametrize("change", [late_start, late_first_byte, early_end, same_seq])
def test_time_that_runs_backwards_fails(change):
    check(changed(change), only("statement.form", Reason.STATEMENT_TIME_ORDER))


def raw_request(draft):
    draft.artifact("req-1")["framing"] = "raw"


def salted_answer(draft):
    draft.predicate["artifacts"].pop(1)
    draft.predicate["bindings"].pop(0)
    draft.artifact("att-1")["framing"] = "salt32"
    resubject(draft)


def one_salt_for_two(draft):
    entry = copy.deepcopy(draft.artifact("mark-1"))
    entry["id"] = "mark-2"
    draft.add(entry)


def salt_shared_with_raw(draft):
    entry = artifact("doc-1", "provider.evidence", salted("mark-1", SECRET), {"local": "x"})
    draft.add(entry)


def headers_of(purpose, framing):
    def change(draft):
        stored = b'[["a","b"]]'
        stored = salted("head-1", stored) if framing == "salt32" else stored
        draft.add(
            artifact(
                "head-1", "http.response.headers", stored, {"exchange": "ex-3"}, framing=framing
            ),
            stored,
        )
        draft.predicate["exchanges"].append(
            exchange(
                3,
                purpose,
                3,
                firstByteAt=None,
                startedAt="2026-11-21T06:10:03.100Z",
                endedAt="2026-11-21T06:10:03.110Z",
            )
        )
        draft.predicate["exchanges"][2]["response"]["headers"] = "head-1"

    return change


@pytest.mark.parametrize(
    "change",
    [
        raw_request,
        salted_answer,
        one_salt_for_two,
        salt_shared_with_raw,
        headers_of("chat", "raw"),
        headers_of("collateral", "salt32"),
    ],
)
def test_framing_that_the_role_forbids_fails(change):
    check(changed(change), only("statement.form", Reason.STATEMENT_FRAMING_FORBIDDEN))


@pytest.mark.parametrize(("purpose", "framing"), [("chat", "salt32"), ("collateral", "raw")])
def test_headers_are_framed_by_purpose(purpose, framing):
    check(changed(headers_of(purpose, framing)), {})


def derived(artifact_id, source, stored=QUOTE, steps=("select:/intel_quote", "hex"), **options):
    return artifact(
        artifact_id, "tdx.quote", stored, {"artifact": source, "steps": list(steps)}, **options
    )


def salted_source(draft):
    draft.add(derived("quote-2", "req-1"))


def salted_result(draft):
    # No derivable role may be salted, but for those that may be framed either way.
    entry = derived("quote-2", "att-1")
    entry.update(role="verify.report", framing="salt32", size=40, digest=digest(b"x"))
    draft.add(entry)


def source_behind(draft):
    draft.predicate["artifacts"].insert(0, draft.predicate["artifacts"].pop(1))
    resubject(draft)


def source_itself(draft):
    draft.artifact("quote-1")["origin"]["artifact"] = "quote-1"


def long_chain(draft):
    for number in range(2, 5):
        draft.add(derived(f"quote-{number}", f"quote-{number - 1}", steps=("span:",)))


@pytest.mark.parametrize(
    "change", [salted_source, salted_result, source_behind, source_itself, long_chain]
)
def test_derivation_that_is_forbidden_fails(change):
    check(changed(change), only("statement.form", Reason.STATEMENT_DERIVATION_FORBIDDEN))


def test_session_of_another_signer_fails():
    draft = Draft()
    draft.predicate["session"]["signer"] = P256.keyid
    check(draft, only("statement.form", Reason.STATEMENT_SIGNER_MISMATCH))


def test_session_of_a_signer_that_does_not_count_fails():
    draft = Draft(signers=(SIGNER, OTHER))
    draft.predicate["session"]["signer"] = OTHER.keyid
    check(draft, only("statement.form", Reason.STATEMENT_SIGNER_MISMATCH))


@pytest.mark.parametrize("minor", ["1.1", "1.27"])
def test_higher_minor_version_blocks(minor):
    draft = Draft()
    draft.predicate.update(schema=minor, novelty=[1])
    found = check(draft, only("statement.form", Reason.STATEMENT_MINOR_UNSUPPORTED))
    assert found["statement.form"].status is Status.BLOCKED


def test_critical_extension_blocks_and_another_is_noted():
    draft = Draft()
    draft.predicate["extensions"] = {"urn:example:x": {"any": [1, "thing"]}}
    assert noted(check(draft, {})) == {"statement.extension_ignored"}
    draft.predicate["critical"] = ["urn:example:x"]
    check(draft, only("statement.form", Reason.STATEMENT_CRITICAL_UNKNOWN))


def test_profile_of_another_path_fails():
    check(Draft(), only("profile.match", Reason.PROFILE_MISMATCH), rules=policy(profile="other"))


# --- payloads that cannot be used ------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"[]", "input.schema"),
        (b"{}", "input.schema"),
        (b"not json", "input.json"),
        (b"\xff\xff", "input.encoding"),
        (b'{"a":1,"a":2}', "input.duplicate_member"),
        (b"[" * 20 + b"]" * 20, "input.depth"),
    ],
)
def test_payload_that_is_no_statement_ends_the_verification(payload, code):
    with pytest.raises(MalformedInput) as caught:
        outcomes(Draft(payload=payload))
    assert caught.value.code == code
    assert caught.value.kind == "bundle"
    assert caught.value.pointer.startswith("statement#")


@pytest.mark.parametrize("payload", [b"[]", b"not json"])
def test_payload_that_nobody_known_signed_is_not_even_read(payload):
    found = outcomes(Draft(payload=payload, signers=(OTHER,)))
    assert said(found) == only("envelope.signature", Reason.ENVELOPE_SIGNER_UNKNOWN)


@pytest.mark.parametrize(
    ("change", "code", "pointer"),
    [
        (lambda d: d.statement.update(predicateType="urn:teebundle:capture:v2"), "input.version", "/predicateType"),
        (lambda d: d.predicate.update(schema="2.0"), "input.version", "/predicate/schema"),
        (lambda d: d.predicate.update(schema="1"), "input.schema", "/predicate/schema"),
        (lambda d: d.predicate.update(extra=1), "input.schema", "/predicate"),
        (lambda d: d.predicate["capture"].update(endedAt="2026-02-30T00:00:00.000Z"), "input.schema", "/predicate/capture/endedAt"),
        (lambda d: d.predicate["capture"].update(retention={"class": "a", "until": "2026-02-30T00:00:00.000Z", "legalHold": False}), "input.schema", "/predicate/capture/retention/until"),
        (lambda d: d.predicate["exchanges"][0].update(endedAt="1999-01-01T00:00:00.000Z"), "input.schema", "/predicate/exchanges/0/endedAt"),
        (lambda d: d.predicate["artifacts"][0].update(role="x-new"), "input.schema", "/predicate/artifacts/0/role"),
        (lambda d: d.predicate.update(extensions={"urn:example:x": "a" * 70000}), "input.too_large", "/predicate/extensions/urn:example:x"),
        (lambda d: d.predicate["capture"].update(operator="a\nb"), "input.json", "/predicate/capture/operator"),
    ],
)  # fmt: skip
def test_statement_that_cannot_be_used_names_the_place(change, code, pointer):
    with pytest.raises(MalformedInput) as caught:
        outcomes(changed(change))
    assert caught.value.code == code
    assert caught.value.pointer == f"statement#{pointer}"


# --- verified values have one origin ---------------------------------------------------------


def test_verified_values_are_made_in_one_place_only():
    found = outcomes(Draft())
    payload = found["envelope.signature"].fact
    for making in (None, object()):
        with pytest.raises(TypeError):
            VerifiedPayload(making, b"", payload.bundle_id, payload.signers)
        with pytest.raises(TypeError):
            VerifiedStatement(making, payload, found["statement.form"].fact.statement)
    for fact in (payload, found["statement.form"].fact):
        for copied in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(TypeError):
                copied(fact)
    with pytest.raises(TypeError):
        establish_payload(b"", payload.bundle_id, ())


# --- 4 blobs.digests -------------------------------------------------------------------------


def test_blob_of_other_bytes_fails():
    document = Draft().document()
    key = digest(ANSWER)
    document["blobs"][key]["data"] = document["blobs"][key]["data"].replace("0x2a", "0x2b")
    check(written(document), only("blobs.digests", Reason.BLOB_DIGEST_MISMATCH))


def test_blob_of_another_length_than_signed_fails():
    draft = Draft()
    draft.artifact("att-1")["size"] += 1
    check(draft, only("blobs.digests", Reason.BLOB_SIZE_MISMATCH))


def test_blob_with_another_sha512_fails():
    draft = Draft()
    draft.with_sha512("att-1", ANSWER)
    check(draft, {})
    draft.with_sha512("att-1", b"other")
    check(draft, only("blobs.digests", Reason.BLOB_SHA512_MISMATCH))


def test_salted_blob_without_a_body_fails():
    draft = Draft()
    draft.restore("res-1", seed("only a salt"))
    check(draft, only("blobs.digests", Reason.BLOB_FRAMING_INVALID))
    draft.restore("res-1", seed("a salt and") + b"x")
    check(draft, {})


def test_blob_that_nothing_names_fails():
    draft = Draft(extra={digest(b"orphan"): blob_entry(b"orphan")})
    check(draft, only("blobs.digests", Reason.BLOB_ORPHAN))


def note_artifact(text=b"a note", artifact_id="note-1"):
    return artifact(artifact_id, "document.text", text, {"local": "note"})


def declare(draft, **options):
    entry = options.pop("entry", note_artifact())
    return draft.attach(
        "declaration",
        {"kind": "note", "text": entry["id"]},
        artifacts=[entry],
        stored=options.pop("stored", [b"a note"]),
        **options,
    )


def test_blob_of_an_unknown_attachment_is_a_note():
    draft = Draft()
    declare(draft, signer=OTHER)
    found = check(draft, {})
    assert noted(found) == {"blob.unused", "attachment.unknown_signer_ignored"}
    assert found["attachments.form"].fact.accepted == ()
    assert len(found["attachments.form"].fact.ignored) == 1


def test_attachment_that_cannot_be_read_names_no_blob():
    draft = Draft(extra={digest(b"orphan"): blob_entry(b"orphan")})
    draft.attachments.append({"statement": envelope(b"no statement", [OTHER]), "material": []})
    check(draft, only("blobs.digests", Reason.BLOB_ORPHAN))


def external(draft, artifact_id, size=None):
    stored = draft.stored.pop(artifact_id)
    draft.extra[digest(stored)] = {
        "encoding": "external",
        "size": len(stored) if size is None else size,
    }
    return stored


def test_external_blob_is_judged_like_any_other():
    draft = Draft()
    stored = external(draft, "res-1")
    found = check(draft, {}, blobs={digest(stored): stored}.get)
    assert found["blobs.digests"].fact.body("res-1") == RESPONSE
    check(draft, only("artifacts.accounted", Reason.ARTIFACT_EXTERNAL_UNAVAILABLE))
    check(
        draft,
        only("artifacts.accounted", Reason.ARTIFACT_EXTERNAL_UNAVAILABLE),
        blobs=lambda _digest: None,
    )
    check(
        draft,
        only("blobs.digests", Reason.BLOB_DIGEST_MISMATCH),
        blobs=lambda _digest: stored[:-1] + b"x",
    )


def test_external_blob_of_another_length_than_the_file_says_fails():
    draft = Draft()
    stored = external(draft, "res-1", size=7)
    check(draft, only("blobs.digests", Reason.BLOB_SIZE_MISMATCH), blobs=lambda _digest: stored)


def test_external_blob_above_the_limit_is_not_fetched():
    draft = Draft()
    external(draft, "res-1", size=1 << 40)

    def fetch(_digest):
        raise AssertionError

    check(draft, only("artifacts.accounted", Reason.ARTIFACT_EXTERNAL_UNAVAILABLE), blobs=fetch)


# --- 5 blobs.derived -------------------------------------------------------------------------


def test_derivation_that_does_not_work_fails():
    draft = Draft()
    draft.artifact("quote-1")["origin"]["steps"] = ["select:/absent", "hex"]
    check(draft, only("blobs.derived", Reason.DERIVED_STEP_FAILED))


@pytest.mark.parametrize("member", ["digest", "size", "sha512"])
def test_derived_bytes_that_are_others_than_signed_fail(member):
    draft = Draft()
    entry = draft.artifact("quote-1")
    entry[member] = {"digest": digest(b"other"), "size": 9, "sha512": "0" * 128}[member]
    resubject(draft)
    check(draft, only("blobs.derived", Reason.DERIVED_DIGEST_MISMATCH))


def test_materialised_bytes_that_the_source_does_not_hold_fail():
    draft = Draft()
    draft.restore("quote-1", b"12345678")
    check(draft, only("blobs.derived", Reason.DERIVED_DIGEST_MISMATCH))


def test_several_artifacts_follow_from_one_source():
    draft = Draft()
    draft.add(derived("quote-2", "att-1"))
    assert check(draft, {})["blobs.derived"].fact.body("quote-2") == QUOTE


def test_derivation_from_a_derived_artifact_passes():
    draft = Draft()
    draft.add(derived("quote-2", "quote-1", steps=("span:",)))
    found = outcomes(draft)
    assert said(found) == only("blobs.derived", Reason.DERIVED_STEP_FAILED)
    inner = json.dumps({"a": {"b": "00ff"}}).encode()
    answer = json.dumps({"inner": inner.decode()}).encode()
    draft = Draft()
    draft.restore("att-1", answer)
    draft.predicate["artifacts"][1] = derived("quote-1", "att-1", inner, ["select:/inner", "text"])
    draft.add(derived("quote-2", "quote-1", b"\x00\xff", ["select:/a/b", "hex"]))
    found = check(draft, {})
    assert found["blobs.derived"].fact.body("quote-2") == b"\x00\xff"


# --- 6 attachments.form ----------------------------------------------------------------------


def test_attachment_of_an_accepted_signer_counts():
    draft = Draft()
    attachment_id = declare(draft)
    rules = policy(attachments={"require": ("declaration",)})
    found = check(draft, {}, rules=rules)["attachments.form"].fact
    (accepted,) = found.accepted
    assert (accepted.id, accepted.kind, accepted.signer) == (attachment_id, "declaration", "dpo")
    assert accepted.evidence.body("note-1") == b"a note"
    assert accepted.evidence.document("note-1") == "attachment:0/artifact:note-1"
    assert found.of_kind("declaration") == (accepted,)
    assert found.of_kind("custody") == ()


def test_attachment_with_a_bad_signature_fails():
    draft = Draft()
    declare(draft)
    draft.attachments[0]["statement"]["signatures"][0]["sig"] = base64.b64encode(bytes(64)).decode()
    found = check(draft, only("attachments.form", Reason.ATTACHMENT_SIGNATURE_INVALID))
    assert found["attachments.form"].findings[0].pointer.document == "bundle"


@pytest.mark.parametrize(
    "subject",
    [
        {"name": "bundle", "digest": {"sha256": "0" * 64}},
        {"name": "bundles", "digest": {"sha256": Draft().bundle_id[7:]}},
    ],
)
def test_attachment_about_another_bundle_fails(subject):
    draft = Draft()
    entry = note_artifact()
    declare(draft, change={"subject": [subject, *subjects([entry])]})
    check(draft, only("attachments.form", Reason.ATTACHMENT_SUBJECT_MISMATCH))


def wrong_subject(draft):
    about = {"name": "bundle", "digest": {"sha256": draft.bundle_id[7:]}}
    declare(draft, change={"subject": [about]})


def wrong_size(draft):
    declare(draft, entry={**note_artifact(), "size": 99})


def wrong_text(draft):
    declare(draft, predicate={"text": "nothing"})


def wrong_framing(draft):
    entry = {**note_artifact(), "role": "tdx.quote", "framing": "salt32"}
    declare(draft, entry=entry)


def wrong_seq(draft):
    declare(draft, exchanges=[exchange(1, "other", 1), exchange(1, "other", 2)])


def wrong_device(draft, devices=("gpu-9",)):
    entries = [note_artifact(b"%d" % n, f"n-{n}") for n in range(3)]
    draft.attach(
        "nras-result",
        {
            "service": "https://nras.example/v4",
            "claims": "3.0",
            "consent": True,
            "devices": list(devices),
            "request": "n-0",
            "answer": "n-1",
            "jwks": "n-2",
        },
        artifacts=entries,
        stored=[b"0", b"1", b"2"],
    )


def wrong_among_right_devices(draft):
    wrong_device(draft, devices=["quote-1", "gpu-9"])


def wrong_derivation(draft):
    source = note_artifact(b'{"a":"00"}', "src-1")
    entry = {
        **note_artifact(b"\x01"),
        "origin": {"artifact": "src-1", "steps": ["select:/a", "hex"]},
    }
    draft.attach(
        "declaration",
        {"kind": "note", "text": "note-1"},
        artifacts=[source, entry],
        stored=[b'{"a":"00"}'],
    )


@pytest.mark.parametrize(
    "change",
    [
        wrong_subject,
        wrong_size,
        wrong_text,
        wrong_framing,
        wrong_seq,
        wrong_device,
        wrong_among_right_devices,
        wrong_derivation,
    ],
)
def test_attachment_that_contradicts_itself_fails(change):
    check(changed(change), only("attachments.form", Reason.ATTACHMENT_ARTIFACT_MISMATCH))


def test_attachment_that_a_policy_demands_and_is_not_there_blocks():
    rules = policy(attachments={"require": ("verdict", "declaration")})
    draft = Draft()
    declare(draft)
    check(draft, only("attachments.form", Reason.ATTACHMENT_REQUIRED_MISSING), rules=rules)


def test_attachment_of_an_unknown_signer_meets_no_demand():
    rules = policy(attachments={"require": ("declaration",)})
    draft = Draft()
    declare(draft, signer=OTHER)
    check(draft, only("attachments.form", Reason.ATTACHMENT_REQUIRED_MISSING), rules=rules)


def test_attachment_of_a_bundle_signer_is_ignored():
    draft = Draft()
    declare(draft, signer=SIGNER)
    assert "attachment.unknown_signer_ignored" in noted(check(draft, {}))


def test_attachment_of_a_higher_minor_version_blocks():
    draft = Draft()
    declare(draft, predicate={"schema": "1.3"})
    check(draft, only("attachments.form", Reason.STATEMENT_MINOR_UNSUPPORTED))


def test_attachment_with_an_unknown_critical_extension_blocks():
    draft = Draft()
    declare(draft, predicate={"critical": ["urn:example:x"], "extensions": {"urn:example:x": 1}})
    found = check(draft, only("attachments.form", Reason.STATEMENT_CRITICAL_UNKNOWN))
    assert "statement.extension_ignored" in noted(found)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"predicateType": "urn:teebundle:attachment:declaration:v2"}, "input.version"),
        ({"predicateType": "urn:teebundle:attachment:novelty:v1"}, "input.schema"),
    ],
)
def test_attachment_of_an_accepted_signer_that_cannot_be_used_ends_the_verification(change, code):
    draft = Draft()
    declare(draft, change=change)
    with pytest.raises(MalformedInput) as caught:
        outcomes(draft)
    assert caught.value.code == code
    assert caught.value.pointer.startswith("attachment:0#")


@pytest.mark.parametrize(
    ("kind", "members"),
    [
        ("declaration", {"kind": "note", "text": "note-1", "at": "2026-02-30T00:00:00.000Z"}),
        ("retention", {"action": "hold", "until": "2026-02-30T00:00:00.000Z"}),
        (
            "verdict",
            {
                "report": "note-1",
                "verdict": "VERIFIED",
                "policySha256": "0" * 64,
                "trustSha256": "0" * 64,
                "asOf": "2026-02-30T00:00:00.000Z",
            },
        ),
    ],
)
def test_attachment_with_a_time_no_calendar_has_ends_the_verification(kind, members):
    draft = Draft()
    draft.attach(kind, members)
    with pytest.raises(MalformedInput):
        outcomes(draft)


def test_attachment_artifact_without_bytes_has_a_state():
    draft = Draft()
    declare(draft, stored=[])
    (accepted,) = check(draft, {})["attachments.form"].fact.accepted
    assert accepted.evidence.states["note-1"] is ArtifactState.MISSING


@pytest.mark.parametrize(
    ("kind", "members"),
    [
        ("retention", {"action": "extend", "until": None}),
        ("retention", {"action": "hold", "until": "2030-01-01T00:00:00.000Z"}),
        ("collateral", {"replaces": "appraisal", "note": "newer"}),
        ("countersignature", {"role": "witness", "covers": ["sha256:" + "0" * 64]}),
    ],
)
def test_attachment_of_every_other_kind_is_read(kind, members):
    draft = Draft()
    draft.attach(kind, members)
    (accepted,) = check(draft, {})["attachments.form"].fact.accepted
    assert accepted.kind == kind


# --- 7 custody.chain -------------------------------------------------------------------------


def custody(draft, sequence, previous, action="transfer"):
    return draft.attach(
        "custody",
        {"sequence": sequence, "previous": previous, "action": action, "file": None},
    )


DEMANDED = {"require_custody_chain": True}


def test_custody_in_one_unbroken_chain_passes_in_any_file_order():
    draft = Draft()
    first = custody(draft, 1, None, "capture")
    second = custody(draft, 2, first)
    custody(draft, 3, second, "store")
    rules = policy(attachments=DEMANDED)
    found = check(draft, {}, rules=rules)
    draft.attachments.reverse()
    again = check(draft, {}, rules=rules)
    assert found["custody.chain"].fact == again["custody.chain"].fact


def test_custody_that_nobody_declared_blocks_only_where_it_is_demanded():
    check(Draft(), {})
    rules = policy(attachments=DEMANDED)
    check(Draft(), only("custody.chain", Reason.CUSTODY_MISSING), rules=rules)


@pytest.mark.parametrize(
    "events",
    [
        [(2, None)],
        [(1, "sha256:" + "0" * 64)],
        [(1, None), (3, 0)],
        [(1, None), (1, None)],
        [(1, None), (2, None)],
        [(1, None), (2, 0), (3, 0)],
        [(1, None), (2, 0), (2, 0)],
    ],
)
def test_custody_with_a_gap_or_a_fork_fails(events):
    draft = Draft()
    ids = []
    for sequence, previous in events:
        named = ids[previous] if isinstance(previous, int) else previous
        ids.append(custody(draft, sequence, named))
    check(draft, only("custody.chain", Reason.CUSTODY_BROKEN))


# --- 8 artifacts.accounted -------------------------------------------------------------------


def withheld(*, declared=True, signed=True, **removed):
    draft = Draft()
    entry = draft.artifact("res-1")
    attachment = None
    if signed:
        item = {"artifact": "res-1", "digest": entry["digest"], "reason": "confidential"}
        attachment = draft.attach(
            "redaction",
            {"profile": "response", "removed": [{**item, **removed}], "materialised": []},
        )
    if declared:
        draft.redactions.append(
            {"artifact": "res-1", "reason": "confidential", "attachment": attachment}
        )
    del draft.stored["res-1"]
    return draft


TOLERANT = ("http.response.body",)


def test_artifact_that_is_gone_blocks():
    draft = withheld(declared=False, signed=False)
    found = check(draft, only("artifacts.accounted", Reason.ARTIFACT_MISSING))
    assert found["blobs.derived"].fact.states["res-1"] is ArtifactState.MISSING
    check(
        draft,
        only("artifacts.accounted", Reason.ARTIFACT_MISSING),
        rules=policy(tolerate=TOLERANT),
    )


def test_artifact_that_is_withheld_blocks_unless_its_role_is_tolerated():
    draft = withheld()
    found = check(draft, only("artifacts.accounted", Reason.ARTIFACT_WITHHELD))
    assert found["artifacts.accounted"].findings[0].got == "withheld: confidential"
    check(draft, {}, rules=policy(tolerate=TOLERANT))


def test_artifact_that_is_external_blocks_unless_its_role_is_tolerated():
    draft = Draft()
    external(draft, "res-1")
    check(draft, only("artifacts.accounted", Reason.ARTIFACT_EXTERNAL_UNAVAILABLE))
    check(draft, {}, rules=policy(tolerate=TOLERANT))


def test_redaction_that_nobody_signed_blocks_where_signatures_are_demanded():
    draft = withheld(signed=False)
    unsigned = only("artifacts.accounted", Reason.REDACTION_UNSIGNED)
    check(draft, unsigned, rules=policy(tolerate=TOLERANT))
    check(draft, {}, rules=policy(tolerate=TOLERANT, require_signed=False))


def test_redaction_that_names_another_record_is_unsigned():
    draft = withheld()
    draft.redactions[0]["attachment"] = "sha256:" + "0" * 64
    unsigned = only("artifacts.accounted", Reason.REDACTION_UNSIGNED)
    check(draft, unsigned, rules=policy(tolerate=TOLERANT))
    draft.redactions[0]["attachment"] = None
    check(draft, {}, rules=policy(tolerate=TOLERANT))


def test_redaction_of_another_digest_is_contradicted():
    draft = withheld(digest="sha256:" + "0" * 64)
    check(
        draft,
        only("artifacts.accounted", Reason.REDACTION_CONTRADICTED),
        rules=policy(tolerate=TOLERANT),
    )


@pytest.mark.parametrize("artifact_id", ["att-1", "quote-1", "nothing"])
def test_redaction_of_what_is_there_or_never_was_is_contradicted(artifact_id):
    draft = Draft(redactions=[{"artifact": artifact_id, "reason": "other", "attachment": None}])
    check(draft, only("artifacts.accounted", Reason.REDACTION_CONTRADICTED))


def test_signed_redaction_of_what_is_there_is_contradicted():
    draft = withheld()
    draft.stored["res-1"] = salted("res-1", RESPONSE)
    draft.redactions.clear()
    check(draft, only("artifacts.accounted", Reason.REDACTION_CONTRADICTED))


def test_derived_artifact_withheld_with_its_source_is_accounted():
    draft = Draft()
    for artifact_id in ("att-1", "quote-1"):
        draft.redactions.append({"artifact": artifact_id, "reason": "legal", "attachment": None})
    del draft.stored["att-1"]
    check(
        draft,
        {},
        rules=policy(tolerate=("provider.attestation", "tdx.quote"), require_signed=False),
    )
    draft.redactions.pop()
    check(
        draft,
        only("artifacts.accounted", Reason.ARTIFACT_MISSING),
        rules=policy(tolerate=("provider.attestation", "tdx.quote"), require_signed=False),
    )


# --- completeness ----------------------------------------------------------------------------


def test_every_code_of_the_container_rows_was_triggered():
    """Each code stands in a test above, which asserts that it is the only one given."""
    source = Path(__file__).read_text(encoding="utf-8")
    for name in [name for name in REASONS if name not in ("session.nonces", "marker.binding")]:
        for reason in REASONS[name]:
            assert f"Reason.{reason.name}" in source or f'"{reason.code}"' in source, reason


def test_every_code_list_has_the_classes_of_its_row():
    for name, reasons in REASONS.items():
        assert reasons, name
        for reason in reasons:
            assert reason.kind in (ReasonClass.REJECT, ReasonClass.ABSENT, ReasonClass.NOTE)
