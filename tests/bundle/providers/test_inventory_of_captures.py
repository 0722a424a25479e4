"""What live captures bring that recordings did not: tries, bodies in files, nonces in bodies."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import pytest

from bundle.assemble import Assembly
from bundle.inventory import Inventory, SessionNonce, _repository, response_role, sent_nonce
from bundle.keys import key_id
from bundle.providers.reading import chat_id, whole_chat
from bundle.recording import StoredBody
from fixtures import aci_sim, chat_sim, other_families, sessions
from tests.bundle.providers.playing import answer
from verify.engine.errors import UsageError

NONCE = bytes(range(32))
HEX = NONCE.hex()


def asking(url="https://x.test/", body=None):
    return replace(answer(b"{}"), purpose="attestation", url=url, request_body=body)


def held(exchanges, profile="near-direct", **changes):
    assembly = Assembly(
        profile=profile,
        signer=key_id(sessions.CAPTURER.spki()),
        statement_id="urn:uuid:00000000-0000-4000-8000-000000000001",
        salt=lambda name: sha256(name.encode()).digest(),
    )
    found = Inventory(assembly=assembly, lenient=True, **changes)
    for exchange in exchanges:
        found.add(exchange)
    found.bind()
    return assembly


def bindings(assembly, kind):
    return [b for b in assembly._bindings if b["type"] == kind]


@pytest.mark.parametrize(
    ("exchange", "found"),
    [
        (asking(f"https://x.test/?nonce={HEX}"), NONCE),
        (asking(f"https://x.test/?nonce=0x{HEX}"), NONCE),
        (asking(body=f'{{"nonce":"{HEX.upper()}"}}'.encode()), NONCE),
        (asking(f"https://x.test/?nonce={HEX}", b'{"nonce":"' + b"ab" * 32 + b'"}'), NONCE),
        (asking(f"https://x.test/attestation/{HEX}"), NONCE),
        (asking(f"https://x.test/?challenge={HEX.upper()}"), NONCE),
        (asking(body=f'{{"challenge":"{HEX}"}}'.encode()), NONCE),
        (asking(body=b'{"nonce":7}'), None),
        (asking(body=b'{"nonce":"zz"}'), None),
        (asking(body=b'{"nonce":"abcd"}'), None),
        (asking(body=b"[]"), None),
        (asking(f"https://x.test/{'cd' * 32}"), None),
    ],
)
def test_the_nonce_of_a_request_is_found_wherever_it_was_sent(exchange, found):
    assert sent_nonce(exchange, (bytes(32), NONCE)) == found


def test_a_nonce_in_the_path_is_only_one_of_ours():
    assert sent_nonce(asking(f"https://x.test/attestation/{HEX}")) is None


def test_a_nonce_in_a_body_is_declared_and_bound():
    session = other_families.enclave("ionet")
    exchange = replace(asking(body=f'{{"nonce":"{HEX}"}}'.encode()), method="POST")
    exchange = replace(exchange, response_body=session.answer(NONCE))
    made = {NONCE: SessionNonce(value=NONCE, derivation="teebundle-v1", random=bytes(32))}
    assembly = held([exchange], profile="ionet", nonces=made)
    (nonce,) = assembly._nonces
    assert (nonce["derivation"], nonce["value"], nonce["sentAs"]) == ("teebundle-v1", HEX, "hex64")
    assert {b["nonce"] for b in bindings(assembly, "nonce-in-evidence")} == {nonce["id"]}


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("https://p.test/repos/o/n/releases/latest", ("o", "n")),
        ("https://p.test/prefix/repos/o/n/attestations/sha256:1", ("o", "n")),
        ("https://p.test/o/n/releases/download/v1/tinfoil.hash", ("o", "n")),
        ("https://p.test/a/b/o/n/releases/download/v1/tinfoil.hash", ("o", "n")),
        ("https://p.test/o/n", ("o", "n")),
        ("https://p.test/releases", ("releases",)),
        ("https://p.test/", ("",)),
    ],
)
def test_the_repository_of_a_release_is_read_under_any_prefix(url, found):
    assert _repository(url) == found


@pytest.mark.parametrize("purpose", ["receipt", "key-config"])
@pytest.mark.parametrize("url", ["https://x.test/a", "https://x.test/sessions/b"])
def test_a_failed_try_has_no_role_that_a_check_reads_as_evidence(purpose, url):
    for status in (404, 429, 500):
        exchange = replace(answer(b'{"error":{}}', status=status), purpose=purpose, url=url)
        assert response_role(exchange) == "provider.evidence"


# --- signatures --------------------------------------------------------------------------------

NEAR = sessions.Session(
    profile="near-direct",
    node=sessions.model_node(count=1, host="model.example.test"),
    rims=False,
    revocation=False,
)


def near(**changes):
    """Return the exchanges of a session; by purpose, what changes in them."""
    found = []
    for exchange in NEAR.exchanges():
        change = changes.get(exchange.purpose)
        found.append(exchange if change is None else replace(exchange, **change))
    return found


def test_a_look_up_that_was_refused_covers_nothing_whatever_it_says():
    assert len(bindings(held(near()), "signature-covers")) == 1
    assert not bindings(held(near(signature={"status": 404})), "signature-covers")


def test_a_chat_that_was_refused_is_no_chat():
    for change in ({"status": 500}, {"status": None, "response_headers": None}):
        assembly = held(near(chat=change))
        assert not bindings(assembly, "signature-covers")
        assert not bindings(assembly, "attested-around")


def test_a_refused_chat_before_a_good_one_takes_nothing_from_it():
    exchanges = near()
    at = next(n for n, e in enumerate(exchanges) if e.purpose == "chat")
    refused = replace(exchanges[at], status=503, response_body=b'{"error":"busy"}')
    assembly = held([*exchanges[:at], refused, *exchanges[at:]])
    (covers,) = bindings(assembly, "signature-covers")
    assert (covers["request"], covers["response"]) == ("req-2", "res-2")
    assert len(bindings(assembly, "attested-around")) == 1


def test_a_cut_chat_keeps_its_pairs():
    assembly = held(near(chat={"complete": False}))
    assert len(bindings(assembly, "signature-covers")) == 1
    assert len(bindings(assembly, "attested-around")) == 1


def test_a_look_up_by_request_id_belongs_to_the_chat_it_names():
    exchanges = near()
    at = next(n for n, e in enumerate(exchanges) if e.purpose == "chat")
    other = replace(exchanges[at], response_body=b'data: {"id":"other"}\n\n')
    url = f"https://x.test/tee/signature?model=m&request_id={NEAR.chat.chat_id}"
    look_up = replace(exchanges[at + 1], url=url)
    assembly = held([*exchanges[: at + 1], other, look_up, *exchanges[at + 2 :]])
    (covers,) = bindings(assembly, "signature-covers")
    assert covers["response"] == "res-1"


def stored(tmp_path, body):
    path = tmp_path / "body"
    path.write_bytes(body)
    return StoredBody(path=path, size=len(body), sha256=sha256(body).digest())


def test_a_chat_whose_answer_is_in_a_file_is_joined_to_its_look_up(tmp_path):
    body = NEAR.chat.response
    file = stored(tmp_path, body)
    assembly = held(near(chat={"response_body": None, "response_file": file}))
    (covers,) = bindings(assembly, "signature-covers")
    assert covers["response"] == "res-1"


def ionet(body=None, headers=(), **changes):
    session = other_families.enclave("ionet")
    attested = replace(
        asking(body=f'{{"nonce":"{HEX}"}}'.encode()), response_body=session.answer(NONCE)
    )
    chat = replace(
        answer(body or b"", headers=headers),
        purpose="chat",
        url="https://x.test/completions",
        request_body=b"{}",
        **changes,
    )
    return held([attested, chat], profile="ionet"), session


def signed_stream():
    signer = other_families.enclave("ionet").node.signer
    chat = chat_sim.chat("ionet", dialect="ionet")
    return chat_sim.with_signature_event(signer, chat)


def test_a_signature_in_a_stream_is_found_in_a_file_as_well(tmp_path):
    body = signed_stream()
    for changes in ({"body": body}, {"response_file": stored(tmp_path, body)}):
        assembly, session = ionet(**changes)
        (covers,) = bindings(assembly, "signature-covers")
        assert covers["signature"] == covers["response"] == "res-1"
        assert assembly.body(covers["key"]).decode() == session.node.signer.address


def test_a_stream_whose_file_is_gone_is_refused_when_it_is_read(tmp_path):
    file = stored(tmp_path, signed_stream())
    file.path.unlink()
    with pytest.raises(UsageError, match="cannot be read"):
        ionet(response_file=file)


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b'event: signature\ndata: {"signing_address":"0xabc"}\n\n', "0xabc"),
        (b"event: signature\n", "(none stated)"),
        (b"event: signature\ndata: [1]\n", "(none stated)"),
        (b"event: signature\ndata: <html>\n", "(none stated)"),
    ],
)
def test_a_signature_event_that_cannot_be_read_is_declared_all_the_same(body, named):
    """What it is worth is the verifier's to say; undeclared it would not be looked at."""
    assembly, _ = ionet(body)
    (covers,) = bindings(assembly, "signature-covers")
    assert assembly.body(covers["key"]).decode() == named


def test_what_only_looks_like_a_signature_event_is_none():
    for body in (b"data: event: signature\n", b" event: signature\n", b"event: signatures\n"):
        assembly, _ = ionet(body)
        assert not bindings(assembly, "signature-covers")
    long = b"x" * (64 << 10) + b"event: signature\ndata: {}\n"
    assembly, _ = ionet(long)
    assert not bindings(assembly, "signature-covers")


def test_signature_headers_elsewhere_are_nobodys():
    chat = {"response_headers": (("signature", "ab"), ("signing_address", "0x1"))}
    assembly = held(near(chat=chat))
    assert all(b["signature"].startswith("sig-") for b in bindings(assembly, "signature-covers"))


# --- receipts and lists ------------------------------------------------------------------------


def test_a_receipt_that_came_at_the_third_try_is_the_only_one():
    exchanges = list(aci_sim.service().exchanges())
    at = next(n for n, e in enumerate(exchanges) if e.purpose == "receipt")
    missing = replace(exchanges[at], status=404, response_body=b'{"error":{"type":"not_found"}}')
    assembly = held([*exchanges[:at], missing, missing, *exchanges[at:]], profile="aci")
    assert assembly.ids_of("provider.receipt") == ("provider-receipt-1",)
    (covers,) = bindings(assembly, "receipt-covers")
    assert covers["receipt"] == "provider-receipt-1"


def test_a_receipt_belongs_to_the_chat_that_named_it_however_its_id_is_spelt():
    exchanges = list(aci_sim.service().exchanges())
    at = next(n for n, e in enumerate(exchanges) if e.purpose == "receipt")
    chat = replace(exchanges[at - 1], response_headers=(("X-Receipt-Id", "r/1"),))
    other = replace(chat, response_headers=(("X-Receipt-Id", "r/2"),))
    receipt = replace(exchanges[at], url="https://aci.example.test/v1/aci/receipts/r%2F1")
    both = [*exchanges[: at - 1], chat, other, receipt, *exchanges[at + 1 :]]
    (covers,) = bindings(held(both, profile="aci"), "receipt-covers")
    assert covers["response"] == "res-1"


def test_keys_that_are_listed_after_the_evidence_are_found_when_pairs_are_declared():
    exchanges = list(other_families.enclave("chutes").exchanges())
    listed = next(e for e in exchanges if e.purpose == "key-config")
    late = [*(e for e in exchanges if e is not listed), listed]
    plain = held(exchanges, profile="chutes")
    found = held(late, profile="chutes")
    for assembly in (plain, found):
        assert len(assembly.ids_of("provider.signing-key")) == 1
        assert len(bindings(assembly, "key-in-evidence")) == 1
    refused = replace(listed, status=429)
    assert not held([*late[:-1], refused], profile="chutes").ids_of("provider.signing-key")


# --- what an answer says of itself -------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b'{"id":"a","x":1}', "a"),
        (b' { "x" : [1,{"id":"no"}] , "id" : "a" , "cut": "of', "a"),
        (b'{"x":{"id":"no"}}', None),
        (b'{"x":"of', None),
        (b'{"id" "a"}', None),
        (b'{"id":"a b"}', None),
        (b'{"id":"' + b"a" * 257 + b'"}', None),
        (b"[]", None),
        (b'{"a":1;"id":"b"}', None),
        (b': comment\ndata: [DONE]\ndata: 7\ndata: {"id":"a"}\ndata: {"id":"b"}\n', "a"),
        (b'data:{"id":"a"}\r\n', "a"),
        (b'data: {"x":1}\ndata: {"id":"b"}\n', None),
        (b"{" + b'"a":' + b"[" * 20_000, None),
    ],
)
def test_the_id_of_a_chat_is_that_of_its_first_object(body, found, tmp_path):
    assert chat_id(answer(body)) == found
    file = stored(tmp_path, body)
    assert chat_id(replace(answer(), response_file=file)) == found


def test_an_answer_whose_file_is_gone_has_no_id(tmp_path):
    file = stored(tmp_path, b'{"id":"a"}')
    file.path.unlink()
    gone = replace(answer(), response_file=file)
    assert chat_id(gone) is None
    assert whole_chat(gone)
    assert chat_id(answer()) is None


def test_a_stream_is_whole_with_its_last_line_wherever_it_is_kept(tmp_path):
    body = b'data: {"id":"a"}\n\n' + b": wait\n" * 20_000 + b"data: [DONE]\n\n"
    assert whole_chat(answer(body))
    assert whole_chat(replace(answer(), response_file=stored(tmp_path, body)))
    cut = body[:-20]
    assert not whole_chat(answer(cut))
    assert not whole_chat(replace(answer(), response_file=stored(tmp_path, cut)))
    assert whole_chat(replace(answer(cut), done_at=answer().ended_at))
    assert not whole_chat(answer(body, status=500))


# --- how much is taken apart --------------------------------------------------------------------


def test_an_answer_with_more_items_than_a_statement_holds_is_kept_as_it_is(monkeypatch):
    exchanges = list(aci_sim.service().exchanges())
    whole = held(exchanges, profile="aci")
    quotes = whole.ids_of("tdx.quote")
    assert quotes
    answers = whole.ids_of("provider.attestation")
    counted = sum(one["origin"].get("artifact") in answers for one in whole._artifacts)
    monkeypatch.setattr("bundle.inventory.MOST_ITEMS", counted)
    assert held(exchanges, profile="aci").ids_of("tdx.quote") == quotes
    monkeypatch.setattr("bundle.inventory.MOST_ITEMS", counted - 1)
    less = held(exchanges, profile="aci")
    assert less.ids_of("tdx.quote") == ()
    assert less.ids_of("provider.attestation") == whole.ids_of("provider.attestation")
