"""A capture: its sequence, what it seals, how it stops, how it goes on."""

from __future__ import annotations

import errno
import json
import os
import stat
from dataclasses import replace
from datetime import timedelta
from email.utils import format_datetime
from hashlib import sha256
from io import FileIO
from pathlib import Path
from typing import Any

import pytest

from bundle import journal as journals
from bundle.capture import CaptureError, CaptureResult, Gap, capture, resume
from bundle.collateral import Endpoints, Want
from bundle.events import Event
from bundle.journal import Journal
from bundle.keys import key_id
from bundle.recording import Failure
from bundle.seal import credential_forms
from fixtures.sessions import AS_OF, CAPTURER, STRANGER
from verify.api import open_unverified
from verify.checks.nonces import marker_text, nonce_commitment
from verify.cli.blobs import BlobFolder
from verify.engine.errors import MalformedInput, UsageError
from verify.trust.store import TrustStore
from verify.wire.model import Evidence

from .capture_case import BASE, BEACON, CHAT, KEY, Case, Tiny, nonce_in

GONE = Failure(trouble="unreachable", what="connection refused")
CUT = Failure(trouble="cut", what="the connection was closed")


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(folder=tmp_path)


def evidence(result: CaptureResult) -> Evidence:
    return open_unverified(result.out.read_bytes()).evidence


def purposes(found: Evidence) -> list[str]:
    return [exchange.purpose for exchange in found.statement.exchanges]


def bodies(found: Evidence, role: str) -> list[bytes]:
    return [found.body(artifact.id) for artifact in found.statement.of_role(role)]


def stated(result: CaptureResult) -> dict[str, Any]:
    from bundle.importing import base64

    document = json.loads(result.out.read_bytes())
    found: dict[str, Any] = json.loads(base64.b64decode(document["statement"]["payload"]))
    return found["predicate"]


ROUND = ["attestation", "attestation", "collateral"]


def test_capture_goes_through_the_sequence_and_seals_it(case: Case) -> None:
    result = capture(case.asked(), case.means())
    found = evidence(result)
    assert purposes(found) == [*ROUND, "chat", "signature", *ROUND]
    assert bodies(found, "http.response.body") == [CHAT]
    assert bodies(found, "http.request.body") == case.network.chats
    assert found.statement.capture.mode == "live"
    assert found.statement.capture.complete
    assert found.statement.profile == "tiny"
    assert result.whole
    assert (result.gaps, result.warnings, result.journal, result.blobs) == ((), (), None, None)
    assert not case.journal.exists()
    assert stat.S_IMODE(case.out.stat().st_mode) == 0o600
    assert sorted(path.name for path in case.folder.iterdir()) == [case.out.name]


def test_capture_nonces_and_marker_commit_to_the_key(case: Case) -> None:
    result = capture(case.asked(), case.means())
    found = evidence(result)
    signer = key_id(CAPTURER.spki())
    nonces = found.statement.nonces
    sent = [nonce_in(url) for url in case.network.sent if "nonce=" in url]
    assert [nonce.value for nonce in nonces] == sent
    assert len(set(sent)) == 4
    for nonce in nonces:
        assert nonce.random is not None
        assert nonce_commitment(signer, None, nonce.random) == nonce.value
    (binding,) = found.statement.bindings_of("marker-in-request")
    secret = found.body(binding.one("marker"))
    request = json.loads(found.body(binding.one("request")))
    assert request["user"] == marker_text(signer, sent[0], secret)
    assert binding.one("nonce") == nonces[0].id
    assert request["user"] not in json.dumps(stated(result))


def test_capture_commits_to_a_beacon(case: Case) -> None:
    case.network.served["/checkpoint"] = [503, b"log\n1\nAAAA\n\n"]
    result = capture(case.asked(beacon=BEACON), case.means())
    found = evidence(result)
    assert purposes(found)[:2] == ["other", "time"], "an error page is no checkpoint"
    (checkpoint,) = found.statement.of_role("time.checkpoint")
    signer = key_id(CAPTURER.spki())
    for nonce in found.statement.nonces:
        assert nonce.beacon == checkpoint.id
        assert nonce.random is not None
        assert nonce_commitment(signer, b"log\n1\nAAAA\n\n", nonce.random) == nonce.value


def test_capture_without_its_beacon_stops_before_all_else(case: Case) -> None:
    case.network.served["/checkpoint"] = [404]
    with pytest.raises(CaptureError, match="the beacon could not be fetched: HTTP 404"):
        capture(case.asked(beacon=BEACON), case.means())
    assert len(case.network.sent) == 1
    case.network.served["/checkpoint"] = [b"log\n1\nAAAA\n\n"]
    assert resume(case.journal, case.provider, case.means()).whole


def test_capture_of_attestation_alone(case: Case) -> None:
    result = capture(case.asked(prompt=None), case.means())
    assert purposes(evidence(result)) == ROUND
    assert result.whole
    assert case.network.chats == []
    assert not evidence(result).statement.of_role("session.marker")


def test_capture_marks_no_request_that_has_no_place_for_it(case: Case) -> None:
    request = b'{ "model":"m", "prompt" : "as it was" }'
    result = capture(case.asked(prompt=None, request=request), case.means())
    assert case.network.chats == [request]
    assert not evidence(result).statement.bindings_of("marker-in-request")
    assert not evidence(result).statement.of_role("session.marker")
    unmarked = Case(folder=case.folder / "b", provider=Tiny(marker_pointer=None))
    unmarked.folder.mkdir()
    capture(unmarked.asked(), unmarked.means())
    assert b"user" not in unmarked.network.chats[0]


def test_capture_signs_with_several_keys(case: Case) -> None:
    case.signers = (CAPTURER, STRANGER)
    result = capture(case.asked(), case.means())
    opened = open_unverified(result.out.read_bytes())
    assert opened.signatures == (key_id(CAPTURER.spki()), key_id(STRANGER.spki()))
    assert opened.evidence.statement.signer == key_id(CAPTURER.spki())


def test_capture_states_what_its_operator_claims(case: Case) -> None:
    means = case.means(clock_source="ntp", clock_offset_ms=3, clock_max_error_ms=50)
    result = capture(case.asked(host="rack 7", profile="other"), means)
    said = stated(result)
    assert said["profile"] == "other"
    claims = said["capture"]
    assert claims["clock"] == {"source": "ntp", "offsetMs": 3, "maxErrorMs": 50}
    assert claims["operator"] == "operator"
    assert claims["host"] == "rack 7"
    assert claims["provider"] == {"name": "tiny", "endpoint": BASE}
    assert claims["tool"]["name"] == "teebundle"
    assert claims["startedAt"] <= min(e["startedAt"] for e in said["exchanges"])
    assert claims["endedAt"] >= max(e["endedAt"] for e in said["exchanges"])


@pytest.mark.parametrize(("ahead_s", "moves"), [(5, True), (3600, False)])
def test_capture_ends_no_earlier_than_dates_that_can_be_right(
    case: Case, ahead_s: int, moves: bool
) -> None:
    date = AS_OF + timedelta(seconds=ahead_s)
    case.network.headers = (("Date", format_datetime(date, usegmt=True)),)
    result = capture(case.asked(), case.means())
    ended = evidence(result).statement.capture.ended_at
    assert (ended >= date) is moves
    assert bool(result.warnings) is not moves
    assert all("clock" in warning for warning in result.warnings)


def test_capture_limits_are_those_asked_for(case: Case) -> None:
    seen: dict[str, Any] = {}
    record = case.network.record

    def spied(method: str, url: str, **given: Any) -> Any:
        seen[given["purpose"]] = given["bounds"]
        return record(method, url, **given)

    case.network.record = spied  # type: ignore[method-assign]
    capture(case.asked(timeout_s=77.0, max_response=123), case.means())
    assert seen["chat"].idle_s == seen["collateral"].idle_s == 77.0
    assert seen["chat"].body == 123
    assert seen["attestation"].body != 123


# --- what cannot be asked ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "means", "said"),
    [
        ({"request": b"{}"}, {}, "--prompt and --request"),
        ({"algorithms": ("rsa",)}, {}, "does not sign with 'rsa'"),
        ({"prompt": f"my key: {KEY}"}, {}, "a configured credential stands in the request"),
        ({"provider": Tiny(base_url=None)}, {}, "--base-url"),
        ({"provider": Tiny(has_chat=False)}, {}, "cannot be recorded"),
        ({}, {"signers": ()}, "--key"),
        ({"operator": f"me with {KEY}"}, {}, "stands in what was given as operator"),
        ({"prompt": None, "model": KEY}, {}, "stands in what was given as model"),
        ({"operator": "m\udcff"}, {}, "operator: holds bytes that are not UTF-8"),
        ({"prompt": None, "model": "m\udcff"}, {}, "model: holds bytes that are not UTF-8"),
        ({"out": Path("/tmp/\udcff.json")}, {}, "out: holds bytes that are not UTF-8"),  # noqa: S108
    ],
)
def test_capture_that_cannot_be_asked_sends_nothing(
    case: Case, asked: dict[str, Any], means: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said) as refused:
        capture(case.asked(**asked), case.means(**means))
    assert KEY not in str(refused.value)
    assert case.network.sent == []
    assert list(case.folder.iterdir()) == []


def test_capture_over_a_file_is_refused_first(case: Case) -> None:
    case.out.write_bytes(b"mine")
    with pytest.raises(UsageError, match="exists already"):
        capture(case.asked(), case.means())
    assert case.network.sent == []
    assert capture(case.asked(), case.means(overwrite=True)).whole
    with pytest.raises(UsageError, match="does not exist"):
        capture(case.asked(out=case.folder / "no" / "o.json"), case.means())


def test_capture_at_an_address_that_must_not_be_asked_leaves_no_journal(case: Case) -> None:
    def refuse(*_: object, **__: object) -> Any:
        raise UsageError("only https:// is spoken")

    case.network.record = refuse  # type: ignore[method-assign]
    with pytest.raises(UsageError, match="only https"):
        capture(case.asked(), case.means())
    assert list(case.folder.iterdir()) == []


def test_capture_asked_wrongly_in_its_midst_says_how_to_go_on(case: Case) -> None:
    real = case.network.record

    def record(method: str, url: str, **given: Any) -> Any:
        if given["purpose"] == "collateral":
            raise UsageError("only https:// is spoken")
        return real(method, url, **given)

    case.network.record = record  # type: ignore[method-assign]
    error = stopped(case, "only https:// is spoken; what came is kept in")
    assert error.folder == case.journal
    assert f"--resume {case.journal}" in str(error)
    case.network.record = real  # type: ignore[method-assign]
    assert resume(case.journal, case.provider, case.means()).whole


def test_capture_warns_where_its_marker_takes_the_place_of_the_users_own(case: Case) -> None:
    request = b'{"model":"m","user":"mine"}'
    asked = case.asked(prompt=None, request=request)
    result = capture(asked, case.means(keep_journal=True))
    (warning,) = result.warnings
    assert warning == "the marker takes the place of /user in the request; --no-marker leaves it"


def test_capture_does_not_warn_of_a_marker_that_takes_no_place(case: Case) -> None:
    asked = case.asked(prompt=None, request=b'{"model":"m"}')
    assert capture(asked, case.means()).warnings == ()
    other = Case(folder=case.folder / "other")
    other.folder.mkdir()
    own = other.asked(prompt=None, request=b'{"model":"m","user":"mine"}', marker=False)
    assert capture(own, other.means()).warnings == ()


# --- how it stops ---------------------------------------------------------------------------------


def stopped(case: Case, said: str, **asked: Any) -> CaptureError:
    with pytest.raises(CaptureError, match=said) as error:
        capture(case.asked(**asked), case.means())
    assert error.value.exit_code == 5
    assert error.value.folder == case.journal
    assert f"teebundle capture --resume {case.journal}" in str(error.value)
    assert KEY not in str(error.value)
    assert not case.out.exists()
    return error.value


def test_capture_without_attestation_says_nothing_to_the_provider(case: Case) -> None:
    case.network.served["/attestation"] = [500]
    stopped(case, 'tiny gave no attestation: HTTP 500: {"error":"no"}')
    assert case.network.chats == []
    assert case.waits == [1.0, 2.0, 4.0, 8.0, 15.0] * 2
    before = [nonce_in(url) for url in case.network.sent if "nonce=" in url]
    assert len(set(before)) == len(before) == 12, "each try has a nonce of its own"
    case.network.served.clear()
    result = resume(case.journal, case.provider, case.means())
    assert result.whole
    after = [nonce_in(url) for url in case.network.sent if "nonce=" in url][12:]
    assert len(after) == 4
    assert not set(after) & set(before)
    assert purposes(evidence(result)).count("attestation") == 16, "every try is on record"


def test_capture_whose_attestation_was_no_use_asks_again_when_resumed(case: Case) -> None:
    page = b"<html>we will be back soon</html>"
    case.network.served["/attestation"] = [page]
    case.provider.reads = lambda body: body != page
    stopped(case, "gave no attestation: an answer without evidence")
    asked = len(case.network.sent)
    case.network.served.clear()
    result = resume(case.journal, case.provider, case.means())
    assert result.whole
    assert sum("nonce=" in url for url in case.network.sent[asked:]) == 4


def test_capture_shows_no_control_characters_of_why_no_attestation_came(case: Case) -> None:
    real = case.network.record

    def record(*given: Any, **more: Any) -> Any:
        failure = Failure(trouble="tls", what="\x1b[2J\u202e")
        return replace(real(*given, **more), complete=False, failure=failure)

    case.network.record = record  # type: ignore[method-assign]
    error = stopped(case, "gave no attestation")
    assert "\\x1b[2J\\u202e" in str(error)
    assert "\x1b" not in str(error)
    case.provider.note = "\x1b]0;x\x07" + "n" * 1000
    with pytest.raises(CaptureError, match="gave no attestation") as other:
        resume(case.journal, case.provider, case.means())
    assert "\\x1b]0;x\\x07nnn" in str(other.value)
    assert "\x1b" not in str(other.value)
    assert "n" * 400 not in str(other.value)


@pytest.mark.parametrize("status", [401, 402, 403])
def test_capture_refused_stops_at_once_and_goes_on_later(case: Case, status: int) -> None:
    case.network.served["/attestation"] = [status]
    stopped(case, f"the provider refused the attestation: HTTP {status}")
    assert len(case.network.sent) == 1
    case.network.served.clear()
    assert resume(case.journal, case.provider, case.means()).whole


def test_capture_whose_chat_is_refused_does_not_send_it_again(case: Case) -> None:
    case.network.served["/chat"] = [402]
    error = stopped(case, "refused the chat: HTTP 402")
    assert "begin a new capture" in str(error)
    case.network.served.clear()
    with pytest.raises(CaptureError, match="refused the chat"):
        resume(case.journal, case.provider, case.means())
    assert len(case.network.chats) == 1
    result = resume(case.journal, case.provider, case.means(), seal_incomplete=True)
    assert not result.complete
    assert not result.whole
    assert result.journal == case.journal
    assert purposes(evidence(result)) == [*ROUND, "chat"]


def test_capture_whose_chat_never_left_sends_it_when_resumed(case: Case) -> None:
    case.network.served["/chat"] = [GONE]
    stopped(case, "the chat could not be sent: unreachable: connection refused")
    case.network.served.clear()
    result = resume(case.journal, case.provider, case.means())
    assert result.whole
    assert len(set(case.network.chats)) == 1, "the same bytes"
    assert purposes(evidence(result)) == [*ROUND, "chat", "chat", "signature", *ROUND]
    assert len(evidence(result).statement.bindings_of("marker-in-request")) == 2


def test_capture_interrupted_by_its_user_is_kept(case: Case) -> None:
    record = case.network.record

    def interrupt(method: str, url: str, **given: Any) -> Any:
        if given["purpose"] == "signature":
            raise KeyboardInterrupt
        return record(method, url, **given)

    case.network.record = interrupt  # type: ignore[method-assign]
    stopped(case, "interrupted")
    case.network.record = record  # type: ignore[method-assign]
    result = resume(case.journal, case.provider, case.means())
    assert result.whole
    assert len(case.network.chats) == 1


# --- gaps ------------------------------------------------------------------------------------------


def test_capture_with_a_cut_chat_keeps_what_came(case: Case) -> None:
    case.network.served["/chat"] = [(CHAT[:20], CUT)]
    result = capture(case.asked(), case.means())
    assert result.complete
    assert not result.whole
    (gap,) = result.gaps
    assert gap == Gap(
        step="chat",
        purpose="chat",
        what="chat: cut after HTTP 200: the connection was closed",
        essential=True,
        again=False,
    )
    found = evidence(result)
    assert bodies(found, "http.response.body") == [CHAT[:20]]
    (chat,) = [e for e in found.statement.exchanges if e.purpose == "chat"]
    assert chat.response is not None
    assert not chat.response.complete
    (observation,) = stated(result)["observations"]
    assert observation == {
        "check": "exchange.recorded",
        "status": "fail",
        "note": "chat: HTTP 200 cut",
    }
    assert result.journal == case.journal


def test_capture_without_signature_asks_for_it_when_resumed(case: Case) -> None:
    case.network.served["/signature"] = [503]
    first = capture(case.asked(), case.means())
    assert [gap.step for gap in first.gaps] == ["signature.ecdsa/6"]
    assert not first.whole
    case.network.served.clear()
    again = case.folder / "again.json"
    result = resume(case.journal, case.provider, case.means(), out=again)
    assert result.whole
    assert result.gaps == ()
    assert result.out == again
    assert len(case.network.chats) == 1
    assert not case.journal.exists()
    assert purposes(evidence(result)).count("signature") == 7


def test_capture_without_signature_puts_the_better_bundle_in_its_place(case: Case) -> None:
    case.network.served["/signature"] = [503]
    first = capture(case.asked(), case.means())
    case.network.served.clear()
    with pytest.raises(UsageError, match="exists already; choose another name or pass --overwrite"):
        resume(case.journal, case.provider, case.means())
    result = resume(case.journal, case.provider, case.means(overwrite=True))
    assert result.whole
    assert result.out == first.out
    assert result.bundle_id != first.bundle_id
    assert len(case.network.chats) == 1


def test_resume_seals_again_what_a_stopped_run_added(case: Case) -> None:
    case.network.served["/signature"] = [503]
    first = capture(case.asked(), case.means())
    case.network.served["/signature"] = [b'{"signature":"0x00"}']
    case.network.served["/attestation"] = [401]
    with Journal.open(case.journal) as journal:
        seen = len(journal.exchanges)
        journal.forget(["attest-2.ecdsa"])
    with pytest.raises(CaptureError, match="refused the attestation"):
        resume(case.journal, case.provider, case.means(overwrite=True))
    result = resume(case.journal, case.provider, case.means(overwrite=True), seal_incomplete=True)
    assert result.bundle_id != first.bundle_id
    assert len(evidence(result).statement.exchanges) > seen


def test_capture_whose_answer_cannot_be_looked_up_is_not_whole(case: Case) -> None:
    case.network.served["/chat"] = [b""]
    result = capture(case.asked(), case.means())
    assert result.complete
    assert not result.whole
    (gap,) = result.gaps
    assert gap == Gap(
        step="signature",
        purpose="signature",
        what="signature: no signature",
        essential=True,
        again=False,
    )
    assert ("exchange.recorded", "fail", "signature: no signature") in [
        (one["check"], one["status"], one.get("note")) for one in stated(result)["observations"]
    ]


def test_capture_that_is_not_attested_after_says_so(case: Case) -> None:
    answer = b'{"evidence":1}'
    case.network.served["/attestation"] = [answer, answer, 404]
    result = capture(case.asked(), case.means())
    assert [(gap.step, gap.essential) for gap in result.gaps] == [
        ("attest-2.ecdsa", False),
        ("attest-2.ed25519", False),
        ("attest-2", True),
    ]
    assert not result.whole


@pytest.mark.parametrize(("status", "kept"), [(404, False), (503, True)])
def test_capture_without_some_collateral_is_whole_but_tells(
    case: Case, status: int, kept: bool
) -> None:
    case.network.served["/item"] = [status]
    result = capture(case.asked(), case.means())
    tried = "/6" if kept else ""
    assert [gap.what for gap in result.gaps] == [
        f'before.item{tried}: HTTP {status}: {{"error":"no"}}',
        f'after.item{tried}: HTTP {status}: {{"error":"no"}}',
    ]
    assert result.whole
    assert case.journal.exists() is kept
    assert result.journal == (case.journal if kept else None)


def test_capture_waits_as_it_is_told(case: Case) -> None:
    case.network.headers = (("Retry-After", "7"),)
    case.network.served["/signature"] = [429, b"{}"]
    assert capture(case.asked(), case.means()).whole
    assert case.waits == [7.0]
    (waiting,) = [event for event in case.events if event.kind == "waiting"]
    assert waiting.text == 'HTTP 429: {"error":"no"}'


# --- large answers ----------------------------------------------------------------------------------


def test_capture_of_a_large_answer_puts_it_beside_the_file(case: Case) -> None:
    body = b"data: x\n\n" * ((17 << 20) // 9)
    case.network.served["/chat"] = [body]
    result = capture(case.asked(), case.means())
    assert result.blobs == case.folder / "o.evidence.json.blobs"
    assert case.out.stat().st_size < 1 << 20
    (artifact,) = evidence(result).statement.of_role("http.response.body")
    stored = (result.blobs / "sha256" / artifact.digest.removeprefix("sha256:")).read_bytes()
    assert stored[32:] == body
    given = BlobFolder(str(result.blobs))(artifact.digest)
    assert isinstance(given, FileIO), "the verifier finds it"
    given.close()
    assert not case.journal.exists()


# --- secrets ----------------------------------------------------------------------------------------


def test_capture_leaves_no_key_anywhere(case: Case) -> None:
    capture(case.asked(), case.means(keep_journal=True))
    assert case.journal.exists()
    forms = credential_forms(KEY)
    files = [path for path in case.folder.rglob("*") if path.is_file()]
    assert len(files) > 5
    for path in files:
        data = path.read_bytes()
        assert not any(form in data for form in forms), path
    assert not any(KEY in str(event) for event in case.events)
    assert KEY not in repr(case.means())


def test_capture_does_not_seal_an_answer_that_holds_the_key(case: Case) -> None:
    case.network.served["/item"] = [f'{{"you":"{KEY}"}}'.encode()]
    error = stopped(case, "a configured credential stands in")
    assert KEY not in str(error)
    assert not case.out.exists()


# --- journals and disks -----------------------------------------------------------------------------


def test_resume_with_another_key_or_provider_is_refused(case: Case) -> None:
    case.network.served["/attestation"] = [401]
    stopped(case, "refused")
    with pytest.raises(UsageError, match="which its nonces commit to"):
        resume(case.journal, case.provider, case.means(signers=(STRANGER,)))
    with pytest.raises(UsageError, match="is a capture of tiny, not of other"):
        resume(case.journal, Tiny(name="other"), case.means())
    with pytest.raises(UsageError, match="is no journal"):
        resume(case.folder, case.provider, case.means())
    assert Journal.plan_of(case.journal).provider == "tiny"


def test_capture_whose_journal_cannot_be_removed_is_done_all_the_same(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_path: Path) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "rmdir", refuse)
    result = capture(case.asked(), case.means())
    assert result.whole
    (warning,) = result.warnings
    assert "delete it by hand" in warning


def test_capture_with_an_unusable_policy_sends_nothing(case: Case) -> None:
    policy = case.folder / "policy.yaml"
    with pytest.raises(UsageError):
        capture(case.asked(), case.means(policy=policy))
    policy.write_bytes(b"name: 7")
    with pytest.raises(MalformedInput):
        capture(case.asked(), case.means(policy=policy, trust=()))
    assert case.network.sent == []


def test_resume_from_another_folder_writes_where_it_was_told(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    case.network.served["/attestation"] = [401]
    monkeypatch.chdir(case.folder)
    with pytest.raises(CaptureError):
        capture(case.asked(out=Path("o.evidence.json")), case.means())
    monkeypatch.chdir("/")
    case.network.served.clear()
    assert resume(case.journal, case.provider, case.means()).out == case.out


def test_resume_of_nothing_has_nothing_to_seal(case: Case) -> None:
    case.network.record = _killed  # type: ignore[method-assign]
    with pytest.raises(CaptureError):
        capture(case.asked(), case.means())
    for path in case.journal.glob("body-*"):
        path.unlink()
    records = case.journal / "records"
    data = records.read_bytes()
    end_of_plan = data.index(b"\n", data.index(b"\n", data.index(b"\n") + 1) + 1) + 1
    records.write_bytes(data[:end_of_plan])
    with pytest.raises(CaptureError, match="nothing was recorded yet"):
        resume(case.journal, case.provider, case.means(), seal_incomplete=True)


def _killed(*_: object, **__: object) -> Any:
    raise KeyboardInterrupt


def test_capture_on_a_full_disk_keeps_what_is_there(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = 20_000

    def put(descriptor: int, data: bytes | memoryview) -> int:
        nonlocal room
        if room <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = os.write(descriptor, data[:room])
        room -= written
        return written

    monkeypatch.setattr(journals, "_put", put)
    room = 9_000
    stopped(case, "the disk is full")
    monkeypatch.undo()
    result = resume(case.journal, case.provider, case.means())
    assert result.whole
    assert len(case.network.chats) == 1


def test_capture_whose_bundle_cannot_be_written_keeps_the_journal(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise UsageError("o.json: cannot write there: No space left on device")

    case.network.served["/chat"] = [b"data: x\n\n" * ((17 << 20) // 9)]
    with monkeypatch.context() as patch:
        patch.setattr("bundle.capture.write_new", full)
        stopped(case, "No space left on device")
    assert not any(path.is_file() for path in case.folder.glob("*.blobs/sha256/*"))
    assert resume(case.journal, case.provider, case.means()).whole
    assert len(case.network.chats) == 1


def test_resume_after_everything_was_written_writes_nothing_again(case: Case) -> None:
    first = capture(case.asked(), case.means(keep_journal=True))
    data = case.out.read_bytes()
    sent = len(case.network.sent)
    again = resume(case.journal, case.provider, case.means())
    assert again.bundle_id == first.bundle_id
    assert case.out.read_bytes() == data
    assert len(case.network.sent) == sent
    assert not case.journal.exists()


def test_resume_of_a_cut_chat_is_no_better_than_before(case: Case) -> None:
    case.network.served["/chat"] = [(CHAT[:20], CUT)]
    first = capture(case.asked(), case.means())
    again = resume(case.journal, case.provider, case.means())
    assert again.gaps == first.gaps
    assert not again.whole
    assert again.journal == case.journal


def test_resume_after_sealing_as_incomplete_goes_on(case: Case) -> None:
    case.network.served["/attestation"] = [500]
    stopped(case, "gave no attestation")
    sealed = resume(case.journal, case.provider, case.means(), seal_incomplete=True)
    assert not sealed.complete
    again = resume(case.journal, case.provider, case.means(), seal_incomplete=True)
    assert again.bundle_id == sealed.bundle_id, "the same file, sealed once"
    case.network.served.clear()
    with pytest.raises(UsageError, match="exists already"):
        resume(case.journal, case.provider, case.means())
    whole = resume(case.journal, case.provider, case.means(overwrite=True))
    assert whole.whole
    assert whole.out == sealed.out


@pytest.mark.parametrize(
    "other", [b"{}", b"", b"[]", b"[" * 100_000, b"\xff", b'{"statement":{"payload":7}}']
)
def test_resume_does_not_take_another_file_for_the_bundle(case: Case, other: bytes) -> None:
    capture(case.asked(), case.means(keep_journal=True))
    case.out.write_bytes(other)
    with pytest.raises(UsageError, match="exists already"):
        resume(case.journal, case.provider, case.means())
    place = case.folder / "b.json"
    assert resume(case.journal, case.provider, case.means(), out=place).out == place


# --- what the verifier says ---------------------------------------------------------------------------


def test_capture_adds_time_material_and_survives_its_absence(case: Case) -> None:
    result = capture(case.asked(), case.means(finish=lambda data: data + b"\n"))
    assert case.out.read_bytes().endswith(b"\n\n")
    assert result.whole

    def silent(_data: bytes) -> bytes:
        raise CaptureError("the authority did not answer")

    other = case.asked(out=case.folder / "b.json")
    result = capture(other, case.means(finish=silent))
    assert [gap.what for gap in result.gaps] == ["no timestamp: the authority did not answer"]
    assert result.whole
    assert result.out.exists()


def test_capture_without_a_fitting_policy_says_why(case: Case) -> None:
    result = capture(case.asked(), case.means())
    assert result.report is None
    assert result.draft is None
    assert "no shipped policy fits profile tiny" in result.no_draft
    result = capture(case.asked(out=case.folder / "b.json"), case.means(trust=TrustStore.build()))
    assert "no shipped policy fits" in result.no_draft


def test_capture_tells_what_it_does(case: Case) -> None:
    capture(case.asked(), case.means())
    stages = [event.stage for event in case.events if event.kind == "stage-began"]
    assert stages == [
        "attestation",
        "collateral",
        "chat",
        "signature",
        "attestation",
        "collateral",
    ]
    last = case.events[-1]
    assert last == Event(kind="result", text=f"no policy {case.out}")


def test_capture_keeps_vendors_and_wishes_for_resuming(case: Case) -> None:
    case.network.served["/attestation"] = [401]
    asked = {
        "endpoints": Endpoints(intel_pcs="https://pccs.example"),
        "want": Want(nras=True, claims="3.0"),
        "options": {"a": "b"},
        "settings": {"policy": "p.yaml"},
    }
    stopped(case, "refused", **asked)
    plan = Journal.plan_of(case.journal)
    assert plan.endpoints["intel_pcs"] == "https://pccs.example"
    assert (plan.nras, plan.claims, plan.options) == (True, "3.0", {"a": "b"})
    assert plan.settings == {"policy": "p.yaml"}
    assert sha256(plan.first_random).digest() != plan.first_random
