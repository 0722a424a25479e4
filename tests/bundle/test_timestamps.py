"""Time stamps: what is asked, what is refused, what a bundle then proves."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest

from bundle.calls import Call
from bundle.timestamps import Proof, StampError, in_order, stamp, stamped, stamping
from fixtures import goods, time_sim
from fixtures.registry import Case
from fixtures.sealed import Draft
from fixtures.sessions import AS_OF, CAPTURER, STRANGER
from fixtures.time_sim import Stamp
from fixtures.verification import answer
from tests.bundle.timestamp_case import (
    AT,
    REPLY,
    Authority,
    bare_store,
    beaconed,
    honest,
    policy,
    sealed,
    send,
    store,
    with_tokens,
)
from verify.engine.errors import MalformedInput, UsageError
from verify.trust.store import TrustStore
from verify.wire.container import read_bundle

DATA = sealed()


def signature(data=DATA):
    return read_bundle(data).statement.envelope.signatures[0].sig


def case(data, level, **policy_of):
    return Case(bundle=data, policy=policy(level, **policy_of), trust=(time_sim.trusted(),))


def bracket(report):
    return next(row for row in report.checks if row.id == "time.bracket")


# --- what is asked -------------------------------------------------------------------------------


def test_request_is_the_digest_with_a_nonce_and_asks_for_certificates():
    with Authority() as authority:
        stamp(DATA, [authority.url], store(), send)
    ((headers, query, body),) = authority.received
    assert headers["Content-Type"] == "application/timestamp-query"
    assert headers["Accept"] == REPLY
    assert (query.algorithm, query.imprint) == ("sha256", sha256(signature()).digest())
    assert query.embedded
    assert query.nonce > 2**32
    assert len(body) < 128, "nothing else leaves the machine"
    assert signature() not in body


def test_every_request_has_a_nonce_of_its_own():
    with Authority() as authority:
        stamp(DATA, [authority.url], store(), send)
        stamp(DATA, [authority.url], store(), send)
    assert len({query.nonce for _, query, _ in authority.received}) == 2


def test_calls_are_named_and_bounded():
    steps = stamping(DATA, ["https://a.example/tsa", "https://b.example/tsa"], store())
    call = next(steps)
    steps.close()
    assert isinstance(call, Call)
    assert (call.step, call.purpose, call.method) == ("timestamp.1.1", "time", "POST")
    assert call.bounds.body == 32 << 10
    assert call.credential is None


# --- what it proves ------------------------------------------------------------------------------


def test_stamped_bundle_proves_an_upper_bound():
    with Authority() as authority:
        made = stamped(DATA, [authority.url], store(), send)
    latest = AT + timedelta(seconds=1)
    (keyid,) = {one.keyid for one in read_bundle(DATA).statement.envelope.signatures}
    assert made.proofs == (Proof(keyid=keyid, url=authority.url, by="test-tsa", instant=latest),)
    assert made.captured == AS_OF
    found = answer(case(made.data, "upper"))
    assert found.verdict == "VERIFIED"
    fact = found.report.outcomes["time.bracket"].fact
    assert fact.level.value == "upper"
    assert (fact.not_after.instant, fact.not_after.by) == (latest, "name:test-tsa")
    assert fact.not_before is None


def test_bundle_without_the_stamp_does_not():
    found = answer(case(DATA, "upper"))
    assert found.verdict == "INCOMPLETE"
    assert found.checks["time.bracket"][1] == "time.level_insufficient"


def test_stamped_bundle_with_a_beacon_is_bracketed():
    data = beaconed()
    bare = answer(case(data, "bracketed", marked=False))
    assert bare.checks["time.bracket"][1] == "time.level_insufficient"
    with Authority() as authority:
        made = stamp(data, [authority.url], store(), send)
    found = answer(case(made, "bracketed", marked=False))
    assert found.verdict == "VERIFIED", found.checks
    fact = found.report.outcomes["time.bracket"].fact
    assert fact.level.value == "bracketed"
    assert fact.not_before.by == "name:test-witness"


def test_nothing_but_material_changes():
    with Authority() as authority:
        made = stamp(DATA, [authority.url], store(), send)
    before, after = json.loads(DATA), json.loads(made)
    (entry,) = after.pop("material")
    assert before.pop("material") == []
    assert before == after
    assert list(after) == list(before)
    assert read_bundle(made).id == read_bundle(DATA).id
    assert sorted(entry) == ["keyid", "rfc3161", "tlogProofs", "x509Chain"]


def test_two_authorities_give_two_tokens_in_one_entry():
    with Authority() as first, Authority(give=lambda q: honest(q, serial=8)) as second:
        made = stamped(DATA, [first.url, second.url], store(), send)
    (material,) = read_bundle(made.data).statement.material
    assert len(material.timestamps) == 2
    assert [proof.url for proof in made.proofs] == [first.url, second.url]
    assert answer(case(made.data, "upper")).verdict == "VERIFIED"


def test_every_signature_of_the_bundle_is_stamped():
    data = sealed(signers=(CAPTURER, STRANGER))
    with Authority() as authority:
        made = stamp(data, [authority.url], store(), send)
    bundle = read_bundle(made)
    assert {entry.keyid for entry in bundle.statement.material} == {
        one.keyid for one in bundle.statement.envelope.signatures
    }
    assert len(authority.received) == 2


def test_tokens_that_were_there_stay():
    data = with_tokens(DATA, 3)
    with Authority() as authority:
        made = stamp(data, [authority.url], store(), send)
    (before,), (after,) = read_bundle(data).statement.material, read_bundle(made).statement.material
    assert after.timestamps[:3] == before.timestamps
    assert len(after.timestamps) == 4


def test_answer_recorded_before_an_interruption_brings_its_own_request():
    with Authority() as authority:
        steps = stamping(DATA, [authority.url], store())
        kept = send(next(steps))
        steps.close()
    again = stamping(DATA, [authority.url], store())
    assert next(again).body != kept.request_body
    with pytest.raises(StopIteration) as done:
        again.send(kept)
    assert answer(case(done.value.value.data, "upper")).verdict == "VERIFIED"


# --- what is refused -----------------------------------------------------------------------------


def other_imprint(query):
    return honest(replace(query, imprint=sha256(b"something else").digest()))


REFUSED = {
    "wrong nonce": (lambda q: honest(q, nonce=q.nonce ^ 1), "answers another request"),
    "no nonce": (lambda q: honest(q, nonce=None), "answers another request"),
    "wrong imprint": (other_imprint, "over other bytes"),
    "rejected": (lambda _: time_sim.refused(2, 25), "status is 2, not granted"),
    "waiting": (lambda _: time_sim.refused(3), "status is 3, not granted"),
    "granted with changes": (lambda q: honest(q, status=1), "status is 1, not granted"),
    "certificate ended": (
        lambda q: honest(q, end=AT - timedelta(seconds=1)),
        "was not in force at the time it states",
    ),
    "certificate not begun": (
        lambda q: honest(q, start=AT + timedelta(seconds=1)),
        "was not in force at the time it states",
    ),
    "root ended": (
        lambda q: honest(
            q, at=datetime(2027, 6, 1, tzinfo=UTC), end=datetime(2028, 1, 1, tzinfo=UTC)
        ),
        "was not in force at the time it states",
    ),
    "no certificate": (lambda q: honest(q, embedded=False), "0 certificates embedded"),
    "another key signed": (
        lambda q: honest(q, signer="stranger"),
        "does not lead to the authority",
    ),
    "another root": (
        lambda q: honest(q, root=time_sim.LASTING_ROOT),
        "leads to no authority of the trust files",
    ),
    "before the capture": (
        lambda q: honest(q, at=AS_OF - timedelta(seconds=4)),
        "before the end of the capture",
    ),
    "no response": (lambda _: b"", "not a time stamp response"),
    "text": (lambda _: b"not DER", "not a time stamp response"),
    "cut": (lambda q: honest(q)[:-9], "not a time stamp response"),
    "too long": (lambda q: honest(q) + bytes(40 << 10), "32768"),
    "status 500": (lambda _: (500, "text/plain", b"oops"), "status 500"),
    "status 404": (lambda q: (404, REPLY, honest(q)), "status 404"),
    "another type": (lambda q: (200, "text/html", honest(q)), "with text/html"),
}


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_answer_is_refused(name):
    give, what = REFUSED[name]
    with Authority(give=give) as authority, pytest.raises(StampError, match=what) as error:
        stamp(DATA, [authority.url], store(), send)
    text = str(error.value)
    assert authority.url in text
    assert text.endswith("; nothing was added")
    assert "\n" not in text
    tries = 4 if name == "status 500" else 1
    assert len(authority.received) == tries


def test_second_authority_that_fails_undoes_the_first():
    with (
        Authority() as good,
        Authority(give=lambda _: time_sim.refused()) as bad,
        pytest.raises(StampError),
    ):
        stamp(DATA, [good.url, bad.url], store(), send)
    assert len(good.received) == 1


def test_authority_that_is_busy_once_is_asked_again_with_another_nonce():
    answers = iter([(503, "text/plain", b"busy")])
    with Authority(give=lambda query: next(answers, None) or honest(query)) as authority:
        made = stamp(DATA, [authority.url], store(), send)
    assert len({query.nonce for _, query, _ in authority.received}) == 2
    assert answer(case(made, "upper")).verdict == "VERIFIED"


def test_authority_that_is_not_there_is_named():
    with Authority() as authority:
        url = authority.url
    with pytest.raises(StampError, match=url):
        stamp(DATA, [url], store(), send)


def test_time_up_to_the_clock_error_before_the_end_is_accepted():
    with Authority(give=lambda q: honest(q, at=AS_OF - timedelta(seconds=3))) as authority:
        made = stamp(DATA, [authority.url], store(), send)
    assert answer(case(made, "upper")).verdict == "VERIFIED"


def compromised(since):
    return {
        "test_tsa": {"status": "compromised", "since": since.strftime("%Y-%m-%dT%H:%M:%S.000Z")}
    }


def test_authority_compromised_before_is_refused():
    with Authority() as authority, pytest.raises(StampError, match="was not in force"):
        stamp(DATA, [authority.url], store(**compromised(AT)), send)


def test_authority_compromised_later_still_counts():
    with Authority() as authority:
        stamp(DATA, [authority.url], store(**compromised(AT + timedelta(seconds=1))), send)
    assert len(authority.received) == 1


def test_secret_in_the_address_is_not_repeated():
    with Authority(give=lambda _: time_sim.refused()) as authority:
        with pytest.raises(StampError) as error:
            stamp(DATA, [f"{authority.url}?token=hush-hush-hush"], store(), send)
    assert "hush" not in str(error.value)


# --- before anything is asked --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "urls", "trust", "error", "what"),
    [
        (
            DATA,
            ["https://t.example"],
            bare_store,
            UsageError,
            "no time-stamping authority is trusted",
        ),
        (DATA, [], store, UsageError, "--tsa"),
        (DATA, ["https://t.example"] * 2, store, UsageError, "named twice"),
        (DATA, [f"https://t{n}.example" for n in range(9)], store, UsageError, "at most 8"),
        (with_tokens(DATA, 8), ["https://t.example"], store, UsageError, "the bundle has 8"),
        (b"{}", ["https://t.example"], store, MalformedInput, "media|required|schema|member"),
    ],
)
def test_nothing_is_asked_where_nothing_can_come_of_it(data, urls, trust, error, what):
    def never(call):
        raise AssertionError(call)

    with pytest.raises(error, match=what):
        stamp(data, urls, trust(), never)


def test_statement_of_a_later_version_is_left_alone():
    def later(document):
        document["predicate"]["schema"] = "1.9"

    data = Draft(session=goods.nanogpt(), statement=later).build()
    with pytest.raises(StampError, match="cannot be read"):
        stamp(data, ["https://t.example"], store(), send)


def test_recorded_request_without_a_nonce_proves_nothing():
    with Authority() as authority:
        steps = stamping(DATA, [authority.url], store())
        kept = send(next(steps))
    parts = kept.request_body
    bare = replace(kept, request_body=b"\x30\x00", response_body=kept.response_body)
    assert parts != bare.request_body
    with pytest.raises(StampError, match="without a nonce"):
        steps.send(bare)


def test_file_that_changed_besides_is_not_given_out(monkeypatch):
    from bundle.seal import packed

    def forgetful(document):
        return packed(
            {
                **document,
                "redactions": [{"artifact": "quote-1", "reason": "size", "attachment": None}],
            }
        )

    monkeypatch.setattr("bundle.timestamps.packed", forgetful)
    with Authority() as authority, pytest.raises(StampError, match="the bundle changed"):
        stamp(DATA, [authority.url], store(), send)


@pytest.mark.parametrize("data", [b"", b"\x30\x00", time_sim.refused(2, 25), b"\x30\x80\x00\x00"])
def test_sets_of_what_is_no_token_stay_as_they_are(data):
    assert in_order(data) == data


def test_sets_in_order_stay_as_they_are():
    token = Stamp(at=AT).over(signature())
    assert in_order(token) == token


# --- another implementation ----------------------------------------------------------------------

CONFIGURATION = """
[tsa]
default_tsa = unit
[unit]
serial = serial
crypto_device = builtin
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256, sha384, sha512
accuracy = secs:1, millisecs:500
ordering = no
tsa_name = no
ess_cert_id_chain = {chain}
ess_cert_id_alg = {algorithm}
"""


@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
@pytest.mark.parametrize("chain", ["no", "yes"])
def test_token_of_openssl_is_accepted(tmp_path, algorithm, chain):
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("no openssl on this machine to compare with")
    from cryptography.hazmat.primitives import serialization

    from fixtures.intel_pki import key, pem

    (tmp_path / "serial").write_text("01\n")
    (tmp_path / "tsa.cnf").write_text(CONFIGURATION.format(chain=chain, algorithm=algorithm))
    root, unit = openssl_authority()
    (tmp_path / "root.pem").write_bytes(pem(root))
    (tmp_path / "unit.pem").write_bytes(pem(unit))
    (tmp_path / "unit.key").write_bytes(
        key("openssl unit").private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )

    def run(*words):
        subprocess.run(
            [program, "ts", *words], cwd=tmp_path, check=True, capture_output=True, timeout=30
        )

    def reply(call):
        (tmp_path / "query.tsq").write_bytes(call.body)
        run(
            *("-reply", "-config", "tsa.cnf", "-queryfile", "query.tsq", "-out", "reply.tsr"),
            *("-signer", "unit.pem", "-inkey", "unit.key", "-chain", "root.pem"),
        )
        run(
            *("-verify", "-queryfile", "query.tsq", "-in", "reply.tsr", "-CAfile", "root.pem"),
        )
        from tests.bundle.collateral_case import recorded

        body = (tmp_path / "reply.tsr").read_bytes()
        return recorded(call, 200, body, [("Content-Type", REPLY)])

    session = replace(goods.nanogpt(), end=datetime(2024, 1, 1, tzinfo=UTC))
    trust = TrustStore.build(files=[openssl_trust(root)])
    made = stamped(Draft(session=session).build(), ["https://t.example"], trust, reply)
    (proof,) = made.proofs
    assert proof.by == "openssl"
    (kept,) = read_bundle(made.data).statement.material[0].timestamps
    (tmp_path / "reply.tsr").write_bytes(kept)
    run("-verify", "-queryfile", "query.tsq", "-in", "reply.tsr", "-CAfile", "root.pem")
    assert abs(proof.instant - datetime.now(UTC)) < timedelta(days=1)


def openssl_authority():
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    from fixtures.intel_pki import key

    def made(subject, *, ca):
        named = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{subject} (TEST ONLY)")])
        issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "openssl root (TEST ONLY)")])
        flags = dict.fromkeys(
            (
                "content_commitment",
                "key_encipherment",
                "data_encipherment",
                "key_agreement",
                "encipher_only",
                "decipher_only",
            ),
            False,
        )
        builder = (
            x509.CertificateBuilder()
            .subject_name(named)
            .issuer_name(issuer)
            .public_key(key(subject).public_key())
            .serial_number(1 + ca)
            .not_valid_before(datetime(2024, 1, 1, tzinfo=UTC))
            .not_valid_after(datetime(2049, 1, 1, tzinfo=UTC))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(
                x509.KeyUsage(digital_signature=not ca, key_cert_sign=ca, crl_sign=ca, **flags),
                critical=True,
            )
        )
        if not ca:
            usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING])
            builder = builder.add_extension(usage, critical=True)
        signed = builder.sign(key("openssl root"), hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.DER)

    return made("openssl root", ca=True), made("openssl unit", ca=False)


def openssl_trust(root):
    from fixtures import trust_file
    from verify.trust.file import read_trust_file

    entry = time_sim._anchor(
        "openssl", "tsa", "x509", base64.b64encode(root).decode(), sha256(root).digest()
    )
    return read_trust_file(trust_file.document([*trust_file.anchors(), entry]))
