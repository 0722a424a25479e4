"""Submission over real HTTP to a simulated service: honest, failing, lying, and what stays."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

import bundle.transport
from bundle import online
from bundle.cli import app
from bundle.nras import Line, OnlineUnavailable, Submission, judgement, submit
from bundle.online import Asked, submit_to_file, verify_online
from bundle.transport import Bounds, Transport, TransportError, demand_secure
from fixtures import goods, policies, trust_file
from fixtures.nras_service import Service
from fixtures.registry import Case
from fixtures.sealed import Draft
from fixtures.sessions import AS_OF, CAPTURER, STRANGER, gpus
from verify.cli.console import run_app
from verify.engine.errors import UsageError
from verify.engine.report import Report
from verify.policy.loader import load_policy
from verify.trust.file import read_trust_file

KEY_NAME = "THE_KEY"
API_KEY = "nvapi-0123456789-abcdefghijklmnop"
UNANSWERED = replace(goods.nanogpt(), with_nras=False)
DEVICES = UNANSWERED.node.devices


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the exchange happen within the simulated key's 48 hours."""
    times = iter(AS_OF + timedelta(milliseconds=100 * step) for step in range(100_000))
    monkeypatch.setattr(bundle.transport, "utc_now", lambda: next(times))
    monkeypatch.setattr(
        Transport.__init__,
        "__kwdefaults__",
        {**Transport.__init__.__kwdefaults__, "clock": lambda: next(times)},
    )
    monkeypatch.setattr("bundle.nras.ATTEMPTS", 3)
    monkeypatch.setattr("bundle.nras.FIRST_DELAY_S", 0.0)


def case() -> Case:
    document = policies.session_document("nanogpt", goods.nanogpt())
    document["subjects"]["nras"] = {"mode": "required"}
    document["attachments"]["accept"] = [key_id()]
    return Case(
        bundle=Draft(session=UNANSWERED).build(),
        policy=policies.written(document),
        trust=(trust_file.document(),),
    )


def key_id() -> str:
    from bundle.keys import key_id as of

    return of(CAPTURER.spki())


def submitted(service: Service, **asked: object) -> tuple[bytes, Report]:
    given = case()
    under = judgement(
        given.bundle,
        policy=load_policy(given.policy),
        files=[read_trust_file(data) for data in given.trust],
        signers=[],
        key=CAPTURER,
    )
    submission = Submission(service=service.url, consent=True, **asked)  # type: ignore[arg-type]
    with Transport() as transport:
        line = Line(transport=transport, asked=submission, sleep=lambda _s: None)
        made = submit(given.bundle, key=CAPTURER, under=under, asked=submission, line=line)
    return made.data, made.report


def ended(report: Report) -> dict[str, str]:
    return {
        row.id: row.reason.code
        for row in report.checks
        if row.status.value in {"FAIL", "BLOCKED"}
        and row.reason is not None
        and row.reason.code != "need.not_passed"
    }


@pytest.mark.parametrize("claims", ["2.0", "3.0"])
def test_submission_honest_answer_is_attached_and_verified(claims: str) -> None:
    with Service(devices=DEVICES) as service:
        data, report = submitted(service, claims=claims)
    assert report.verdict.value == "VERIFIED"
    assert {"nras.token", "nras.result", "nras.binding"} <= {
        row.id for row in report.checks if row.status.value == "PASS"
    }
    document, before = json.loads(data), json.loads(case().bundle)
    assert document["statement"] == before["statement"], "the bundle's own signature is untouched"
    assert len(document["attachments"]) == 2, "one call for each nonce that devices carry"
    post, get, *_ = service.journal
    assert (post.method, post.path) == ("POST", f"/{'v4' if claims == '3.0' else 'v3'}/attest/gpu")
    assert (get.method, get.path) == ("GET", "/.well-known/jwks.json")
    body = json.loads(post.body)
    assert (body["claims_version"], body["arch"]) == (claims, "HOPPER")
    assert len(body["evidence_list"]) == len(DEVICES)
    assert "x-nvidia-ocsp-allow-cert-hold" not in post.headers
    assert post.headers["accept-encoding"] == "identity"


def test_submission_negative_answer_is_kept_and_rejects() -> None:
    with Service(devices=DEVICES, result=False) as service:
        _, report = submitted(service)
    assert report.verdict.value == "REJECTED"
    assert ended(report) == {"nras.result": "nras.result.overall_false"}


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({"nonce": bytes(32)}, {"nras.binding": "nras.bind.nonce_mismatch"}),
        ({"kid": "nobody"}, {"nras.token": "nras.jwt.kid_unknown"}),
        ({"swap": gpus(1, "other box")}, {"nras.binding": "nras.bind.ueid_mismatch"}),
        (
            {"issued": AS_OF - timedelta(days=3)},
            {"nras.token": "nras.key.time_invalid"},
        ),
    ],
)
def test_submission_lying_answer_is_kept_and_rejects(
    fault: dict[str, object], expected: dict[str, str]
) -> None:
    with Service(devices=DEVICES, **fault) as service:  # type: ignore[arg-type]
        _, report = submitted(service)
    assert report.verdict.value == "REJECTED"
    assert ended(report) == expected


@pytest.mark.parametrize(
    ("fault", "code", "calls"),
    [
        ({"answer": b"<html>"}, "nras.online.rejected", 2),
        ({"jwks": b"[]"}, "nras.online.rejected", 2),
        ({"statuses": [400]}, "nras.online.rejected", 1),
        ({"statuses": [401]}, "nras.online.unauthorized", 1),
        ({"statuses": [403]}, "nras.online.unauthorized", 1),
        ({"statuses": [404]}, "nras.online.rejected", 1),
        ({"statuses": [302]}, "nras.online.rejected", 1),
        ({"statuses": [429] * 9}, "nras.online.rate_limited", 3),
        ({"statuses": [500] * 9}, "nras.online.unavailable", 3),
        ({"statuses": [503] * 9}, "nras.online.unavailable", 3),
        ({"hang_up": True}, "nras.online.unavailable", 3),
    ],
)
def test_submission_without_answer_attaches_nothing(
    fault: dict[str, object], code: str, calls: int
) -> None:
    with Service(devices=DEVICES, **fault) as service:  # type: ignore[arg-type]
        with pytest.raises(OnlineUnavailable) as caught:
            submitted(service)
        assert caught.value.code == code
        assert len(service.journal) == calls


def test_submission_transient_failures_are_tried_again() -> None:
    with Service(devices=DEVICES, statuses=[503, 429], headers={"Retry-After": "0"}) as service:
        _, report = submitted(service)
        assert len(service.journal) == 6
    assert report.verdict.value == "VERIFIED"


@pytest.mark.parametrize("text", ["Wed, 10 Jun 2026 12:00:00 GMT", "soon"])
def test_submission_retry_after_in_other_forms_is_bounded(text: str) -> None:
    with Service(devices=DEVICES, statuses=[503], headers={"Retry-After": text}) as service:
        assert submitted(service)[1].verdict.value == "VERIFIED"


def test_submission_oversized_answer_is_not_read_to_its_end() -> None:
    with Service(devices=DEVICES, answer=b" " * 5000) as service:
        with (
            Transport(bounds=Bounds(body=1000)) as transport,
            pytest.raises(TransportError, match="more than 1000 bytes") as caught,
        ):
            transport.exchange("POST", service.url, purpose="nras", body=b"{}")
        assert (caught.value.trouble, caught.value.again) == ("too-large", False)


def test_submission_api_key_is_sent_and_nowhere_kept() -> None:
    with Service(devices=DEVICES) as service:
        data, _ = submitted(service, api_key=API_KEY)
    assert all(seen.headers["authorization"] == f"Bearer {API_KEY}" for seen in service.journal)
    assert API_KEY.encode() not in data
    assert API_KEY not in repr(Submission(api_key=API_KEY))
    with Service(devices=DEVICES, statuses=[401]) as service:
        with pytest.raises(OnlineUnavailable) as caught:
            submitted(service, api_key=API_KEY)
    assert API_KEY not in str(caught.value)


def test_submission_without_consent_sends_nothing() -> None:
    with Service(devices=DEVICES) as service:
        with pytest.raises(UsageError, match="consent"):
            given = case()
            under = judgement(
                given.bundle, policy=load_policy(given.policy), files=[], signers=[], key=CAPTURER
            )
            asked = Submission(service=service.url)
            with Transport() as transport:
                submit(
                    given.bundle,
                    key=CAPTURER,
                    under=under,
                    asked=asked,
                    line=Line(transport=transport, asked=asked),
                )
        assert service.journal == []


def test_submission_of_evidence_that_fails_its_own_checks_sends_nothing() -> None:
    given = case()
    under = judgement(
        given.bundle, policy=load_policy(given.policy), files=[], signers=[], key=CAPTURER
    )
    with Service(devices=DEVICES) as service:
        asked = Submission(service=service.url, consent=True)
        with Transport() as transport, pytest.raises(UsageError, match="nothing was sent"):
            submit(
                given.bundle,
                key=CAPTURER,
                under=under,
                asked=asked,
                line=Line(transport=transport, asked=asked),
            )
        assert service.journal == []


def test_submission_already_answered_asks_again_only_on_request() -> None:
    given = goods.good("nanogpt")
    under = judgement(
        given.bundle,
        policy=None,
        files=[read_trust_file(d) for d in given.trust],
        signers=[],
        key=CAPTURER,
    )
    assert not under.given
    with Service(devices=DEVICES) as service:
        for again in (False, True):
            asked = Submission(service=service.url, consent=True, again=again)
            with Transport() as transport:
                line = Line(transport=transport, asked=asked)
                if again:
                    made = submit(given.bundle, key=CAPTURER, under=under, asked=asked, line=line)
                    passed = {r.id for r in made.report.checks if r.status.value == "PASS"}
                    assert {"nras.token", "nras.result", "nras.binding"} <= passed
                else:
                    with pytest.raises(UsageError, match="answer already"):
                        submit(given.bundle, key=CAPTURER, under=under, asked=asked, line=line)


@pytest.mark.parametrize(
    "url", ["http://example.test/", "ftp://127.0.0.1/", "https:///x", "http://10.0.0.1/"]
)
def test_transport_insecure_address_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="only https"):
        demand_secure(url)


@pytest.mark.parametrize(
    "url", ["https://example.test/", "http://127.0.0.1:1/", "http://localhost/"]
)
def test_transport_secure_or_loopback_address_is_taken(url: str) -> None:
    demand_secure(url)


# --- commands ---------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    given = case()
    (tmp_path / "b.evidence.json").write_bytes(given.bundle)
    (tmp_path / "p.yaml").write_bytes(given.policy)
    (tmp_path / "t.json").write_bytes(given.trust[0])
    (tmp_path / "k.pem").write_bytes(CAPTURER.private_pem())
    (tmp_path / "other.pem").write_bytes(STRANGER.private_pem())
    return tmp_path


def words(folder: Path, service: Service, *more: str) -> list[str]:
    return [
        str(folder / "b.evidence.json"),
        "--policy",
        str(folder / "p.yaml"),
        "--trust",
        str(folder / "t.json"),
        "--online",
        "nras",
        "--key",
        str(folder / "k.pem"),
        "--service",
        service.url,
        *more,
    ]


def test_command_writes_a_new_bundle_and_leaves_the_old(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_NAME, API_KEY)
    before = (folder / "b.evidence.json").read_bytes()
    with Service(devices=DEVICES) as service:
        with pytest.raises(SystemExit) as ended_with:
            run_app(
                app,
                [
                    "nras",
                    str(folder / "b.evidence.json"),
                    "--key",
                    str(folder / "k.pem"),
                    "--out",
                    str(folder / "new.json"),
                    "--service",
                    service.url,
                    "--yes",
                    "--api-key-env",
                    KEY_NAME,
                    "--policy",
                    str(folder / "p.yaml"),
                    "--trust",
                    str(folder / "t.json"),
                ],
                "teebundle",
            )
    out = capsys.readouterr()
    assert ended_with.value.code == 0, out.err
    assert out.out.startswith("VERIFIED")
    assert "serial numbers" in out.err
    assert API_KEY not in out.out + out.err
    assert (folder / "b.evidence.json").read_bytes() == before
    assert API_KEY.encode() not in (folder / "new.json").read_bytes()


def test_command_service_down_writes_nothing_and_ends_five(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Service(devices=DEVICES, statuses=[500] * 9) as service:
        code = submit_to_file(
            Asked(
                bundle=str(folder / "b.evidence.json"),
                key=folder / "k.pem",
                service=service.url,
                consent=True,
            ),
            policy=str(folder / "p.yaml"),
            trust=(str(folder / "t.json"),),
            signer=(),
            out=folder / "new.json",
            overwrite=False,
        )
    assert code == 5
    assert "nras.online.unavailable" in capsys.readouterr().err
    assert not (folder / "new.json").exists()


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"claims": "1.0"}, "2.0 or 3.0"),
        ({"api_key_env": "NOT_THERE"}, "holds no API key"),
        ({"consent": False}, "--yes"),
    ],
)
def test_command_wrong_call_sends_nothing(
    folder: Path, changes: dict[str, object], match: str
) -> None:
    with Service(devices=DEVICES) as service:
        asked = Asked(
            bundle=str(folder / "b.evidence.json"),
            key=folder / "k.pem",
            service=service.url,
            consent=True,
        )
        with pytest.raises(UsageError, match=match):
            submit_to_file(
                replace(asked, **changes),  # type: ignore[arg-type]
                policy=str(folder / "p.yaml"),
                trust=(str(folder / "t.json"),),
                signer=(),
                out=folder / "new.json",
                overwrite=False,
            )
        assert service.journal == []


def test_command_existing_target_is_not_touched(folder: Path) -> None:
    (folder / "new.json").write_text("mine")
    with pytest.raises(UsageError, match="exists already"):
        submit_to_file(
            Asked(bundle=str(folder / "b.evidence.json"), key=folder / "k.pem"),
            policy=None,
            trust=(),
            signer=(),
            out=folder / "new.json",
            overwrite=False,
        )
    assert (folder / "new.json").read_text() == "mine"


def test_verify_online_judges_the_answer_and_writes_no_bundle(
    folder: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    listing = sorted(folder.iterdir())
    with Service(devices=DEVICES) as service:
        assert verify_online(words(folder, service, "--yes", "--format", "json")) == 0
    report = json.loads(capsysbinary.readouterr().out)
    assert report["verdict"] == "VERIFIED"
    assert [row["kind"] for row in report["attachments"]] == ["nras-result"] * 2
    assert sorted(folder.iterdir()) == listing


def test_verify_online_service_down_prints_the_offline_report_and_ends_five(
    folder: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    with Service(devices=DEVICES, statuses=[500] * 9) as service:
        code = verify_online(words(folder, service, "--yes", "--format=json"))
    report = json.loads(capsysbinary.readouterr().out)
    assert (code, report["exitCode"]) == (5, 5)
    assert report["error"]["kind"] == "online-unavailable"
    assert report["verdict"] == "INCOMPLETE"


def test_verify_online_at_another_instant_is_judged_there(
    folder: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    with Service(devices=DEVICES) as service:
        code = verify_online(
            words(folder, service, "--yes", "--as-of", "2026-09-10T12:00:00Z", "--format", "json")
        )
    assert code == 1
    assert b"tdx.tcb_info.expired" in capsysbinary.readouterr().out


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda given: [w if w != "nras" else "other" for w in given], b"--online takes nras"),
        (lambda given: given[:7] + given[9:], b"needs --key"),
        (lambda given: [*given, "--claims"], b"needs a value"),
        (lambda given: [given[0], *given[3:]], b"one of the two"),
        (lambda given: [*given, "another.json"], b"exactly one bundle"),
    ],
)
def test_verify_online_wrong_call_is_usage(
    folder: Path, capsysbinary: pytest.CaptureFixture[bytes], change: object, expected: bytes
) -> None:
    with Service(devices=DEVICES) as service:
        assert verify_online(change(words(folder, service))) == 2  # type: ignore[operator]
        assert service.journal == []
    assert expected in capsysbinary.readouterr().err


def test_verify_online_unusable_bundle_is_malformed(
    folder: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    (folder / "b.evidence.json").write_bytes(b"{")
    with Service(devices=DEVICES) as service:
        assert verify_online(words(folder, service, "--yes", "--format", "json")) == 4
    assert json.loads(capsysbinary.readouterr().out)["error"]["kind"] == "malformed-bundle"


@pytest.mark.parametrize(("typed", "sent"), [("y\n", True), ("\n", False), ("no\n", False)])
def test_consent_is_asked_on_a_terminal(
    folder: Path, monkeypatch: pytest.MonkeyPatch, typed: str, sent: bool
) -> None:
    class Terminal:
        def isatty(self) -> bool:
            return True

        def write(self, _text: str) -> None: ...

        def flush(self) -> None: ...

        def readline(self) -> str:
            return typed

    monkeypatch.setattr(online.sys, "stdin", Terminal())
    monkeypatch.setattr(online.sys, "stderr", Terminal())
    assert online.agreed(consent=False) is sent
