from __future__ import annotations

import base64
import json
from collections import Counter
from datetime import UTC, datetime
from hashlib import sha256

import pytest

from bundle.importers import http_folder
from bundle.importers.draft import draft, profile_of
from bundle.importers.http_folder import (
    headers_of,
    instant_of,
    purpose_of,
    read_capture,
    read_recording,
    read_saved_answer,
)
from bundle.importers.parts import read_parts
from bundle.keys import key_id
from fixtures import sessions
from fixtures.chat_sim import ecdsa_signer
from verify.engine.errors import UsageError
from verify.wire.statement import read_statement

STATEMENT_ID = "urn:uuid:00000000-0000-4000-8000-000000000001"
NEAR = sessions.Session(
    profile="near-direct",
    node=sessions.model_node(count=2, host="model.completions.near.test"),
    rims=False,
    revocation=False,
    attest_after=False,
    with_chat=False,
    with_marker=False,
)
HOSTS = {
    "pcs.example.test": "api.trustedservices.intel.com",
    "nras.example.test": "nras.attestation.nvidia.com",
    "certificates.example.test": "certificates.trustedservices.intel.com",
}


def salt(name):
    return sha256(name.encode()).digest()


def drafted(recording, **changes):
    return draft(
        recording,
        signer=key_id(sessions.CAPTURER.spki()),
        statement_id=STATEMENT_ID,
        salt=salt,
        operator="test",
        **changes,
    )


def statement_of(recording, **changes):
    made = drafted(recording, **changes)
    frozen = made.assembly.freeze(made.claims)
    return read_statement(frozen.payload).statement, made, frozen


def metadata(exchange):
    url = exchange.url
    for simulated, real in HOSTS.items():
        url = url.replace(simulated, real)
    headers = {}
    for name, value in exchange.response_headers:
        headers.setdefault(name.title(), []).append("secret-value" if value is None else value)
    found = {
        "method": exchange.method,
        "url": url,
        "status": exchange.status,
        "proto": "HTTP/1.1",
        "headers": headers,
        "duration_ms": 250,
    }
    if exchange.request_body is not None:
        found["req_body_base64"] = base64.b64encode(exchange.request_body).decode()
    if exchange.tls is not None:
        found |= {
            "tls_version": "TLS 1.3",
            "tls_cipher": "TLS_AES_128_GCM_SHA256",
            "peer_spki_der_base64": base64.b64encode(exchange.tls.spki).decode(),
        }
    return found


def capture(folder, subject=NEAR, *, label="neardirect", manifest=None, edit=None):
    (folder / "responses").mkdir(parents=True)
    value = {
        "provider": label,
        "model": "test/model-7b",
        "nonce_hex": subject.nonces[0][0].hex(),
        "captured_at": "2026-06-10T12:00:00.1234567Z",
        "duration_ms": 90_000,
        **(manifest or {}),
    }
    (folder / "manifest.json").write_text(json.dumps(value))
    for number, exchange in enumerate(subject.exchanges(), 1):
        stem = folder / "responses" / f"{number:04d}_host_path"
        found = metadata(exchange)
        if edit is not None:
            found = edit(number, found)
        stem.with_suffix(".json").write_text(json.dumps(found))
        stem.with_suffix(".body").write_bytes(exchange.response_body or b"")
    return folder


# --- capture folders -------------------------------------------------------------------------


def test_a_capture_folder_gives_the_session_that_was_recorded(tmp_path):
    statement, made, _ = statement_of(read_recording(capture(tmp_path / "c")))
    assert statement.profile == "near-direct"
    purposes = [exchange.purpose for exchange in statement.exchanges]
    assert purposes == [exchange.purpose for exchange in NEAR.exchanges()]
    assert [nonce.derivation for nonce in statement.nonces] == ["foreign"]
    assert statement.nonces[0].value == NEAR.nonces[0][0]
    roles = Counter(artifact.role for artifact in statement.artifacts)
    for role in ("tdx.quote", "intel.tcb-info-chain", "intel.pck-crl-chain", "nras.request"):
        assert roles[role] == 1
    assert roles["nvidia.gpu-evidence"] == roles["nvidia.gpu-chain"] == 2
    types = Counter(binding.type for binding in statement.bindings)
    for kind in (
        "nonce-in-evidence",
        "tls-in-evidence",
        "code-in-evidence",
        "collateral-for",
        "devices-share-nonce",
        "nras-covers",
    ):
        assert types[kind] == 1
    assert types["key-in-evidence"] == types["log-in-evidence"] == 2
    capture_claims = statement.capture
    assert (capture_claims.mode, capture_claims.imported_times) == ("import", "recorded")
    assert capture_claims.ended_at == datetime(2026, 6, 10, 12, 0, 0, 123_000, tzinfo=UTC)
    assert statement.exchanges[0].started_at <= statement.exchanges[0].ended_at
    assert made.claims.endpoint == "https://model.completions.near.test"
    first = statement.exchanges[0].tls
    assert first.spki == "sha256:" + sha256(NEAR.exchanges()[0].tls.spki).hexdigest()


def test_the_same_folder_gives_the_same_bytes(tmp_path):
    folder = capture(tmp_path / "c")
    _, _, first = statement_of(read_recording(folder))
    _, _, second = statement_of(read_recording(folder))
    assert first == second


def test_no_secret_header_lands_in_the_blobs(tmp_path):
    _, _, frozen = statement_of(read_recording(capture(tmp_path / "c")))
    everything = frozen.payload + b"".join(frozen.blobs.values())
    assert b"secret-value" not in everything
    assert b'["Set-Cookie",{"redacted":"secret"}]' in everything


def test_a_date_after_the_recorders_end_moves_the_end(tmp_path):
    def late(number, found):
        if number == 2:
            found["headers"]["Date"] = ["Wed, 10 Jun 2026 12:00:09 GMT"]
        return found

    statement, _, _ = statement_of(read_recording(capture(tmp_path / "c", edit=late)))
    assert statement.capture.ended_at == datetime(2026, 6, 10, 12, 0, 9, tzinfo=UTC)


def test_dates_that_are_none_leave_the_end(tmp_path):
    def broken(number, found):
        found["headers"].pop("Date")
        if number == 2:
            found["headers"]["Date"] = ["not a date"]
        return found

    folder = capture(tmp_path / "c", edit=broken, manifest={"duration_ms": None})
    statement, _, _ = statement_of(read_recording(folder))
    assert statement.capture.ended_at == statement.exchanges[0].ended_at


def test_unknown_exchanges_are_kept_as_other(tmp_path):
    def odd(number, found):
        if number == 2:
            found["url"] = "https://rekor.example.test/api/v1/index/retrieve"
            found["status"] = 403
        return found

    statement, _, _ = statement_of(read_recording(capture(tmp_path / "c", edit=odd)))
    assert statement.exchanges[1].purpose == "other"
    assert statement.artifact(statement.exchanges[1].response.body).role == "provider.evidence"


def test_an_error_page_of_a_vendor_gets_no_vendor_role(tmp_path):
    def failed(number, found):
        return {**found, "status": 404} if number > 1 else found

    statement, _, _ = statement_of(read_recording(capture(tmp_path / "c", edit=failed)))
    assert not statement.of_role("intel.tcb-info", "intel.root-crl", "nras.answer", "nras.jwks")
    assert not statement.bindings_of("collateral-for")


@pytest.mark.parametrize(
    ("manifest", "edit", "says"),
    [
        ({"captured_at": "yesterday"}, None, "RFC 3339"),
        ({"captured_at": "2026-06-10T12:00:00"}, None, "time zone"),
        ({"captured_at": None}, None, "captured_at"),
        ({"nonce_hex": "00" * 32}, None, "another nonce"),
        (None, lambda _n, f: {**f, "url": None}, "url is missing"),
        (None, lambda _n, f: {**f, "headers": []}, "headers is no object"),
        (None, lambda _n, f: {**f, "headers": {"a": 1}}, "no list"),
        (None, lambda _n, f: {**f, "headers": {"a": [1]}}, "no text"),
        (None, lambda _n, f: {**f, "req_body_base64": "*"}, "no base64"),
        (None, lambda _n, f: {**f, "req_body_base64": 1}, "no base64"),
    ],
)
def test_a_folder_that_cannot_be_read_says_where_and_why(tmp_path, manifest, edit, says):
    folder = capture(tmp_path / "c", manifest=manifest, edit=edit)
    with pytest.raises(UsageError) as caught:
        read_recording(folder)
    assert says in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_files_that_are_no_json_objects_are_refused(tmp_path):
    folder = capture(tmp_path / "c")
    for text, says in (("[]", "not a JSON object"), ("{", "not strict JSON")):
        (folder / "manifest.json").write_text(text)
        with pytest.raises(UsageError, match=says):
            read_capture(folder)


def test_symlinks_and_empty_folders_are_refused(tmp_path):
    folder = capture(tmp_path / "c")
    body = folder / "responses" / "0001_host_path.body"
    body.rename(tmp_path / "elsewhere")
    body.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="not a plain file"):
        read_capture(folder)
    for path in (folder / "responses").iterdir():
        path.unlink()
    with pytest.raises(UsageError, match="0 exchanges"):
        read_capture(folder)
    with pytest.raises(UsageError, match="no recording found"):
        read_recording(tmp_path)


def test_a_file_beyond_the_limit_is_refused(tmp_path, monkeypatch):
    folder = capture(tmp_path / "c")
    monkeypatch.setattr(http_folder, "MAX_FILE", 10)
    with pytest.raises(UsageError, match="larger than"):
        read_capture(folder)


def test_two_saved_answers_in_one_folder_are_not_chosen_between(tmp_path):
    folder = saved(tmp_path / "s")
    (folder / "other_attestation.json").write_text("{}")
    with pytest.raises(UsageError, match="no recording found"):
        read_recording(folder)


def test_a_place_that_is_a_plain_file_is_no_recording(tmp_path):
    (tmp_path / "x.txt").write_text("x")
    with pytest.raises(UsageError, match="no recording found"):
        read_recording(tmp_path / "x.txt")


def test_a_body_that_was_not_written_is_none(tmp_path):
    folder = capture(tmp_path / "c")
    (folder / "responses" / "0002_host_path.body").unlink()
    statement, _, _ = statement_of(read_recording(folder))
    assert statement.exchanges[1].response.body is None


def test_another_family_is_refused_and_named(tmp_path):
    body = json.dumps({"attestation_document": "x"}).encode()
    folder = capture(tmp_path / "c")
    (folder / "responses" / "0001_host_path.body").write_bytes(body)
    recording = read_recording(folder)
    with pytest.raises(UsageError) as caught:
        drafted(recording)
    assert "responses/0001_host_path.json: family not supported yet: nitro" in str(caught.value)
    assert drafted(recording, lenient=True).assembly.ids_of("provider.attestation") == ("att-1",)


@pytest.mark.parametrize(
    "body", [b"<html>", b'{"other":1}', b'{"intel_quote":"","signing_address":""}']
)
def test_an_answer_that_cannot_be_read_is_refused_and_named(tmp_path, body):
    folder = capture(tmp_path / "c")
    (folder / "responses" / "0001_host_path.body").write_bytes(body)
    recording = read_recording(folder)
    with pytest.raises(UsageError, match=r"responses/0001_host_path\.json"):
        drafted(recording)
    drafted(recording, lenient=True)


def test_a_recording_without_attestation_is_refused(tmp_path):
    folder = capture(tmp_path / "c", edit=lambda _n, f: {**f, "url": "https://x.example.test/"})
    with pytest.raises(UsageError, match="no attestation answer"):
        drafted(read_recording(folder))


@pytest.mark.parametrize(
    ("label", "profile", "found"),
    [
        ("neardirect", None, "near-direct"),
        ("nearcloud", None, "near-gateway"),
        ("tinfoil_v3_cloud", None, "tinfoil-v3"),
        ("venice", "redpill", "redpill"),
        ("", "nanogpt", "nanogpt"),
    ],
)
def test_the_profile_follows_from_the_label_unless_asked_for(label, profile, found):
    assert profile_of(label, profile) == found


@pytest.mark.parametrize(("label", "profile"), [("", None), ("acme", None), ("venice", "acme")])
def test_an_unknown_profile_lists_the_known_ones(label, profile):
    with pytest.raises(UsageError, match="near-direct"):
        profile_of(label, profile)


@pytest.mark.parametrize(
    ("method", "url", "purpose"),
    [
        ("GET", "https://x.test/v1/attestation/report?nonce=1", "attestation"),
        ("GET", "https://nano-gpt.com/api/v1/tee/attestation", "attestation"),
        ("POST", "https://x.test/private/attestation", "attestation"),
        ("GET", "https://api.chutes.ai/chutes/abc/evidence?nonce=1", "attestation"),
        ("GET", "https://api.trustedservices.intel.com/tdx/certification/v4/tcb", "collateral"),
        (
            "GET",
            "https://api.trustedservices.intel.com/sgx/certification/v4/pckcrl?ca=x",
            "revocation",
        ),
        ("GET", "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der", "revocation"),
        ("GET", "https://kdsintf.amd.com/vcek/v1/Genoa/00", "collateral"),
        ("GET", "https://kdsintf.amd.com/vcek/v1/Genoa/crl", "revocation"),
        ("POST", "https://nras.attestation.nvidia.com/v3/attest/gpu", "nras"),
        ("GET", "https://nras.attestation.nvidia.com/.well-known/jwks.json", "jwks"),
        ("GET", "https://nras.attestation.nvidia.com/health", "other"),
        ("GET", "https://rim.attestation.nvidia.com/v1/rim/X", "rim"),
        ("POST", "https://ocsp.ndis.nvidia.com/", "revocation"),
        ("GET", "https://github-proxy.tinfoil.sh/repos/a/b/releases/latest", "provenance"),
        ("POST", "https://x.test/v1/chat/completions", "chat"),
        ("GET", "https://x.test/v1/signature/abc", "signature"),
        ("GET", "https://x.test/v1/aci/receipts/abc", "receipt"),
        ("GET", "https://x.test/v1/models", "model-list"),
        ("GET", "https://rekor.sigstore.dev/api/v1/log", "other"),
    ],
)
def test_purposes_follow_from_host_and_path(method, url, purpose):
    assert purpose_of(method, url) == purpose


def test_instants_and_headers_are_read_as_recorders_write_them(tmp_path):
    assert instant_of("2026-06-10T01:49:05.3Z", "x").microsecond == 300_000
    assert instant_of("2026-06-10T03:49:05+02:00", "x").hour == 1
    assert headers_of({"A": "b", "X-Api-Key": ["c"]}, tmp_path) == (("A", "b"), ("X-Api-Key", None))
    assert headers_of(None, tmp_path) == ()


# --- saved answers and parts -----------------------------------------------------------------


def saved(folder, *, nonce="ab" * 32, headers=None):
    folder.mkdir()
    nano = sessions.Session(
        profile="nanogpt", node=sessions.model_node(count=1), attest_after=False
    )
    (folder / "m_attestation.json").write_bytes(nano.answer(bytes.fromhex(nonce)))
    if headers is not None:
        (folder / "m_headers.json").write_text(json.dumps(headers))
    (folder / "m_nonce.txt").write_text(nonce + "\n")
    return folder


def test_a_saved_answer_is_one_exchange_at_its_date(tmp_path):
    headers = {"Content-Type": ["application/json"], "Date": ["Wed, 25 Mar 2026 22:52:35 GMT"]}
    folder = saved(tmp_path / "s", headers=headers)
    statement, _, _ = statement_of(read_recording(folder))
    assert statement.profile == "nanogpt"
    (exchange,) = statement.exchanges
    assert exchange.request.url.endswith(f"?model=TEE%2Fm&nonce={'ab' * 32}")
    assert exchange.ended_at == datetime(2026, 3, 25, 22, 52, 35, tzinfo=UTC)
    assert statement.capture.imported_times == "recorded"


def test_a_saved_answer_without_date_has_the_files_time(tmp_path):
    folder = saved(tmp_path / "s")
    recording = read_recording(folder / "m_attestation.json")
    assert recording.times == "file-date"
    (folder / "m_nonce.txt").write_text("not hex")
    with pytest.raises(UsageError, match="nonce in hex"):
        read_saved_answer(folder / "m_attestation.json")
    (folder / "m_nonce.txt").unlink()
    assert "nonce" not in read_recording(folder).exchanges[0].recorded.url


def chat_folder(folder, *, created=1_780_000_000, signer=None):
    folder.mkdir()
    subject = sessions.Session(profile="near-direct", node=NEAR.node, with_marker=False)
    body = subject.chat.response.replace(b"1780000000", str(created).encode())
    (folder / "request.body").write_bytes(subject.chat.request)
    (folder / "response.body").write_bytes(body)
    (folder / "signature.json").write_bytes(
        sessions.Session(
            profile="near-direct", node=NEAR.node, with_marker=False, chat_signer=signer
        ).signature()
    )
    return folder


def test_a_chat_before_the_attestation_stands_before_it(tmp_path):
    recording = read_parts(capture(tmp_path / "c"), chat_folder(tmp_path / "chat"))
    statement, _, _ = statement_of(recording)
    purposes = [exchange.purpose for exchange in statement.exchanges]
    assert purposes[:3] == ["chat", "signature", "attestation"]
    (binding,) = statement.bindings_of("signature-covers")
    key = statement.artifact(binding.one("key"))
    assert key.role == "provider.signing-key"
    assert statement.capture.started_at == datetime.fromtimestamp(1_780_000_000, UTC)
    assert statement.capture.imported_times == "assumed"


def test_a_chat_without_a_time_follows_the_attestation(tmp_path):
    folder = chat_folder(tmp_path / "chat")
    body = (folder / "response.body").read_bytes().replace(b'"created"', b'"made"')
    (folder / "response.body").write_bytes(body)
    recording = read_parts(capture(tmp_path / "c"), folder)
    assert [named.recorded.purpose for named in recording.exchanges][-2:] == ["chat", "signature"]


def test_a_signer_that_no_answer_offers_is_kept_as_stated(tmp_path):

    stranger = ecdsa_signer("stranger")
    folder = chat_folder(tmp_path / "chat", signer=stranger)
    statement, made, _ = statement_of(read_parts(capture(tmp_path / "c"), folder))
    (binding,) = statement.bindings_of("signature-covers")
    key = statement.artifact(binding.one("key"))
    assert key.role == "provider.evidence"
    assert made.assembly.body(key.id).decode() == stranger.address


@pytest.mark.parametrize("name", ["request.body", "response.body", "signature.json"])
def test_a_chat_folder_without_a_file_names_it(tmp_path, name):
    folder = chat_folder(tmp_path / "chat")
    (folder / name).unlink()
    with pytest.raises(UsageError, match=f"no {name}"):
        read_parts(capture(tmp_path / "c"), folder)


@pytest.mark.parametrize(("text", "says"), [("{", "strict JSON"), ("[]", "JSON object")])
def test_a_signature_that_is_no_object_is_refused(tmp_path, text, says):
    folder = chat_folder(tmp_path / "chat")
    (folder / "signature.json").write_text(text)
    with pytest.raises(UsageError, match=says):
        read_parts(capture(tmp_path / "c"), folder)


def test_an_answer_that_there_is_no_signature_covers_nothing(tmp_path):
    folder = chat_folder(tmp_path / "chat")
    (folder / "signature.json").write_text('{"error":{"message":"gone"}}')
    statement, _, _ = statement_of(read_parts(capture(tmp_path / "c"), folder))
    assert not statement.bindings_of("signature-covers")


def test_a_bare_body_needs_a_profile_and_says_what_was_not_recorded(tmp_path):
    path = tmp_path / "report.json"
    path.write_bytes(NEAR.answer(NEAR.nonces[0][0]))
    recording = read_parts(path, nonce=NEAR.nonces[0][0].hex())
    with pytest.raises(UsageError, match="--profile"):
        drafted(recording)
    statement, _, _ = statement_of(recording, profile="near-direct")
    assert statement.exchanges[0].request.url.startswith("https://unrecorded.invalid/")
    assert statement.capture.imported_times == "file-date"
    assert statement.nonces[0].value == NEAR.nonces[0][0]
    at = datetime(2026, 4, 21, tzinfo=UTC)
    silent = read_parts(path, captured_at=at)
    assert (silent.times, silent.ended_at) == ("assumed", at)
    assert not statement_of(silent, profile="near-direct")[0].nonces
    with pytest.raises(UsageError, match="--nonce"):
        read_parts(path, nonce="xyz")


# --- real recordings -------------------------------------------------------------------------

REAL = (
    "nanogpt_tee_gemma-3-27b-it_20260610_014905",
    "nearcloud_qwen_qwen3.5-122b-a10b_20260610_014855",
    "neardirect_qwen_qwen3.5-122b-a10b_20260610_015359",
    "venice_e2ee-qwen3-5-122b-a10b_20260610_014707",
    "nanogpt_20260325_225022/gemma-3-27b-it",
    "nanogpt_20260325_225022/glm-5",
    "nanogpt_20260325_225022/gpt-oss-120b",
    "nanogpt_20260325_225022/qwen3-30b-a3b-instruct-2507",
)


@pytest.mark.parametrize("name", REAL)
def test_a_real_recording_is_imported_whole_and_without_cookies(evidence_root, name):
    folder = evidence_root / "captures" / name
    expected = json.loads((folder / "expected.json").read_text())
    statement, _, frozen = statement_of(read_recording(folder))
    everything = frozen.payload + b"".join(frozen.blobs.values())
    for secret in (b"_cfuvid", b"JSESSIONID"):
        assert secret not in everything
    assert statement.nonces[0].value.hex() == expected["nonce"]["sent"]
    own = [r for r in expected["reports"] if "same_evidence_as" not in r]
    quotes = {
        a.digest
        for a in statement.of_role("tdx.quote")
        if "compose_manager" not in a.origin.steps[0]
    }
    assert quotes == {"sha256:" + r["quote"]["sha256"] for r in own}
    managers = sum("compose_manager" in r for r in own)
    assert len(statement.of_role("tdx.quote")) == len(own) + managers
    gpus = sum((r.get("gpu") or {}).get("count", 0) for r in own)
    assert len(statement.of_role("nvidia.gpu-evidence")) == gpus
    if expected["as_of_unix"] is not None:
        assert int(statement.capture.ended_at.timestamp()) == expected["as_of_unix"]
    assert len(statement.bindings_of("nras-covers")) == len(expected.get("nras", []))
    by_quote = {b.one("evidence"): b.many("with") for b in statement.bindings_of("collateral-for")}
    if expected.get("collateral"):
        assert set(by_quote) == {a.id for a in statement.of_role("tdx.quote")}
        assert {len(ids) for ids in by_quote.values()} == {7}


OTHERS = {
    "chutes_zai-org_glm-5-tee_20260520_021819": ("chutes", 4, 32),
    "nanogpt_20260325_225022/deepseek-v3.2": ("nanogpt", 5, 40),
    "nanogpt_20260325_225022/llama3-3-70b": ("nanogpt", 1, 0),
    "tinfoil_v3_direct_gemma4-31b_20260629_020805": ("tinfoil-v3", 1, 1),
    "tinfoil_v3_cloud_llama3-3-70b_20260629_021249": ("tinfoil-v3", 1, 0),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_real_recording_of_another_family_is_imported_whole(evidence_root, name):
    profile, cpus, gpus = OTHERS[name]
    statement, _, frozen = statement_of(read_recording(evidence_root / "captures" / name))
    everything = frozen.payload + b"".join(frozen.blobs.values())
    assert b"_cfuvid" not in everything
    assert statement.profile == profile
    assert len(statement.of_role("tdx.quote", "snp.report")) == cpus
    assert len(statement.of_role("nvidia.gpu-evidence")) == gpus
    assert len(statement.bindings_of("key-in-evidence")) == (
        cpus if "chutes" in name or gpus == 40 else 0
    )


def test_a_real_snp_report_is_joined_to_its_endorsements(evidence_root):
    name = "tinfoil_v3_cloud_llama3-3-70b_20260629_021249"
    statement, _, _ = statement_of(read_recording(evidence_root / "captures" / name))
    (binding,) = statement.bindings_of("chain-for")
    roles = {statement.artifact(item).role for item in binding.many("with")}
    assert roles == {"amd.vek", "amd.chain"}
    for role in ("release.digest", "release.manifest", "release.attestations"):
        assert len(statement.of_role(role)) == 1
    (release,) = statement.bindings_of("release-for")
    assert release.one("evidence") == binding.one("evidence")
    named = {statement.artifact(item).role for item in release.many("release")}
    assert named == {"release.digest", "release.manifest", "release.attestations"}


def test_the_real_signed_chat_is_joined_to_the_attestation_of_its_signer(evidence_root):
    recording = read_parts(
        evidence_root / "captures" / "venice_e2ee-qwen3-5-122b-a10b_20260610_014707",
        evidence_root / "chat" / "near-qwen35-122b-20260602",
    )
    statement, made, _ = statement_of(recording)
    (binding,) = statement.bindings_of("signature-covers")
    assert made.assembly.body(binding.one("key")) == b"0x6525e128afcffebf7eed05d485d7be983cdae934"
    assert statement.exchanges[0].purpose == "chat"
    assert statement.exchanges[0].started_at == datetime.fromtimestamp(1_780_404_899, UTC)


# --- what the command line asks beside it ----------------------------------------------------


def test_a_nonce_asked_for_must_be_the_recordings_own(tmp_path):
    folder = capture(tmp_path / "c")
    sent = NEAR.nonces[0][0].hex()
    assert read_parts(folder, nonce=sent.upper()).exchanges
    for wrong in ("00" * 32, "zz", ""):
        with pytest.raises(UsageError, match="not the nonce of this recording"):
            read_parts(folder, nonce=wrong)


@pytest.mark.parametrize("chat", [False, True])
def test_a_place_that_is_not_there_is_named(tmp_path, chat):
    missing = tmp_path / "missing"
    places = (capture(tmp_path / "c"), missing) if chat else (missing, None)
    with pytest.raises(UsageError, match="missing: no such file or folder"):
        read_parts(*places)
