"""The report as text and as JSON: the documented form, inert strings, the schema on every exit."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from tests.render.sample_report import CATALOGUE, CRASHED, HOSTILE, REJECTED, VERIFIED, at, sample
from verify.engine.errors import InternalFault, MalformedInput, UsageError
from verify.engine.outcome import Finding, Note, Outcome, Pointer, failed
from verify.engine.reason import Reason
from verify.engine.report import (
    AbsentArtifact,
    AsOfSummary,
    Bound,
    ErrorReport,
    ErrorSummary,
    InputSummary,
    PolicySummary,
    SignerSummary,
    TrustSummary,
    Window,
    tool_summary,
)
from verify.engine.value import replace
from verify.render import json as json_form
from verify.render import text as text_form

SCHEMA = json.loads(
    (Path(__file__).parents[2] / "schemas" / "report.v1.schema.json").read_text(encoding="utf-8")
)
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)

INCOMPLETE_TEXT = f"""\
INCOMPLETE (3)  sha256:{"5b" * 32}
ADDED VENDOR ANCHORS: intel-sgx-root (1)
policy   acme-chat 2026-11-21 (sha256:777777777777…)   profile vllm-proxy
trust    built-in sha256:0c0c0c0c0c0c, 1 file; oldest snapshot 20 days
as of    2026-11-21T06:10:03Z (capture); upper bound 2026-11-21T06:10:09Z proven by tsa-a; \
lower bound claimed only
signer   capture-2026 (acme-chat)

BLOCKED   artifacts.accounted  artifact.withheld  mark-1, req-1  statement#/predicate/artifacts/3
           artifact.withheld  statement#/predicate/artifacts/3  got withheld: personal-data  \
expected bytes
           artifact.withheld  statement#/predicate/artifacts/2  got withheld: personal-data  \
expected bytes
BLOCKED   content.request      artifact.withheld  req-1  statement#/predicate/artifacts/3
           got withheld: personal-data  expected bytes
BLOCKED   1 more check (need.not_passed) behind signature.recovery
waived   gpu.topology  provider does not attest switches (gpu.topology.switches_not_attested)
by policy out of scope or absent: snp (1 check)
passed   4 of 9           pins matched: os-image-0.5.4-8gpu
evidence window 2026-11-21T05:31:00Z .. 2026-11-30T05:31:00Z

withheld req-1, mark-1 by acme-chat on 2026-11-22 (personal-data)

not shown by this, even where it passed:
  - nothing but a shared nonce ties the GPUs to the CPU
  - the capturer could have left out other exchanges
  - a passed check says what it proves and no more: see `explain CHECK`
"""


def test_text_of_an_incomplete_report_has_the_documented_form() -> None:
    assert text_form.rendered(sample()) == INCOMPLETE_TEXT


def test_text_of_a_rejected_report_shows_findings_and_counts_the_rest() -> None:
    text = text_form.rendered(sample(REJECTED))
    assert text.startswith("REJECTED (1)  sha256:5b5b")
    assert "gpu.nonce.mismatch  artifact:gpu-2#bytes=4-36  got 0000" in text
    assert "and 2 more; --verbose lists them" in text
    assert "artifact:gpu-4#bytes=4-36" in text_form.rendered(sample(REJECTED), verbose=True)


def test_text_of_a_verified_report_still_says_what_is_not_shown() -> None:
    text = text_form.rendered(sample(VERIFIED))
    assert text.startswith("VERIFIED (0)  ")
    assert "not shown by this, even where it passed:\n  - nothing but a shared nonce" in text


def test_text_verbose_lists_passes_waiting_checks_and_notes() -> None:
    text = text_form.rendered(sample(), verbose=True)
    assert "PASS      tdx.quote.format" in text
    assert "BLOCKED   content.response        need.not_passed  signature.recovery" in text
    assert "note     provider.verdict_ignored  the answer carries" in text


def test_text_without_colour_holds_no_escape_sequence_and_with_colour_the_same_words() -> None:
    plain = text_form.rendered(sample())
    coloured = text_form.rendered(sample(), colour=True)
    assert "\x1b" not in plain
    for style in ("\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[32m", "\x1b[33m"):
        coloured = coloured.replace(style, "")
    assert coloured == plain


@pytest.mark.parametrize("changes", [{}, REJECTED, CRASHED, VERIFIED])
def test_rendered_hostile_strings_are_inert_in_every_form(
    changes: dict[str, Outcome[object]],
) -> None:
    report = sample(changes, text=HOSTILE)
    for form in (
        text_form.rendered(report),
        text_form.rendered(report, verbose=True),
        json_form.rendered(report).decode(),
    ):
        assert all(character.isprintable() or character == "\n" for character in form)
        assert "a\\u001b[31m" in form or "a\\\\u001b[31m" in form


@pytest.mark.parametrize(
    ("changes", "verdict", "code"),
    [
        ({}, "INCOMPLETE", 3),
        (REJECTED, "REJECTED", 1),
        (CRASHED, "INCOMPLETE", 70),
        (VERIFIED, "VERIFIED", 0),
    ],
)
def test_json_of_each_verdict_fits_the_schema(
    changes: dict[str, Outcome[object]], verdict: str, code: int
) -> None:
    data = json_form.rendered(sample(changes))
    document = json.loads(data)
    VALIDATOR.validate(document)
    assert next(iter(document)) == "verdict"
    assert (document["verdict"], document["exitCode"]) == (verdict, code)
    assert document["asOf"]["instant"] == "2026-11-21T06:10:03.000Z"
    assert data == json_form.rendered(sample(changes))
    assert data.endswith(b"}\n")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("no policy named"), 2),
        (MalformedInput("bundle", "input.json", "not JSON", file="/x/y.json", pointer="/a"), 4),
        (InternalFault("anchor differs"), 70),
    ],
)
def test_json_of_each_error_fits_the_schema(error: Exception, code: int) -> None:
    report = ErrorReport(
        tool=tool_summary(CATALOGUE, "urn:teebundle:catalogue:v1"),
        error=ErrorSummary.of(error),
        policy=PolicySummary(name="p", version="1", sha256="1" * 64, profile="near-direct"),
    )
    document = json.loads(json_form.rendered(report))
    VALIDATOR.validate(document)
    assert (document["verdict"], document["exitCode"], document["checks"]) == (None, code, [])
    assert text_form.rendered(report).startswith(f"no verdict ({code})  ")


def test_json_and_text_of_an_error_name_file_place_and_what_to_do() -> None:
    error = ErrorSummary.of(
        MalformedInput("bundle", "input.json", "not JSON", file="/x/y.json", pointer="/a")
    )
    assert text_form.error_lines(error, "/x/y.json") == [
        "error: /x/y.json at /a: not JSON (input.json)",
        (
            "  Nothing in this file was judged. Get the file again from its source and compare its "
            "SHA-256."
        ),
    ]
    assert error.file == "y.json"


def test_text_shows_the_level_of_time_and_an_error_beside_the_verdict() -> None:
    report = sample(VERIFIED)
    online = replace(
        report,
        as_of=replace(
            report.as_of,
            not_before=Bound(instant=at(6, 0), by="name:log-a"),
            evidence_window=Window(start=None, end=at(5, 31, day=30)),
        ),
        error=ErrorSummary(kind="online-unavailable", what="no answer"),
    )
    text = text_form.rendered(online)
    assert text.startswith("VERIFIED (5)  ")
    assert "lower bound 2026-11-21T06:00:00Z proven by log-a" in text
    assert "evidence window open .. 2026-11-30T05:31:00Z" in text
    assert "error    online-unavailable: no answer" in text
    VALIDATOR.validate(json.loads(json_form.rendered(online)))


def test_text_without_resolved_instant_signer_or_trust_file_says_so() -> None:
    report = sample(VERIFIED)
    bare = replace(
        report,
        input=InputSummary(
            file_sha256="a0" * 32,
            size=1,
            signers=(
                SignerSummary(
                    keyid="sha256:" + "67" * 32, name=None, operator=None, state="unknown"
                ),
            ),
        ),
        trust=TrustSummary(builtin="sha256:" + "0c" * 32),
        as_of=AsOfSummary(source="capture"),
        absent=(AbsentArtifact(artifact="req-1", role="http.request.body", state="missing"),),
        attachments=(),
    )
    lines = text_form.rendered(bare).splitlines()
    assert lines[0] == "VERIFIED (0)  file sha256:" + "a0" * 32
    assert "trust    built-in sha256:0c0c0c0c0c0c, no file" in lines
    assert "as of    not resolved (capture)" in lines
    assert "signer   sha256:" + "67" * 32 + ": unknown" in lines
    assert "missing req-1" in lines
    VALIDATOR.validate(json.loads(json_form.rendered(bare)))


def test_text_shows_legacy_slices_under_their_own_heading() -> None:
    note = Note(reason=Reason.GPU_LEGACY_NANOGPT_PIN_MATCH, text="slice A of gpu-1 matches")
    report = replace(sample(VERIFIED), extra_notes=(note,))
    for verbose in (False, True):
        text = text_form.rendered(report, verbose=verbose)
        assert text.count("slice A of gpu-1 matches") == 1
        assert "\nlegacy, not security relevant:\n  slice A of gpu-1 matches\n" in text


def test_text_of_an_accepted_redaction_without_date_names_who() -> None:
    report = sample()
    (attachment,) = report.attachments
    undated = replace(report, attachments=(replace(attachment, at=None, by=None),))
    assert "withheld req-1, mark-1 by dpo (personal-data)" in text_form.rendered(undated)


def test_text_of_one_finding_without_values_stays_on_its_line() -> None:
    place = Pointer(document="bundle", path="/blobs")
    only = {
        "gpu.nonce": failed(
            Reason.GPU_NONCE_MISMATCH, Finding(reason=Reason.GPU_NONCE_MISMATCH, pointer=place)
        )
    }
    lines = text_form.rendered(sample(only)).splitlines()
    index = next(i for i, line in enumerate(lines) if line.startswith("FAIL"))
    assert lines[index].endswith("gpu.nonce.mismatch  bundle#/blobs")
    assert not lines[index + 1].startswith("   ")
