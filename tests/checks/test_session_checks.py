from __future__ import annotations

import base64
import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bundle.assemble import Assembly
from fixtures import chat_sim, dstack_sim, sessions
from fixtures.intel_pki import sgx_world
from tests.checks.session_case import World, codes, notes, only, policy
from verify.checks.subjects import listed
from verify.checks.tdx import VerifiedQuotes
from verify.engine.outcome import Status
from verify.families.identity import AuthenticReports, RecognisedAnswers
from verify.intel.quote import parse_quote


def near(**changes):
    node = changes.pop("node", None) or sessions.model_node(
        count=1, host="model.example.test", signer=changes.pop("signer", None)
    )
    return sessions.Session(
        profile="near-direct", node=node, rims=False, revocation=False, **changes
    )


def world(subject=None, **changes):
    subject = subject or near()
    changes.setdefault("profile", subject.profile)
    return World(subject.exchanges(), subject.nonces, **changes)


def gateway(**changes):
    return sessions.Session(
        profile="near-gateway",
        node=sessions.model_node(count=2, signer=chat_sim.ecdsa_signer("model signer")),
        gateway=sessions.gateway_node(),
        rims=False,
        revocation=False,
        **changes,
    )


def test_a_complete_session_passes_every_check_of_the_layer():
    for subject in (near(), near(signer=chat_sim.ed25519_signer("model")), gateway()):
        case = world(subject).bound().upto("report_data")
        for name in ("evidence_inventory", "nonce_in_quote", "public_key", "tls_channel"):
            assert case.run(name).status is Status.PASS, (name, case.outcomes[name])
        only(case.run("document"), Status.BLOCKED, "family.no_object")
        only(case.run("gpu_evidence"), Status.BLOCKED, "family.no_object")
        identities = case.found["binding.report_data"]
        assert len(identities) == (4 if subject.gateway else 2)
        assert {i.nonce for i in identities} == {value for value, _ in subject.nonces}
        assert notes(case.outcomes["shape_recognised"]) == ["binding.gpu_linked_by_nonce_only"] * 2


# --- row 16 ----------------------------------------------------------------------------------


def edited(exchanges, purpose, index=0, **changes):
    places = [n for n, e in enumerate(exchanges) if e.purpose == purpose]
    out = list(exchanges)
    out[places[index]] = replace(out[places[index]], **changes)
    return out


def recorded(exchanges, nonces=(), **changes):
    return World(exchanges, nonces, **changes).run("exchange_recorded")


ALL = near().exchanges()
ONE = near(attest_after=False).exchanges()


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"status": 302}, Status.FAIL, "exchange.redirected"),
        ({"complete": False}, Status.FAIL, "exchange.truncated"),
        ({"status": 500}, Status.BLOCKED, "exchange.attestation_missing"),
        ({"status": None, "response_body": None}, Status.BLOCKED, "exchange.attestation_missing"),
        ({"response_body": None}, Status.BLOCKED, "exchange.attestation_missing"),
    ],
)
def test_attestation_without_a_usable_answer_has_its_code(changes, status, code):
    only(recorded(edited(ONE, "attestation", **changes)), status, code)


def test_a_failed_try_beside_a_good_one_is_no_fault():
    first = replace(ALL[0], status=503, response_body=b"busy")
    assert recorded([first, *ALL]).status is Status.PASS


def test_evidence_taken_from_a_failure_is_unexpected():
    def as_failure(predicate):
        predicate["exchanges"][0]["response"]["status"] = 500

    only(recorded(ALL, edit=as_failure), Status.FAIL, "exchange.status_unexpected")


def test_evidence_taken_from_a_redirect_is_refused_beside_a_good_answer():
    def as_redirect(predicate):
        predicate["exchanges"][0]["response"]["status"] = 307

    only(recorded(ALL, edit=as_redirect), Status.FAIL, "exchange.redirected")


def test_no_attestation_at_all_is_missing():
    found = recorded([e for e in ALL if e.purpose != "attestation"])
    only(found, Status.BLOCKED, "exchange.attestation_missing")


def test_a_plain_http_provider_is_insecure_outside_loopback():
    plain = edited(ALL, "attestation", url=ALL[0].url.replace("https:", "http:"))
    only(recorded(plain), Status.FAIL, "exchange.scheme_insecure")
    for host in ("127.0.0.1:8080", "localhost", "[::1]:81"):
        local = edited(ALL, "attestation", url=f"http://{host}/v1/attestation/report?nonce=00")
        assert recorded(local).status is Status.PASS
    mixed = edited(ALL, "collateral", url="http://pcs.example.test/tcb")
    assert recorded(mixed).status is Status.PASS


def test_a_compressed_answer_cannot_be_judged_in_a_live_capture():
    coded = edited(ALL, "attestation", response_headers=(("Content-Encoding", "gzip"),))
    only(recorded(coded), Status.BLOCKED, "exchange.content_encoded")
    assert recorded(coded, mode="import").status is Status.PASS
    plain = edited(ALL, "attestation", response_headers=(("content-encoding", "identity"),))
    assert recorded(plain).status is Status.PASS


def test_an_answer_without_recorded_headers_says_nothing_of_encoding():
    bare = edited(ALL, "attestation", response_headers=None)
    assert recorded(bare).status is Status.PASS


def test_header_documents_that_cannot_be_read_say_nothing_of_encoding():
    case = World(ALL)
    first = case.statement.exchanges[0].response.headers
    case.bodies[first] = b"{}"
    assert case.run("exchange_recorded").status is Status.PASS
    del case.bodies[first]
    assert case.run("exchange_recorded").status is Status.PASS


def test_a_session_without_chat_or_signature_is_missing_them_where_wanted():
    bare = [e for e in ALL if e.purpose not in ("chat", "signature")]
    found = recorded(bare)
    assert codes(found) == ["exchange.chat_missing", "exchange.signature_missing"]
    assert found.status is Status.BLOCKED
    excluded = {"content": "excluded", "signature": "if_present"}
    assert recorded(bare, modes=excluded).status is Status.PASS


def test_a_chat_that_failed_is_unexpected_unless_another_was_answered():
    only(recorded(edited(ALL, "chat", status=502)), Status.FAIL, "exchange.status_unexpected")
    chat = next(e for e in ALL if e.purpose == "chat")
    lost = replace(chat, status=None, response_body=None)
    at = ALL.index(chat)
    assert recorded([*ALL[:at], lost, *ALL[at:]]).status is Status.PASS


def test_a_signature_before_the_chat_violates_the_order():
    chat = next(e for e in ALL if e.purpose == "chat")
    signature = next(e for e in ALL if e.purpose == "signature")
    rest = [e for e in ALL if e not in (chat, signature)]
    swapped = [*rest[:1], signature, chat, *rest[1:]]
    only(recorded(swapped), Status.FAIL, "exchange.order_violated")


def test_a_chat_before_every_attestation_violates_the_order_unless_allowed():
    late = [e for e in ALL[1:] if e.purpose != "attestation"] + [ALL[0]]
    only(recorded(late), Status.FAIL, "exchange.order_violated")
    assert recorded(late, allow_attest_after_chat=True).status is Status.PASS


def test_a_chat_in_a_session_without_attestation_violates_the_order():
    other = edited(edited(ALL, "chat", session="s2"), "signature", session="s2")
    only(recorded(other, allow_attest_after_chat=True), Status.FAIL, "exchange.order_violated")


def test_an_interrupted_capture_is_noted():
    assert notes(recorded(ALL, complete=False)) == ["session.capture_incomplete"]


# --- row 17 ----------------------------------------------------------------------------------


def answered(body, **changes):
    exchanges = edited(ONE, "attestation", response_body=body)
    case = World(exchanges, **changes).upto("exchange_recorded")
    return case.run("shape_recognised")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"<html>", "exchange.body_not_json"),
        (b'{"nonce":1,"nonce":2}', "exchange.json_duplicate_member"),
        (b"[" * 100, "exchange.over_limit"),
        (b'{"error":"no"}', "exchange.error_body"),
        (b'{"other":1}', "shape.unknown"),
        (b'{"gateway_attestation":{},"attestation_document":""}', "shape.ambiguous"),
        (b'{"intel_quote":"","signing_address":""}', "shape.field_missing"),
        (b'{"intel_quote":"","signing_address":"","signing_algo":1}', "shape.field_type"),
        (b'{"attestation_document":""}', "shape.family_not_allowed"),
    ],
)
def test_an_answer_that_is_not_of_one_family_has_its_code(body, code):
    only(answered(body), Status.FAIL, code)


def changed(**members):
    report = json.loads(ONE[0].response_body)
    report.update(members)
    return answered(json.dumps(report).encode())


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"request_nonce": "zz"}, "shape.encoding_invalid"),
        ({"request_nonce": "00"}, "shape.length_invalid"),
        ({"all_attestations": []}, "shape.list_empty"),
        ({"all_attestations": [{"request_nonce": "00" * 32}]}, "shape.field_missing"),
        ({"quote": "00"}, "shape.duplicate_disagrees"),
        ({"intel_quote": "error: no device"}, "shape.error_text_in_evidence"),
    ],
)
def test_a_report_object_that_is_damaged_has_its_code(members, code):
    only(changed(**members), Status.FAIL, code)


def test_a_copy_that_differs_disagrees():
    report = json.loads(ONE[0].response_body)
    copy = {**report, "request_nonce": "00" * 32}
    only(changed(all_attestations=[copy]), Status.FAIL, "shape.duplicate_disagrees")


def test_a_shape_outside_the_policy_or_the_profile_is_not_allowed():
    body = ONE[0].response_body
    only(answered(body, shapes=("aci",)), Status.FAIL, "shape.family_not_allowed")
    found = answered(body, profile="near-gateway")
    only(found, Status.FAIL, "shape.family_not_allowed")
    assert answered(body, profile="hardware-only").status is Status.PASS


def test_an_allowed_family_without_a_reader_is_not_judged():
    found = answered(b'{"attestation_document":""}', shapes=("nitro",), profile="nitro")
    only(found, Status.BLOCKED, "shape.family_not_judged")


def test_three_text_answers_are_recognised_and_not_judged():
    texts = [
        replace(
            ONE[0],
            url=f"https://vm.example.test/{name}",
            response_body=b"text",
            response_headers=(("Content-Type", "text/plain"),),
        )
        for name in ("cpu", "gpu", "docker-compose")
    ]
    rest = [e for e in ONE if e.purpose != "attestation"]
    case = World([*texts, *rest]).upto("exchange_recorded")
    only(case.run("shape_recognised"), Status.FAIL, "shape.family_not_allowed")
    case.policy = policy(shapes=("secretvm",))
    only(case.run("shape_recognised"), Status.BLOCKED, "shape.family_not_judged")


def test_a_withheld_answer_blocks_with_its_state():
    case = World(ONE).upto("exchange_recorded")
    del case.bodies["att-1"]
    only(case.run("shape_recognised"), Status.BLOCKED, "artifact.withheld")


def test_a_verdict_of_the_service_is_noted():
    found = changed(verified=True, server_verification={"tdx": True})
    assert notes(found).count("provider.verdict_ignored") == 2
    assert found.status is Status.PASS


# --- row 18 ----------------------------------------------------------------------------------


def inventory(edit=None, **changes):
    case = world(edit=edit, **changes)
    return case.upto("exchange_recorded", "shape_recognised").run("evidence_inventory")


def test_a_device_left_out_of_the_list_is_found():
    def drop(predicate):
        gone = [a for a in predicate["artifacts"] if a["id"] == "gpu-1"]
        predicate["artifacts"].remove(gone[0])
        predicate["bindings"] = []

    found = only(inventory(drop), Status.FAIL, "evidence.unlisted")
    assert str(found.findings[0].pointer).startswith("artifact:att-1#")


def again(predicate, **changes):
    first = next(a for a in predicate["artifacts"] if a["id"] == "quote-1")
    predicate["artifacts"].append({**first, "id": "quote-9", **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"origin": {"local": "from my disk"}},
        {"origin": {"artifact": "att-1", "steps": ["select:/quote", "hex"]}},
    ],
)
def test_evidence_that_no_answer_holds_is_found(changes):
    def add(predicate):
        again(predicate, **changes)

    body = world().bodies["quote-1"]
    exchanges = near().exchanges()
    case = WithExtraQuote(exchanges, add, body)
    found = case.upto("exchange_recorded", "shape_recognised").run("evidence_inventory")
    only(found, Status.FAIL, "evidence.not_in_answer")


class WithExtraQuote(World):
    def __init__(self, exchanges, edit, body):
        self._extra = body
        original = Assembly.body

        def body_of(assembly, artifact_id):
            return self._extra if artifact_id == "quote-9" else original(assembly, artifact_id)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Assembly, "body", body_of)
            super().__init__(exchanges, near().nonces, edit=edit)


def test_an_answer_that_no_exchange_delivered_has_no_source():
    def detach(predicate):
        last = [e for e in predicate["exchanges"] if e["purpose"] == "attestation"][-1]
        last["response"]["body"] = None

    found = inventory(detach)
    assert found.status is Status.FAIL
    assert "evidence.source_unavailable" in codes(found)


def test_an_answer_under_another_purpose_is_not_passed_over():
    def relabel(predicate):
        last = [e for e in predicate["exchanges"] if e["purpose"] == "attestation"][-1]
        last["purpose"] = "other"
        body = last["response"]["body"]
        derived = {a["id"] for a in predicate["artifacts"] if a["origin"].get("artifact") == body}
        predicate["artifacts"] = [a for a in predicate["artifacts"] if a["id"] not in derived]
        predicate["bindings"] = []

    only(inventory(relabel), Status.BLOCKED, "evidence.source_unavailable")


def test_evidence_of_an_excluded_subject_is_not_judged():
    found = inventory(modes={"gpu": "excluded", "nitro": "excluded", "tdx": "required"})
    only(found, Status.BLOCKED, "evidence.not_judged")
    found = inventory(modes={"content": "excluded", "legacy": "excluded"})
    only(found, Status.BLOCKED, "evidence.not_judged")


def test_fewer_cpu_items_than_wanted_is_a_mismatch():
    only(inventory(cpu_min=3), Status.FAIL, "evidence.count_mismatch")


def test_an_empty_inventory_is_absent():
    case = world().upto("exchange_recorded")
    case.found["shape.recognised"] = RecognisedAnswers(answers=())
    exchanges = [replace(e, response_body=b"{}") for e in ONE if e.purpose == "attestation"]
    empty = World(exchanges, cpu_min=0)
    empty.found["shape.recognised"] = RecognisedAnswers(answers=())
    only(empty.run("evidence_inventory"), Status.BLOCKED, "evidence.absent")


# --- row 47 ----------------------------------------------------------------------------------


def test_a_quote_that_nobody_authenticated_is_absent():
    case = world()
    quotes = case.quotes()
    half = VerifiedQuotes(quotes={"quote-1": quotes.quotes["quote-1"]})
    found = case.run("cpu_authentic", **{"tdx.quote.signature": half})
    only(found, Status.BLOCKED, "evidence.absent")
    only(
        case.run("cpu_authentic", **{"tdx.quote.signature": None}),
        Status.BLOCKED,
        "evidence.absent",
    )


def test_a_bundle_without_cpu_items_is_absent():
    case = World([e for e in ALL if e.purpose != "attestation"])
    found = case.run("cpu_authentic", **{"tdx.quote.signature": case.quotes()})
    only(found, Status.BLOCKED, "evidence.absent")


def test_an_sgx_quote_is_named_by_its_enclave():
    case = world()
    body = parse_quote(sgx_world().quote).body
    both = {name: SimpleNamespace(body=body) for name in case.quotes().quotes}
    found = case.run("cpu_authentic", **{"tdx.quote.signature": VerifiedQuotes(quotes=both)})
    assert {report.kind for report in found.fact.reports.values()} == {"sgx"}
    assert {len(report.code) for report in found.fact.reports.values()} == {2}


# --- row 48 ----------------------------------------------------------------------------------

FOREIGN = chat_sim.seed("another nonce")


def test_another_bound_nonce_is_rejected_and_its_echo_proves_nothing():
    case = world(near(foreign_nonce=FOREIGN)).bound()
    found = case.run("nonce_in_quote")
    only(found, Status.FAIL, "binding.nonce_not_in_report_data")
    assert notes(found) == ["freshness.echo_only", "freshness.echo_only"]
    assert str(found.findings[0].pointer) == "artifact:att-1#"
    assert found.findings[0].got == FOREIGN.hex()


def test_another_bound_nonce_is_a_note_where_the_policy_accepts_it():
    case = world(near(foreign_nonce=FOREIGN), allow_foreign_nonce=True).bound()
    found = case.run("nonce_in_quote")
    assert found.status is Status.PASS
    assert notes(found).count("nonce.foreign_accepted") == 2
    assert "may be old" in found.notes[0].text


def test_an_echo_of_another_value_is_noted():
    case = world(near(extra_members={"nonce": "00" * 32})).bound()
    found = case.run("nonce_in_quote")
    assert found.status is Status.PASS
    assert set(notes(found)) == {"freshness.echo_mismatch"}


def test_a_right_echo_is_not_worth_a_note():
    value = near().nonces[0][0].hex()
    case = world(near(extra_members={"nonce": value}, attest_after=False)).bound()
    assert notes(case.run("nonce_in_quote")) == []


def test_a_lying_request_nonce_is_rejected():
    def lie(members):
        return {**members, "request_nonce": "00" * 32}

    case = world(near(members=lie)).bound()
    only(case.run("nonce_in_quote"), Status.FAIL, "freshness.request_nonce_mismatch")


def test_a_quote_without_a_declared_nonce_is_undeclared():
    def undeclare(predicate):
        predicate["bindings"] = [
            b for b in predicate["bindings"] if b["type"] != "nonce-in-evidence"
        ]

    only(world(edit=undeclare).bound().run("nonce_in_quote"), Status.BLOCKED, "binding.undeclared")


def test_a_request_without_nonce_was_never_fresh():
    def unsend(predicate):
        for exchange in predicate["exchanges"]:
            if exchange["purpose"] == "attestation":
                exchange["request"]["url"] = exchange["request"]["url"].replace("nonce=", "n=")

    only(
        world(edit=unsend).bound().run("nonce_in_quote"), Status.BLOCKED, "freshness.nonce_not_sent"
    )

    def none(predicate):
        for nonce in predicate["session"]["nonces"]:
            nonce |= {"sentAs": "none", "derivation": "foreign", "random": None}

    only(world(edit=none).bound().run("nonce_in_quote"), Status.BLOCKED, "freshness.nonce_not_sent")


def test_one_nonce_in_two_requests_is_reused():
    one = near()
    exchanges = list(one.exchanges())
    case = World([exchanges[0], *exchanges], one.nonces).bound()
    only(case.run("nonce_in_quote"), Status.FAIL, "freshness.nonce_reused")


def without_quotes(case, name):
    case.found["cpu.authentic"] = AuthenticReports(reports={})
    return case.run(name)


def test_report_objects_without_an_authentic_quote_are_absent():
    for name in ("nonce_in_quote", "report_data", "document"):
        only(without_quotes(world().bound(), name), Status.BLOCKED, "evidence.absent")


def test_no_report_object_at_all_is_absent():
    case = world().bound()
    case.found["shape.recognised"] = RecognisedAnswers(answers=())
    only(case.run("nonce_in_quote"), Status.BLOCKED, "evidence.absent")
    only(case.run("report_data"), Status.BLOCKED, "evidence.absent")


# --- row 49 ----------------------------------------------------------------------------------


def ohttp(signer, *, config=b"config", signed=None):
    key = Ed25519PrivateKey.from_private_bytes(signer.secret)
    return {
        "ohttp_attestation": {
            "signing_algo": "ed25519",
            "signing_key": signer.identity.hex(),
            "key_config": config.hex(),
            "signature": key.sign(config if signed is None else signed).hex(),
        }
    }


def document(signer, members):
    node = sessions.model_node(count=0, host="model.example.test", signer=signer)
    case = world(near(node=node, extra_members=members)).bound()
    return case.run("document")


def test_a_key_configuration_of_the_attested_key_holds():
    signer = chat_sim.ed25519_signer("model")
    found = document(signer, ohttp(signer))
    assert found.status is Status.PASS
    assert found.matched == ("att-1/ohttp_attestation", "att-2/ohttp_attestation")


def test_a_key_configuration_with_a_wrong_signature_is_rejected():
    signer = chat_sim.ed25519_signer("model")
    found = document(signer, ohttp(signer, signed=b"other"))
    only(found, Status.FAIL, "binding.ohttp_signature_invalid")


def test_a_key_configuration_of_a_key_nobody_attests_is_no_object():
    stranger = chat_sim.ed25519_signer("stranger")
    for signer in (chat_sim.ecdsa_signer("model"), chat_sim.ed25519_signer("model")):
        only(document(signer, ohttp(stranger)), Status.BLOCKED, "family.no_object")


def test_an_identity_that_its_quote_does_not_bind_signs_no_document():
    signer = chat_sim.ed25519_signer("model")
    node = sessions.model_node(count=0, host="model.example.test", signer=signer)
    stranger = chat_sim.ed25519_signer("stranger")

    def other(members):
        return {
            **members,
            "signing_address": stranger.identity.hex(),
            "signing_public_key": stranger.identity.hex(),
            **ohttp(stranger),
        }

    case = world(near(node=node, members=other)).bound()
    only(case.run("document"), Status.BLOCKED, "family.no_object")


# --- row 50 ----------------------------------------------------------------------------------


def bound(members, **changes):
    case = world(near(members=lambda found: {**found, **members}), **changes).bound()
    return case.run("report_data")


def test_another_address_is_not_in_report_data():
    other = chat_sim.ecdsa_signer("other")
    found = bound({"signing_address": other.address, "signing_public_key": other.public_key})
    assert "binding.signing_address_not_in_report_data" in codes(found)
    assert found.status is Status.FAIL


def test_another_fingerprint_is_not_bound():
    only(
        bound({"tls_cert_fingerprint": "00" * 32}), Status.FAIL, "binding.tls_fingerprint_not_bound"
    )


def test_a_copy_of_report_data_that_differs_is_rejected():
    only(bound({"report_data": "00" * 64}), Status.FAIL, "binding.report_data_field_disagrees")


def test_a_quote_without_a_declared_key_is_undeclared_where_demanded():
    def undeclare(predicate):
        predicate["bindings"] = [b for b in predicate["bindings"] if b["type"] != "key-in-evidence"]

    case = world(edit=undeclare, bindings=("key-in-evidence",)).bound()
    only(case.run("report_data"), Status.BLOCKED, "binding.undeclared")
    assert world(edit=undeclare).bound().run("report_data").status is Status.PASS
    assert world(bindings=("key-in-evidence",)).bound().run("report_data").status is Status.PASS


def test_a_declared_key_of_another_report_is_false():
    def swap(predicate):
        keys = [b for b in predicate["bindings"] if b["type"] == "key-in-evidence"]
        gateway_key = next(b for b in keys if b["evidence"] == "quote-1")
        model_key = next(b for b in keys if b["evidence"] == "quote-2")
        gateway_key["key"], model_key["key"] = model_key["key"], gateway_key["key"]

    case = world(gateway(), edit=swap).bound()
    only(case.run("report_data"), Status.FAIL, "binding.signing_address_not_in_report_data")


def test_a_declared_key_spelled_elsewhere_is_the_same_key():
    def elsewhere(predicate):
        first = next(b for b in predicate["bindings"] if b["type"] == "key-in-evidence")
        first["key"] = "tls-certificate-1"

    case = world(edit=elsewhere).bound()
    only(case.run("report_data"), Status.FAIL, "binding.signing_address_not_in_report_data")
    case.bodies["tls-certificate-1"] = case.bodies["key-1"]
    assert case.run("report_data").status is Status.PASS


def test_one_address_with_two_codes_is_noted():
    node = sessions.model_node(count=0, host="model.example.test")
    other = replace(node, guest=dstack_sim.guest("other", compose=dstack_sim.compose_text("other")))
    before, after = near(node=node), near(node=other)
    exchanges = [*before.exchanges()[:-1], after.exchanges()[-1]]
    case = World(exchanges, before.nonces, modes={}).bound()
    found = case.run("report_data")
    assert found.status is Status.PASS
    assert notes(found) == ["identity.several_codes"]


def test_two_instances_of_one_code_are_one_code():
    node = sessions.model_node(count=0, host="model.example.test")
    other = replace(node, guest=dstack_sim.guest("other"))
    before, after = near(node=node), near(node=other)
    case = World([*before.exchanges()[:-1], after.exchanges()[-1]], before.nonces).bound()
    # the instance id is measured into RTMR3 alone
    assert notes(case.run("report_data")) == []


def test_where_nothing_names_the_application_its_register_counts():
    guests = [dstack_sim.guest(label, config_version=0) for label in ("model", "other")]
    nodes = [
        replace(sessions.model_node(count=0, host="model.example.test"), guest=guest)
        for guest in guests
    ]
    before, after = (near(node=node) for node in nodes)
    case = World([*before.exchanges()[:-1], after.exchanges()[-1]], before.nonces).bound()
    assert notes(case.run("report_data")) == ["identity.several_codes"]


# --- row 51 ----------------------------------------------------------------------------------


def keyed(members):
    subject = near(members=lambda found: {**found, **members})
    return world(subject).bound().upto("report_data").run("public_key")


def test_a_public_key_of_another_address_is_rejected():
    other = chat_sim.ecdsa_signer("other").public_key
    only(keyed({"signing_public_key": other}), Status.FAIL, "binding.public_key_not_of_address")


def test_reports_that_state_no_public_key_leave_nothing_to_compare():
    only(keyed({"signing_public_key": None}), Status.BLOCKED, "evidence.absent")


# --- row 52 ----------------------------------------------------------------------------------


def channel(subject=None, exchanges=None, **changes):
    subject = subject or near()
    case = World(
        subject.exchanges() if exchanges is None else exchanges,
        subject.nonces,
        **{"profile": subject.profile, **changes},
    )
    return case.bound().upto("report_data").run("tls_channel")


def test_a_report_without_fingerprint_leaves_the_channel_open():
    subject = near(node=sessions.model_node(count=0))
    only(channel(subject), Status.BLOCKED, "binding.tls_fingerprint_missing")


def test_a_proxied_profile_has_no_key_of_the_clients_channel():
    subject = near(node=sessions.model_node(count=0, host="model.example.test"))
    found = channel(subject, profile="nanogpt")
    only(found, Status.BLOCKED, "binding.tls_fingerprint_missing")


def test_a_peer_that_nobody_recorded_leaves_the_channel_open():
    exchanges = [replace(e, tls=None) for e in near().exchanges()]
    only(channel(exchanges=exchanges), Status.BLOCKED, "binding.tls_peer_not_recorded")


def other_peer():
    der = sessions.tls_certificate("other.example.test")
    return {"chain": (), "spki": sessions.spki_of(der)}


@pytest.mark.parametrize("purpose", ["attestation", "chat"])
def test_a_peer_with_another_key_is_a_mismatch(purpose):
    exchanges = [
        replace(e, tls=replace(e.tls, **other_peer()), connection="c2")
        if e.purpose == purpose
        else e
        for e in near().exchanges()
    ]
    only(channel(exchanges=exchanges), Status.FAIL, "binding.tls_peer_mismatch")


def test_a_chat_on_another_machine_whose_key_is_attested_is_accepted():
    exchanges = [
        replace(e, connection="c2") if e.purpose == "chat" else e for e in near().exchanges()
    ]
    assert channel(exchanges=exchanges).status is Status.PASS


def test_a_recorded_leaf_with_another_key_than_recorded_is_a_mismatch():
    der = sessions.tls_certificate("other.example.test")
    exchanges = [
        replace(e, tls=replace(e.tls, chain=(der,))) if e.tls else e for e in near().exchanges()
    ]
    only(channel(exchanges=exchanges), Status.FAIL, "binding.tls_peer_mismatch")


def test_a_withheld_leaf_leaves_the_recorded_digest():
    case = world().bound().upto("report_data")
    for artifact in case.statement.of_role("tls.certificate"):
        del case.bodies[artifact.id]
    assert case.run("tls_channel").status is Status.PASS


def test_the_gateways_certificate_must_have_the_bound_key():
    der = sessions.tls_certificate("other.example.test")
    text = base64.encodebytes(der).decode()
    pem = f"-----BEGIN CERTIFICATE-----\n{text}-----END CERTIFICATE-----\n"
    found = channel(gateway(extra_members={"tls_certificate": pem}))
    only(found, Status.FAIL, "binding.tls_certificate_mismatch")
    found = channel(gateway(extra_members={"tls_certificate": "no PEM"}))
    only(found, Status.FAIL, "shape.encoding_invalid")
    without = gateway(members=lambda m: {k: v for k, v in m.items() if k != "tls_certificate"})
    assert channel(without).status is Status.PASS


def test_an_undeclared_channel_is_undeclared_where_demanded():
    def undeclare(predicate):
        predicate["bindings"] = [b for b in predicate["bindings"] if b["type"] != "tls-in-evidence"]

    found = channel(edit=undeclare, bindings=("tls-in-evidence",))
    only(found, Status.BLOCKED, "binding.undeclared")
    assert channel(bindings=("tls-in-evidence",)).status is Status.PASS


def test_no_identity_of_the_clients_channel_is_missing_its_fingerprint():
    case = world(gateway()).bound().upto("report_data")
    case.found["binding.report_data"] = tuple(
        i for i in case.found["binding.report_data"] if i.role == "model"
    )
    only(case.run("tls_channel"), Status.BLOCKED, "binding.tls_fingerprint_missing")


def test_subjects_of_a_session_are_listed():
    statement = world().statement
    for subject in ("tdx", "event_log", "gpu", "tls", "content", "signature"):
        assert listed(subject, statement)
