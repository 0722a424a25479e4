"""A report built by hand, without a bundle: what the renderers are tested on."""

from __future__ import annotations

from datetime import UTC, datetime

from verify.engine.check import Catalogue, Check, Facts, Mode, Ruling
from verify.engine.outcome import (
    Affirmed,
    Finding,
    Note,
    Outcome,
    Pointer,
    blocked,
    failed,
    passed,
)
from verify.engine.reason import Reason
from verify.engine.report import (
    AbsentArtifact,
    AddedAnchor,
    AsOfSummary,
    AttachmentSummary,
    Bound,
    InputSummary,
    PolicySummary,
    Report,
    SignerSummary,
    TrustSummary,
    Window,
)
from verify.engine.run import crashed, not_applicable

HOSTILE = "a\x1b[31m\r\n\u202eb\u2028\x9b\ud800</script>"


def _never(_inputs: None, _facts: Facts) -> Outcome[object]:
    return passed(Affirmed())


def _check(check_id: str, subject: str) -> Check[None]:
    return Check(
        id=check_id,
        subject=subject,
        title="?",
        spec="document 1",
        proves="-",
        does_not_prove="-",
        reasons=frozenset(),
        run=_never,
    )


CATALOGUE = Catalogue(
    tuple(
        _check(*row)
        for row in (
            ("artifacts.accounted", "container"),
            ("tdx.quote.format", "tdx"),
            ("tdx.tcb", "tdx"),
            ("snp.report.format", "snp"),
            ("reference.measurements", "session"),
            ("gpu.nonce", "gpu"),
            ("gpu.topology", "gpu"),
            ("content.request", "content"),
            ("content.response", "content"),
        )
    )
)


def at(hour: int, minute: int, second: int = 0, day: int = 21) -> datetime:
    return datetime(2026, 11, day, hour, minute, second, tzinfo=UTC)


def statement_place(index: int) -> Pointer:
    return Pointer(document="statement", path=f"/predicate/artifacts/{index}")


def gap(reason: Reason, got: str, index: int) -> Finding:
    return Finding(
        reason=reason, pointer=statement_place(index), got=f"withheld: {got}", expected="bytes"
    )


def sample(changes: dict[str, Outcome[object]] | None = None, text: str = "acme-chat") -> Report:
    """Return an INCOMPLETE report with something in every member; ``text`` goes everywhere."""
    withheld = Reason.ARTIFACT_WITHHELD
    limit = Note(
        reason=Reason.BINDING_GPU_LINKED_BY_NONCE_ONLY,
        text="nothing but a shared nonce ties the GPUs to the CPU",
    )
    note = Note(
        reason=Reason.PROVIDER_VERDICT_IGNORED,
        text="the answer carries a verdict of its own",
        pointer=Pointer(document="artifact:att-1", path="/verified"),
    )
    outcomes: dict[str, Outcome[object]] = {
        "artifacts.accounted": blocked(
            withheld,
            gap(withheld, "personal-data", 3),
            gap(withheld, "personal-data", 2),
            detail="mark-1, req-1",
        ),
        "tdx.quote.format": passed(Affirmed(), notes=(note,), matched=("quote-1",)),
        "tdx.tcb": passed(Affirmed()),
        "snp.report.format": not_applicable(Reason.POLICY_SUBJECT_EXCLUDED, detail="fleet is TDX"),
        "reference.measurements": passed(Affirmed(), matched=("os-image-0.5.4-8gpu",)),
        "gpu.nonce": passed(Affirmed(), notes=(limit,)),
        "gpu.topology": not_applicable(
            Reason.POLICY_WAIVED,
            underlying=blocked(Reason.GPU_TOPOLOGY_SWITCHES_NOT_ATTESTED),
        ),
        "content.request": blocked(withheld, gap(withheld, "personal-data", 3), detail="req-1"),
        "content.response": blocked(Reason.NEED_NOT_PASSED, detail="signature.recovery"),
    } | (changes or {})
    rulings = {check_id: Ruling() for check_id in CATALOGUE.ids()} | {
        "snp.report.format": Ruling(mode=Mode.EXCLUDED, because="fleet is TDX"),
        "gpu.topology": Ruling(waived="provider does not attest switches"),
    }
    attachment = "sha256:" + "7f" * 32
    return Report(
        catalogue=CATALOGUE,
        catalogue_id="urn:teebundle:catalogue:v1",
        outcomes=outcomes,
        rulings=rulings,
        input=InputSummary(
            file_sha256="a0" * 32,
            size=412873,
            bundle_id="sha256:" + "5b" * 32,
            payload_sha256="8a" * 32,
            profile_claimed=text,
            mode="live",
            complete=True,
            signers=(
                SignerSummary(
                    keyid="sha256:" + "67" * 32,
                    name="capture-2026",
                    operator=text,
                    state="accepted",
                ),
            ),
        ),
        policy=PolicySummary(
            name=text, version="2026-11-21", sha256="77" * 32, profile="vllm-proxy"
        ),
        trust=TrustSummary(
            builtin="sha256:" + "0c" * 32,
            files=("9d" * 32,),
            added_vendor_anchors=(
                AddedAnchor(purpose="intel-sgx-root", name="test-root", sha256="11" * 32),
            ),
            oldest_snapshot_days=20,
        ),
        as_of=AsOfSummary(
            source="capture",
            instant=at(6, 10, 3),
            level="upper",
            claimed_start=at(6, 10),
            claimed_end=at(6, 10, 3),
            not_after=Bound(instant=at(6, 10, 9), by="name:tsa-a"),
            evidence_window=Window(start=at(5, 31), end=at(5, 31, day=30)),
        ),
        absent=(
            AbsentArtifact(
                artifact="req-1",
                role="http.request.body",
                state="withheld",
                reason="personal-data",
                attachment=attachment,
            ),
            AbsentArtifact(
                artifact="mark-1",
                role="session.marker",
                state="withheld",
                reason="personal-data",
                attachment=attachment,
            ),
        ),
        attachments=(
            AttachmentSummary(
                id=attachment,
                kind="redaction",
                by=text,
                at=at(9, 0, day=22),
                signer="dpo",
                status="accepted",
            ),
        ),
    )


REJECTED: dict[str, Outcome[object]] = {
    "gpu.nonce": failed(
        Reason.GPU_NONCE_MISMATCH,
        *(
            Finding(
                reason=Reason.GPU_NONCE_MISMATCH,
                pointer=Pointer.artifact(f"gpu-{index}", start=4, stop=36),
                got="00" * 32,
                expected="ff" * 32,
            )
            for index in range(5)
        ),
        detail="the signed nonce is another one",
    )
}
CRASHED: dict[str, Outcome[object]] = {"tdx.tcb": crashed(RuntimeError("boom"))}
VERIFIED: dict[str, Outcome[object]] = {
    check_id: passed(Affirmed())
    for check_id in ("artifacts.accounted", "content.request", "content.response")
}
