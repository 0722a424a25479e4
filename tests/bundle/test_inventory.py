"""Roles by purpose and content, and the pairs that an inventory declares."""

from __future__ import annotations

import base64
import gzip
import json
from dataclasses import replace
from hashlib import sha256

import pytest

from bundle.assemble import Assembly
from bundle.inventory import Inventory, media_type, nonce_of, platform_of, response_role
from bundle.keys import key_id
from bundle.recording import RecordedExchange
from fixtures import intel_pki, nvidia_pki, nvidia_revocation, sessions
from verify.engine.errors import UsageError


def recorded(purpose, body=b"", *, url="https://x.example.test/", status=200, headers=()):
    return RecordedExchange(
        purpose=purpose,
        method="GET",
        url=url,
        started_at=sessions.START,
        ended_at=sessions.START,
        status=status,
        response_headers=headers,
        response_body=body or None,
    )


def pem_list(der):
    text = base64.encodebytes(der)
    return b"-----BEGIN X509 CRL-----\n" + text + b"-----END X509 CRL-----\n"


ROOT_CRL, PCK_CRL = intel_pki.BASE.root_crl, intel_pki.BASE.pck_crl
LEAF, ISSUER = nvidia_pki.rim_chain()[:2]


@pytest.mark.parametrize(
    ("exchange", "role"),
    [
        (recorded("attestation", b"{}"), "provider.attestation"),
        (recorded("attestation", b"{}", status=500), "provider.attestation"),
        (recorded("chat", b"x"), "http.response.body"),
        (recorded("signature", b"{}"), "provider.signature"),
        (recorded("receipt", b"{}"), "provider.receipt"),
        (recorded("model-list", b"{}"), "provider.model-list"),
        (recorded("key-config", b"\x01"), "provider.key-config"),
        (recorded("key-config", b'{"instances":[]}'), "provider.evidence"),
        (recorded("other", b"{}"), "provider.evidence"),
        (recorded("time", b"x"), "time.checkpoint"),
        (recorded("rim", b"{}", status=404), "nvidia.rim"),
        (recorded("nras", b"[]"), "nras.answer"),
        (recorded("nras", b"[]", status=500), "provider.evidence"),
        (recorded("jwks", b"{}"), "nras.jwks"),
        (recorded("jwks", b"{}", status=None), "provider.evidence"),
        (recorded("collateral", b'{"tcbInfo":{}}'), "intel.tcb-info"),
        (recorded("collateral", b'{"enclaveIdentity":{}}'), "intel.qe-identity"),
        (recorded("collateral", b'{"tcbEvalNumbers":[]}'), "intel.tcb-evaluation-numbers"),
        (
            recorded("collateral", b"x", url="https://kds.test/vcek/v1/Genoa/cert_chain"),
            "amd.chain",
        ),
        (recorded("collateral", b"x", url="https://kds.test/vcek/v1/Genoa/ab?blSPL=1"), "amd.vek"),
        (recorded("collateral", b"[]"), "provider.evidence"),
        (recorded("revocation", ROOT_CRL), "intel.root-crl"),
        (recorded("revocation", PCK_CRL), "intel.pck-crl"),
        (recorded("revocation", pem_list(PCK_CRL)), "intel.pck-crl"),
        (
            recorded("revocation", b"-----BEGIN X509 CRL-----\nA\n-----END X509 CRL-----\n"),
            "provider.evidence",
        ),
        (recorded("revocation", b"text"), "provider.evidence"),
        (recorded("revocation", b"0\x03\x02\x01\x01"), "provider.evidence"),
        (
            recorded("revocation", nvidia_revocation.response(LEAF, ISSUER, nonce=b"n" * 16)),
            "nvidia.ocsp-response",
        ),
        (
            recorded("revocation", b"0", headers=(("Content-Type", "application/ocsp-response"),)),
            "nvidia.ocsp-response",
        ),
        (recorded("provenance", b"ab", url="https://p.test/a/tinfoil.hash"), "release.digest"),
        (
            recorded("provenance", b"{}", url="https://p.test/attestations/sha256:1"),
            "release.attestations",
        ),
        (recorded("provenance", b"{}", url="https://p.test/releases/latest"), "release.manifest"),
        (recorded("provenance", b'{"dsseEnvelope":{}}'), "sigstore.bundle"),
        (recorded("provenance", b"{}"), "provider.evidence"),
    ],
)
def test_the_role_of_an_answer_follows_from_purpose_and_content(exchange, role):
    assert response_role(exchange) == role


def test_a_media_type_outside_the_grammar_is_octets():
    def typed(text):
        return media_type(recorded("other", b"x", headers=(("Content-Type", text),)))

    assert typed("Application/JSON; charset=utf-8") == "application/json"
    assert typed("nonsense") == "application/octet-stream"
    assert media_type(recorded("other")) == "application/octet-stream"


def test_a_nonce_is_read_from_the_url_in_hex():
    assert nonce_of("https://x.test/?nonce=" + "AB" * 32) == bytes.fromhex("ab" * 32)
    assert nonce_of("https://x.test/?nonce=" + "ab" * 16) == bytes.fromhex("ab" * 16)
    for text in ("", "?nonce=zz", "?nonce=abcd", "?n=" + "ab" * 32):
        assert nonce_of(f"https://x.test/{text}") is None


def test_the_platform_of_a_quote_is_read_from_its_certificates():
    found = platform_of(intel_pki.BASE.quote)
    assert (found.fmspc, found.ca, found.tdx) == (intel_pki.FMSPC, "platform", True)
    processor = platform_of(intel_pki.processor_world().quote)
    assert (processor.ca, processor.tdx) == ("processor", True)
    assert platform_of(intel_pki.sgx_world().quote).tdx is False
    assert platform_of(b"no quote") is None


def inventory(exchanges, **changes):
    assembly = Assembly(
        profile="near-direct",
        signer=key_id(sessions.CAPTURER.spki()),
        statement_id="urn:uuid:00000000-0000-4000-8000-000000000001",
        salt=lambda name: sha256(name.encode()).digest(),
    )
    found = Inventory(assembly=assembly, **changes)
    for exchange in exchanges:
        found.add(exchange)
    found.bind()
    return assembly


def bindings(assembly, kind):
    return [b for b in assembly._bindings if b["type"] == kind]


NEAR = sessions.Session(
    profile="near-direct",
    node=sessions.model_node(count=1, host="model.example.test"),
    rims=False,
    revocation=False,
)


def edited(purpose, **changes):
    return [replace(e, **changes) if e.purpose == purpose else e for e in NEAR.exchanges()]


def test_a_chain_header_that_is_broken_or_doubled_derives_nothing():
    name = "SGX-Enclave-Identity-Issuer-Chain"
    for values in (["%zz"], ["a", "b"]):
        headers = tuple((name, value) for value in values)
        assembly = inventory(edited("collateral", response_headers=headers))
        assert not assembly.ids_of("intel.qe-identity-chain")


def test_collateral_of_another_platform_is_not_joined():
    other = json.loads(intel_pki.BASE.tcb_info)
    other["tcbInfo"]["fmspc"] = "00606a000000"
    sgx = intel_pki.sgx_world()
    extra = [
        recorded("collateral", json.dumps(other).encode()),
        recorded("collateral", b'{"tcbInfo":1}'),
        recorded("collateral", sgx.tcb_info),
        recorded("collateral", sgx.qe_identity),
        recorded("collateral", b'{"enclaveIdentity":1}'),
        recorded("revocation", intel_pki.processor_world().pck_crl),
        recorded("revocation", pem_list(PCK_CRL), url="https://x.test/pckcrl?ca=processor"),
    ]
    plain = bindings(inventory(NEAR.exchanges()), "collateral-for")
    mixed = bindings(inventory([*NEAR.exchanges(), *extra]), "collateral-for")
    assert [b["with"] for b in mixed] == [b["with"] for b in plain]


def test_a_quote_that_names_no_platform_is_joined_to_what_there_is():
    subject = replace(NEAR, edit={"quote": lambda _raw: b"\x04\x00no quote"})
    joined = bindings(inventory(subject.exchanges()), "collateral-for")
    assert {len(b["with"]) for b in joined} == {7}


def test_an_nras_answer_without_its_request_or_keys_covers_nothing():
    without_keys = [e for e in NEAR.exchanges() if e.purpose != "jwks"]
    assert not bindings(inventory(without_keys), "nras-covers")
    assert not bindings(inventory(edited("nras", request_body=None)), "nras-covers")
    for body in (b"[]", b'{"evidence_list":[1,{"evidence":"*"}]}', b'{"evidence_list":"x"}'):
        assert not bindings(inventory(edited("nras", request_body=body)), "nras-covers")


def test_an_nras_answer_takes_the_key_set_fetched_next_else_the_last():
    exchanges = list(NEAR.exchanges())
    first = next(e for e in exchanges if e.purpose == "jwks")
    covers = bindings(inventory(exchanges), "nras-covers")
    assert [b["jwks"] for b in covers] == ["nras-jwks-1", "nras-jwks-2"]
    early = [first, *(e for e in exchanges if e.purpose != "jwks")]
    assert {b["jwks"] for b in bindings(inventory(early), "nras-covers")} == {"nras-jwks-1"}


def test_a_look_up_belongs_to_the_chat_it_names_else_to_the_last_before_it():
    exchanges = list(NEAR.exchanges())
    at = next(n for n, e in enumerate(exchanges) if e.purpose == "chat")
    chat, look_up = exchanges[at], exchanges[at + 1]
    other = replace(chat, response_body=b'data: {"id":"other-chat"}\n\n')
    doubled = [*exchanges[: at + 1], other, *exchanges[at + 1 :]]
    (covers,) = bindings(inventory(doubled), "signature-covers")
    assert covers["response"] == "res-1"
    unnamed = replace(look_up, url="https://x.example.test/v1/signature/unknown")
    (covers,) = bindings(
        inventory([*exchanges[: at + 1], other, unnamed, *exchanges[at + 2 :]]), "signature-covers"
    )
    assert covers["response"] == "res-2"
    before = [*exchanges[:at], unnamed, chat, *exchanges[at + 2 :]]
    (covers,) = bindings(inventory(before), "signature-covers")
    assert covers["response"] == "res-1"


def test_attestations_around_a_chat_are_declared_within_its_session():
    (around,) = bindings(inventory(NEAR.exchanges()), "attested-around")
    assert around["before"] == "ex-1"
    assert around["chat"] < around["after"] or around["after"].startswith("ex-")
    apart = [replace(e, session="s2") if e.purpose == "chat" else e for e in NEAR.exchanges()]
    assert not bindings(inventory(apart), "attested-around")


def test_an_unreadable_answer_is_refused_unless_lenient():
    broken = edited("attestation", response_body=b"<html>")
    with pytest.raises(UsageError, match=r"byte 0: .*exchange\.body_not_json"):
        inventory(broken)
    assert inventory(broken, lenient=True).ids_of("provider.attestation") == ("att-1", "att-2")


def test_a_revocation_list_of_a_report_is_joined_to_it():
    # the simulated report is read by its role alone: what it says is not looked at here
    body = {
        "format": "https://tinfoil.sh/predicate/sev-snp-guest/v2",
        "body": base64.b64encode(b"report").decode(),
    }
    exchange = recorded(
        "attestation", json.dumps(body).encode(), url="https://x.test/?nonce=" + "ab" * 32
    )
    listed = recorded("revocation", b"0\x82Advanced Micro Devices")
    with pytest.raises(UsageError):
        inventory([exchange, listed])
    body["body"] = base64.b64encode(gzip.compress(b"report", mtime=0)).decode()
    exchange = replace(exchange, response_body=json.dumps(body).encode())
    (joined,) = bindings(inventory([exchange, listed]), "collateral-for")
    assert joined["with"] == ["amd-crl-1"]
