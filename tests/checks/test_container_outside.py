"""External blobs in rows 4 to 8: read once, large ones never held, derived bytes bounded."""

from __future__ import annotations

import os
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import pytest

from fixtures.worked_example import (
    ANSWER,
    REQUEST,
    RESPONSE,
    Draft,
    artifact,
    digest,
    salted,
)
from tests.checks.container_case import outcomes, policy, said
from verify.checks import container
from verify.cli.blobs import BlobFolder
from verify.engine.outcome import Status
from verify.engine.reason import Reason
from verify.engine.value import replace
from verify.families.content import ionet_stream
from verify.wire.container import read_bundle
from verify.wire.limits import Limits
from verify.wire.model import ArtifactUnavailable, LargeBody

BOUNDS = Limits(inline_blob=256)
STREAM = b'data: {"id":"chat-7","model":"m"}\n\n' + b": more\n" * 200 + b"data: [DONE]\n\n"


def external(draft, artifact_id, size=None):
    stored = draft.stored.pop(artifact_id)
    draft.extra[digest(stored)] = {"encoding": "external", "size": size or len(stored)}
    return stored


def streamed(body=STREAM):
    """Return a draft whose answer lies outside and is too large to be held, and its bytes."""
    draft = Draft()
    draft.restore("res-1", salted("res-1", body))
    return draft, external(draft, "res-1")


def check(draft, expected, source, **options):
    found = outcomes(draft, blobs=source, bounds=options.pop("bounds", BOUNDS), **options)
    assert said(found) == expected
    return found


def only(row, reason):
    return {row: reason.code}


def opened(stored):
    return lambda wanted: BytesIO(stored) if wanted == digest(stored) else None


def test_large_body_is_read_but_not_held():
    draft, stored = streamed()
    for source in (opened(stored), {digest(stored): stored}.get):
        found = check(draft, {}, source)
        evidence = found["blobs.derived"].fact
        assert evidence.states["res-1"].value == "present"
        assert "res-1" not in evidence.bodies
        assert evidence.has_bytes("res-1")
        body = evidence.chat_body("res-1")
        assert isinstance(body, LargeBody)
        assert evidence.known_body("res-1") is body
        assert (body.size, body.sha256) == (len(STREAM), sha256(STREAM).digest())
        assert (body.reply.chat_id, body.reply.done) == ("chat-7", True)
        assert evidence.outside[digest(stored)].data is None
        assert "res-1" in found["artifacts.accounted"].fact.items


def test_small_external_body_is_held_as_it_was_hashed():
    draft = Draft()
    stored = external(draft, "res-1")
    found = check(draft, {}, opened(stored))
    assert found["blobs.digests"].fact.chat_body("res-1") == RESPONSE
    assert not found["blobs.digests"].fact.large


def test_body_that_is_not_held_is_unavailable_to_who_needs_all_of_it():
    draft, stored = streamed()
    evidence = check(draft, {}, opened(stored))["blobs.digests"].fact
    with pytest.raises(ArtifactUnavailable) as caught:
        evidence.body("res-1")
    assert caught.value.reason is Reason.ARTIFACT_EXTERNAL_UNAVAILABLE


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda data: data[:-1] + b"x", Reason.BLOB_DIGEST_MISMATCH),
        (lambda data: data[:-1], Reason.BLOB_SIZE_MISMATCH),
        (lambda data: data + b"x", Reason.BLOB_SIZE_MISMATCH),
        (lambda _data: b"x", Reason.BLOB_SIZE_MISMATCH),
        (lambda _data: b"", Reason.BLOB_SIZE_MISMATCH),
    ],
)
def test_large_body_with_other_bytes_fails(change, reason):
    draft, stored = streamed()
    found = check(draft, only("blobs.digests", reason), lambda _: BytesIO(change(stored)))
    reasons = [finding.reason for finding in found["blobs.digests"].findings]
    assert Reason.BLOB_DIGEST_MISMATCH in reasons


def test_large_body_that_is_salt_and_nothing_else_fails():
    draft = Draft()
    draft.restore("res-1", salted("res-1", b""))
    stored = external(draft, "res-1")
    check(draft, only("blobs.digests", Reason.BLOB_FRAMING_INVALID), opened(stored))


def test_second_digest_of_a_large_body_is_judged():
    draft, stored = streamed()
    draft.with_sha512("res-1", stored)
    check(draft, {}, opened(stored))
    draft.with_sha512("res-1", stored + b"x")
    check(draft, only("blobs.digests", Reason.BLOB_SHA512_MISMATCH), opened(stored))


class Breaks(BytesIO):
    def read(self, size=-1, /):
        raise OSError(5, "Input/output error")


@pytest.mark.parametrize("given", [None, Breaks(b"x")])
def test_large_body_that_cannot_be_read_is_unavailable(given):
    draft, _ = streamed()
    expected = only("artifacts.accounted", Reason.ARTIFACT_EXTERNAL_UNAVAILABLE)
    check(draft, expected, lambda _: given)


def test_file_over_the_readers_limit_is_not_read_on_and_is_unavailable():
    draft, stored = streamed()
    expected = only("artifacts.accounted", Reason.ARTIFACT_EXTERNAL_UNAVAILABLE)
    for room, result in ((0, only("blobs.digests", Reason.BLOB_SIZE_MISMATCH)), (-1, expected)):
        bounds = Limits(inline_blob=256, external_blob=len(stored) + 500 + room)
        check(draft, result, lambda _: BytesIO(stored + b"x" * 500), bounds=bounds)


def test_form_of_the_profile_is_computed_while_hashing():
    draft, stored = streamed()
    draft.predicate["profile"] = "ionet"
    evidence = check(draft, {}, opened(stored), rules=policy(profile="ionet"))["blobs.digests"].fact
    form = sha256(ionet_stream(STREAM)).digest()
    assert evidence.chat_body("res-1").forms == {"ionet_stream": form}


class Swapping:
    """A source that gives the sealed bytes first and other bytes ever after."""

    def __init__(self, stored, other):
        self.answers = [stored]
        self.other = other
        self.asked = 0

    def __call__(self, _digest):
        self.asked += 1
        return BytesIO(self.answers.pop() if self.answers else self.other)


@pytest.mark.parametrize("body", [RESPONSE, STREAM])
def test_what_is_believed_are_the_bytes_that_were_hashed(body):
    draft, stored = streamed(body)
    source = Swapping(stored, salted("res-1", b"forged"))
    evidence = check(draft, {}, source)["blobs.derived"].fact
    found = evidence.chat_body("res-1")
    digest_of = found.sha256 if isinstance(found, LargeBody) else sha256(found).digest()
    assert digest_of == sha256(body).digest()
    assert source.asked == 1


def with_record(text):
    """Return a draft with a record about a text that lies outside."""
    draft = Draft()
    entry = artifact("note-1", "document.text", text, {"local": "note"})
    draft.attach("declaration", {"kind": "note", "text": "note-1"}, artifacts=[entry])
    draft.extra[digest(text)] = {"encoding": "external", "size": len(text)}
    return draft


@pytest.mark.parametrize("text", [b"a note", b"a long note " * 100])
def test_bytes_of_an_attachment_are_those_that_were_hashed(text):
    source = Swapping(text, b"another note")
    found = check(with_record(text), {}, source)
    record = found["attachments.form"].fact.accepted[0]
    assert source.asked == 1
    assert record.evidence.has_bytes("note-1")
    if len(text) < 200:
        assert record.evidence.body("note-1") == text
    else:
        with pytest.raises(ArtifactUnavailable):
            record.evidence.body("note-1")


def test_bytes_of_an_attachment_that_are_others_fail():
    source = Swapping(b"another note", b"a note")
    check(with_record(b"a note"), only("blobs.digests", Reason.BLOB_SIZE_MISMATCH), source)


def test_evidence_too_large_to_be_held_is_there_and_derives_nothing():
    draft = Draft()
    padded = ANSWER + b" " * 400
    draft.restore("att-1", padded)
    stored = external(draft, "att-1")
    found = check(draft, only("blobs.derived", Reason.DERIVED_STEP_FAILED), opened(stored))
    assert found["blobs.digests"].fact.states["att-1"].value == "present"
    check(draft, {}, opened(stored), bounds=Limits(inline_blob=1024))


def test_external_blobs_are_held_together_up_to_a_file(monkeypatch):
    draft = Draft()
    ids = []
    for number in range(4):
        body = b"%d" % number * 100
        entry = artifact(f"doc-{number}", "provider.evidence", body, {"local": "x"})
        draft.add(entry, body)
        ids.append(entry["id"])
    stored = {digest(data): data for data in (external(draft, name) for name in ids)}
    whole = outcomes(draft, blobs=stored.get, bounds=BOUNDS)["blobs.digests"].fact
    assert set(ids) <= whole.bodies.keys()
    # a file of that size cannot be read, so the limit is put where it is looked at
    data = draft.build()
    monkeypatch.setattr(
        "tests.checks.container_case.read_bundle",
        lambda given, bounds: container_bundle(given, bounds, 250),
    )
    tight = outcomes(data, blobs=stored.get, bounds=BOUNDS)["blobs.digests"].fact
    assert len(tight.bodies.keys() & set(ids)) == 2
    assert len(tight.large.keys() & set(ids)) == 2
    assert all(tight.states[name].value == "present" for name in ids)


def container_bundle(given, bounds, size):
    return replace(
        read_bundle(given, bounds=bounds), limits=Limits(inline_blob=256, packed_file=size)
    )


def test_redaction_of_a_large_body_that_is_there_is_contradicted():
    draft, stored = streamed()
    draft.redactions.append({"artifact": "res-1", "reason": "size", "attachment": None})
    check(draft, only("artifacts.accounted", Reason.REDACTION_CONTRADICTED), opened(stored))


def test_request_too_large_to_be_held_has_no_marker_that_could_be_read():
    draft = Draft()
    draft.restore("req-1", salted("req-1", REQUEST + b" " * 400))
    stored = external(draft, "req-1")
    found = check(draft, only("marker.binding", Reason.MARKER_MISSING), opened(stored))
    assert found["marker.binding"].status is Status.BLOCKED
    check(draft, {}, opened(stored), bounds=Limits(inline_blob=1024))


# --- derived bytes ---------------------------------------------------------------------------


def many(count):
    draft = Draft()
    for number in range(count):
        entry = dict(draft.artifact("quote-1"))
        entry["id"] = f"copy-{number}"
        draft.add(entry)
    return draft


def test_derived_bytes_are_bounded_in_all(monkeypatch):
    draft = many(9)
    size = draft.artifact("quote-1")["size"]
    monkeypatch.setattr(container, "DERIVED_TOTAL", 10 * size)
    check(draft, {}, None)
    monkeypatch.setattr(container, "DERIVED_TOTAL", 10 * size - 1)
    found = check(draft, only("blobs.derived", Reason.DERIVED_STEP_FAILED), None)
    assert len(found["blobs.derived"].findings) == 1


def test_derived_bytes_of_attachments_are_bounded_together(monkeypatch):
    draft = Draft()
    for _ in range(3):
        source = artifact("text-1", "provider.evidence", b'{"a":"0123456789"}', {"local": "x"})
        part = artifact(
            "part-1",
            "document.text",
            b"0123456789",
            {"artifact": "text-1", "steps": ["select:/a", "text"]},
        )
        draft.attach(
            "declaration",
            {"kind": "note", "text": "part-1"},
            artifacts=[source, part],
            stored=[b'{"a":"0123456789"}'],
        )
    rules = policy()
    monkeypatch.setattr(container, "DERIVED_TOTAL", 30)
    assert not said(outcomes(draft, rules=rules))
    monkeypatch.setattr(container, "DERIVED_TOTAL", 29)
    assert said(outcomes(draft, rules=rules)) == only(
        "attachments.form", Reason.ATTACHMENT_ARTIFACT_MISMATCH
    )


# --- the folder ------------------------------------------------------------------------------


def open_files():
    return len(list(Path("/proc/self/fd").iterdir()))


def folder_with(tmp_path, stored):
    (tmp_path / "sha256").mkdir()
    path = tmp_path / "sha256" / digest(stored).removeprefix("sha256:")
    path.write_bytes(stored)
    return path


def test_large_file_of_a_folder_is_given_open_and_closed_after_reading(tmp_path, monkeypatch):
    monkeypatch.setattr("verify.cli.blobs._WHOLE", 100)
    draft, stored = streamed()
    folder_with(tmp_path, stored)
    source = BlobFolder(str(tmp_path))
    file = source(digest(stored))
    assert not isinstance(file, bytes)
    before = open_files()
    check(draft, {}, lambda _: file)
    assert open_files() == before - 1


@pytest.mark.parametrize("kind", ["link", "folder", "pipe", "nothing", "too large"])
def test_anything_but_a_regular_file_of_the_folder_is_unavailable(tmp_path, monkeypatch, kind):
    monkeypatch.setattr("verify.cli.blobs._WHOLE", 100)
    draft, stored = streamed()
    path = folder_with(tmp_path, stored)
    check(draft, {}, BlobFolder(str(tmp_path)))
    path.rename(tmp_path / "elsewhere")
    if kind == "link":
        path.symlink_to(tmp_path / "elsewhere")
    elif kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "too large":
        path.write_bytes(stored)
    limit = len(stored) - (kind == "too large")
    expected = only("artifacts.accounted", Reason.ARTIFACT_EXTERNAL_UNAVAILABLE)
    check(draft, expected, BlobFolder(str(tmp_path), limit=limit))
