"""Whole captures over simulated machines, sealed and judged with the shipped verifier."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cached_property

import pytest

from fixtures import aci_sim, chat_sim, goods, other_families, policies
from fixtures.default_policies import document_of
from fixtures.sessions import Session, model_node
from fixtures.verification import answer as verified
from tests.bundle.providers.playing import answer
from tests.bundle.providers.whole import Whole, asked, scene

JSON = (("Content-Type", "application/json"),)


class Near:
    """One machine with a key of each algorithm behind one host."""

    def __init__(self):
        node = model_node(count=1, host=goods.HOST)
        ed25519 = replace(node, signer=chat_sim.ed25519_signer("model signer"))
        config = Session(profile="near-direct", node=ed25519)._key_config(ed25519)

        def shared(members):
            return {**members, "ohttp_attestation": config}

        self.sessions = {
            name: Session(profile="near-direct", node=one, with_manager=True, members=shared)
            for name, one in (("ecdsa", node), ("ed25519", ed25519))
        }
        self.chat = None
        self.after = False
        self.script = {}

    def __call__(self, call):
        scripted = self.script.get(call.step)
        if scripted is not None:
            return scripted
        if call.purpose == "chat":
            self.chat = chat_sim.chat("near", request=call.body)
            return answer(self.chat.response, headers=(("Content-Type", "text/event-stream"),))
        session = self.sessions[asked(call, "signing_algo")]
        if call.purpose == "signature":
            body = chat_sim.signature_answer(session.node.signer, self.chat, model=self.chat.model)
            return answer(body, headers=JSON)
        nonce = bytes.fromhex(asked(call, "nonce"))
        return answer(session.answer(nonce), headers=JSON)


def near_capture(machine, **changes):
    stage = scene(f"https://{goods.HOST}", algorithms=("ecdsa", "ed25519"), **changes)
    session = machine.sessions["ecdsa"]
    return Whole("near-direct", machine, session=session, stage=stage).capture()


def near_policy(machine):
    return policies.session_document("near-direct", machine.sessions["ecdsa"])


def rejected(found):
    return {name: why for name, (status, why) in found.checks.items() if status == "FAIL"}


def test_both_algorithms_of_one_machine_are_attested_around_the_chat_and_verified():
    machine = Near()
    whole = near_capture(machine)
    found = verified(whole.case(near_policy(machine)))
    assert (found.verdict, rejected(found)) == ("VERIFIED", {})
    assembly = whole.assembly()
    around = [b for b in assembly._bindings if b["type"] == "attested-around"]
    covers = [b for b in assembly._bindings if b["type"] == "signature-covers"]
    assert len(around) == len(covers) == 2
    assert len({b["before"] for b in around}) == len({b["after"] for b in around}) == 2
    assert len({b["key"] for b in covers}) == 2
    nonces = [b["nonce"] for b in assembly._bindings if b["type"] == "nonce-in-evidence"]
    assert len(set(nonces)) == 4


def test_failed_tries_stand_in_the_bundle_and_disturb_nothing():
    machine = Near()
    refusal = b'{"error":{"message":"Chat id not found or expired","type":"not_found"}}'
    machine.script = {
        "attest-1.ecdsa": answer(b'{"detail":"busy"}', status=500),
        "attest-1.ecdsa/2": answer(trouble="timeout"),
        "attest-1.ed25519": answer(b"<html>", status=429, headers=(("Retry-After", "2"),)),
        "attest-2.ecdsa": answer(b'{"error":{"message":"not found on this server"}}', status=404),
        "signature.ecdsa": answer(refusal, status=404),
        "signature.ed25519": answer(b"", status=502),
    }
    whole = near_capture(machine)
    # the marker commits to a nonce of a try that came to nothing: it is one of ours all the same
    found = verified(whole.case(near_policy(machine)))
    assert (found.verdict, rejected(found)) == ("VERIFIED", {})
    tries = [exchange for exchange in whole.kept if exchange.purpose == "attestation"]
    assert len(tries) == 8
    assert [exchange.status for exchange in tries[:3]] == [500, None, 200]


def test_another_key_after_the_chat_is_on_record_and_judged():
    machine = Near()
    machine_after = Near()
    for name, session in machine_after.sessions.items():
        signer = getattr(chat_sim, f"{name}_signer")("another signer")
        node = replace(session.node, signer=signer)
        machine_after.sessions[name] = replace(session, node=node)
    elsewhere = answer(
        b'{"error":{"message":"Signing address not found on this server"}}', status=404
    )

    def respond(call):
        if call.step.startswith("attest-2"):
            return machine_after(call) if ".any" in call.step else elsewhere
        return machine(call)

    stage = scene(f"https://{goods.HOST}", algorithms=("ecdsa", "ed25519"))
    session = machine.sessions["ecdsa"]
    whole = Whole("near-direct", respond, session=session, stage=stage).capture()
    found = verified(whole.case(near_policy(machine)))
    assert found.verdict == "REJECTED"
    assert rejected(found)["identity.stability"] == "identity.changed"


def test_a_signature_that_nobody_has_leaves_the_verdict_open():
    machine = Near()
    missing = answer(chat_sim.UNAVAILABLE_404, status=404)

    def respond(call):
        return missing if call.purpose == "signature" else machine(call)

    stage = scene(f"https://{goods.HOST}", algorithms=("ecdsa", "ed25519"))
    session = machine.sessions["ecdsa"]
    whole = Whole("near-direct", respond, session=session, stage=stage).capture()
    found = verified(whole.case(near_policy(machine)))
    assert found.verdict == "INCOMPLETE"
    assert found.checks["signature.recovery"] == ("BLOCKED", "signature.unavailable")


# --- io.net ------------------------------------------------------------------------------------


class IoNet:
    """One machine whose signature comes along with the chat."""

    def __init__(self, change=None):
        self.session = other_families.enclave("ionet")
        self.change = change

    def __call__(self, call):
        if call.purpose == "attestation":
            assert call.method == "POST"
            nonce = bytes.fromhex(chat_nonce(call.body))
            return answer(self.session.answer(nonce), headers=JSON)
        streamed = b'"stream":true' in call.body
        chat = chat_sim.chat("ionet", request=call.body, dialect="ionet", stream=streamed)
        signer = self.session.node.signer
        if streamed:
            body, headers = chat_sim.with_signature_event(signer, chat), ()
        else:
            body, headers = chat.response, chat_sim.signature_headers(signer, chat)
        found = answer(body, headers=headers)
        return found if self.change is None else self.change(found)


def chat_nonce(body):
    return json.loads(body)["nonce"]


def ionet_policy():
    found = document_of("ionet")
    policies.believed(found)
    base = other_families.document("ionet")
    bound = found["tdx"]["fields"]["report_data"]
    found["tdx"] = base["tdx"]
    found["tdx"]["fields"]["report_data"] = bound
    found["gpu"]["driver"] = base["gpu"]["driver"]
    found["gpu"]["vbios"] = base["gpu"]["vbios"]
    return found


def ionet_capture(machine, *, stream=True, **changes):
    stage = scene("https://io.example.test/v1/private", **changes)
    return Whole("ionet", machine, session=machine.session, stage=stage, stream=stream).capture()


@pytest.mark.parametrize("stream", [True, False])
def test_a_signature_that_comes_along_is_bound_to_its_chat_and_verified(stream):
    whole = ionet_capture(IoNet(), stream=stream)
    found = verified(whole.case(ionet_policy()))
    assert (found.verdict, rejected(found)) == ("VERIFIED", {})
    assert found.checks["content.request"] == ("PASS", "")
    (covers,) = [b for b in whole.assembly()._bindings if b["type"] == "signature-covers"]
    assert covers["signature"].startswith("res-" if stream else "res-headers")


def test_a_signature_header_that_stands_twice_is_malformed():
    def doubled(found):
        return replace(found, response_headers=(*found.response_headers, ("Signature", "ab")))

    whole = ionet_capture(IoNet(doubled), stream=False)
    found = verified(whole.case(ionet_policy()))
    assert rejected(found)["signature.recovery"] == "signature.malformed"


def test_no_signature_along_with_the_chat_is_a_gap():
    def stripped(found):
        return replace(found, response_headers=JSON)

    whole = ionet_capture(IoNet(stripped), stream=False)
    found = verified(whole.case(ionet_policy()))
    assert found.verdict == "INCOMPLETE"
    assert not [b for b in whole.assembly()._bindings if b["type"] == "signature-covers"]


# --- chutes ------------------------------------------------------------------------------------


def test_instances_and_evidence_of_two_rounds_are_matched():
    enclave = other_families.enclave("chutes")

    def respond(call):
        if call.purpose == "model-list":
            listed = (
                b'{"data":[{"id":"test/model-7b","chute_id":"c-1","confidential_compute":true}]}'
            )
            return answer(listed, headers=JSON)
        if call.purpose == "key-config":
            if call.step == "instances-1":
                return answer(b'{"detail":"slow down"}', status=429, headers=JSON)
            return answer(enclave.instances(), headers=JSON)
        return answer(enclave.answer(bytes.fromhex(asked(call, "nonce"))), headers=JSON)

    stage = scene("https://chutes.example.test", algorithms=())
    whole = Whole("chutes", respond, session=enclave, stage=stage).capture(chat=False)
    found = verified(whole.case(other_families.document("chutes")))
    assert (found.verdict, rejected(found)) == ("VERIFIED", {})


# --- ACI, Tinfoil ------------------------------------------------------------------------------


def test_a_receipt_of_an_attested_service_verifies():
    said = {}

    class Now(aci_sim.Service):
        @cached_property
        def chat(self):
            return said["chat"]

    service = Now(profile="aci", node=aci_sim.node())

    def respond(call):
        if call.purpose == "attestation":
            return answer(service.answer(bytes.fromhex(asked(call, "nonce"))), headers=JSON)
        if call.purpose == "chat":
            said["chat"] = chat_sim.chat("aci", request=call.body)
            headers = (("Content-Type", "text/event-stream"), ("X-Receipt-Id", aci_sim.RECEIPT))
            return answer(said["chat"].response, headers=headers)
        if "/sessions/" in call.url:
            name, record = service.session_record()
            assert call.url.endswith(name)
            return answer(record, headers=JSON)
        if call.step == "receipt":
            return answer(b'{"error":{"type":"not_found"}}', status=404, headers=JSON)
        return answer(service.receipt_body(), headers=JSON)

    stage = scene(f"https://{aci_sim.HOST}", algorithms=())
    whole = Whole("aci", respond, session=service, stage=stage).capture()
    assert [e.status for e in whole.kept if e.purpose == "receipt"] == [404, 200, 200]
    found = verified(whole.case(aci_sim.document()))
    assert (found.verdict, rejected(found)) == ("VERIFIED", {})


def test_two_documents_of_an_enclave_verify_around_a_chat_that_nobody_signs():
    enclave = other_families.enclave("tinfoil-v3")

    def respond(call):
        if call.purpose == "attestation":
            return answer(enclave.answer(bytes.fromhex(asked(call, "nonce"))), headers=JSON)
        if call.purpose == "chat":
            return answer(chat_sim.chat("tinfoil", request=call.body).response)
        return answer(b"{}", status=404, headers=JSON)

    stage = scene(f"https://{other_families.HOST}", algorithms=(), options={"provenance": "off"})
    whole = Whole("tinfoil", respond, session=enclave, stage=stage).capture()
    document = other_families.document("tinfoil-v3")
    found = verified(whole.case(document))
    assert found.verdict == "INCOMPLETE"
    assert found.checks["evidence.inventory"] == ("BLOCKED", "evidence.not_judged")
    because = "the family signs no responses: the chat is kept, not proven"
    document["subjects"]["content"] = {"mode": "if_present", "because": because}
    for check in ("content.request", "content.response"):
        policies.waive(document, check, because)
    found = verified(whole.case(document))
    assert (found.verdict, rejected(found)) == ("VERIFIED", {})
