"""Rows 59 and 60: registers, launch measurements and image claims against the policy's values.

Values are complete fields; a pin set matches as a whole or not at all. A field whose rule says that
another check judges it is left to that check, which the policy neither waives nor excludes.

Source: verification.md 3.2, 3.3, 5.2; tdx.md 16; sev-snp.md 11; providers.md 5.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from verify.checks.inputs import Inputs
from verify.checks.snp import VerifiedSnpReports
from verify.checks.subjects import ROLES
from verify.checks.tdx import VerifiedQuote, VerifiedQuotes
from verify.engine.check import Facts
from verify.engine.later import later
from verify.engine.outcome import Affirmed, Outcome, Pointer, Status, blocked
from verify.engine.reason import Reason
from verify.engine.tally import Tally
from verify.engine.value import replace, value
from verify.policy.model import FieldRule, Fit, Ignore, PinSet, Release, Set, fit, wanted
from verify.policy.subjects import ELSEWHERE
from verify.wire.model import ArtifactUnavailable, Evidence

if TYPE_CHECKING:
    from verify.amd import snp as amd
else:
    amd = later("verify.amd.snp")

MEASUREMENTS_REASONS: Final = frozenset(
    (
        Reason.REFERENCE_MEASUREMENT_NOT_LISTED,
        Reason.REFERENCE_MISSING,
        Reason.TDX_POLICY_MEASUREMENT_MISMATCH,
    )
)
IMAGE_DIGEST_REASONS: Final = frozenset(
    (
        Reason.ARTIFACT_EXTERNAL_UNAVAILABLE,
        Reason.ARTIFACT_MISSING,
        Reason.ARTIFACT_WITHHELD,
        Reason.BINDING_IMAGE_DIGEST_NOT_ATTESTED,
        Reason.EVIDENCE_ABSENT,
        Reason.REFERENCE_MEASUREMENT_NOT_LISTED,
        Reason.REFERENCE_MISSING,
    )
)


@value
class Measured:
    """The fields of one authenticated report beside the rules of its structure.

    ``spans``: of each field in the artifact's bytes. ``mismatch``: the code of a difference.
    ``judged``: names of the fields that row 59 reports on.
    """

    artifact: str
    document: str
    values: Mapping[str, bytes]
    spans: Mapping[str, tuple[int, int]]
    rules: Mapping[str, FieldRule]
    sets: tuple[PinSet, ...]
    judged: tuple[str, ...]
    mismatch: Reason

    def at(self, name: str) -> Pointer:
        """Point to a field."""
        start, stop = self.spans[name]
        return Pointer(document=self.document, start=start, stop=stop)

    def differences(self, pins: PinSet) -> tuple[str, ...]:
        """Name the fields of this structure in which it differs from a set.

        A set may list fields of another accepted structure as well; those say nothing here.
        """
        own = {name: values for name, values in pins.values.items() if name in self.values}
        return PinSet(name=pins.name, because="", values=own).differences(self.values)


def nearest(measured: Measured) -> tuple[PinSet, tuple[str, ...]] | None:
    """Return the set with the fewest differences, the first of several, and those; None: no set."""
    judged = [(pins, measured.differences(pins)) for pins in measured.sets]
    return min(judged, key=lambda found: len(found[1]), default=None)


def judge(measured: Measured, tally: Tally) -> tuple[str, ...]:
    """Judge one report's fields; return what is to be said of it when it passes."""
    found = nearest(measured)
    said = []
    for name in measured.judged:
        rule = measured.rules.get(name)
        got = measured.values[name]
        if rule is None:
            tally.find(
                measured.mismatch,
                measured.at(name),
                what=f"the policy has no rule for {name}: this structure is not accepted",
                got=got.hex(),
                expected="a field of an accepted structure",
            )
            continue
        how, asked = fit(rule, got), wanted(rule)
        if isinstance(rule, Ignore):
            said.append(f"{measured.artifact}: {name} not judged ({rule.because})")
        elif isinstance(rule, Release):
            how = Fit.NO_REFERENCE
        elif isinstance(rule, Set):
            if found is None:
                how = Fit.NO_REFERENCE
            elif name in found[1]:
                how = Fit.DIFFERS
                accepted = " or ".join(entry.hex() for entry in found[0].values[name])
                asked = f"{accepted} (set {found[0].name})"
        if how is Fit.DIFFERS:
            what = f"{name} is not what the policy pins"
            tally.find(
                measured.mismatch, measured.at(name), what=what, got=got.hex(), expected=asked
            )
        elif how is Fit.NO_REFERENCE:
            what = f"the policy gives no value for {name}"
            tally.find(
                Reason.REFERENCE_MISSING,
                measured.at(name),
                what=what,
                got=got.hex(),
                expected=asked,
            )
    if found is not None and not found[1]:
        tally.match(found[0].name)
        said.insert(0, f"{measured.artifact}: {found[0].name}")
    return tuple(said)


def _of_quote(inputs: Inputs, evidence: Evidence, verified: VerifiedQuote) -> Measured:
    rules = inputs.policy.tdx
    body, start = verified.quote.body, verified.quote.body_start
    values = body.fields()
    spans = {name: body.span(name) for name in values}
    return Measured(
        artifact=verified.artifact,
        document=evidence.document(verified.artifact),
        values=values,
        spans={name: (start + first, start + stop) for name, (first, stop) in spans.items()},
        rules={} if rules is None else rules.fields,
        sets=() if rules is None else rules.sets,
        judged=tuple(name for name in values if name not in ELSEWHERE),
        mismatch=Reason.TDX_POLICY_MEASUREMENT_MISMATCH,
    )


def _of_report(inputs: Inputs, evidence: Evidence, verified: amd.VerifiedSnpReport) -> Measured:
    rules = inputs.policy.snp
    return Measured(
        artifact=verified.artifact,
        document=evidence.document(verified.artifact),
        values=amd.pinned_values(verified.report),
        spans=amd.PINNED_FIELDS,
        rules={} if rules is None else rules.fields,
        sets=() if rules is None else rules.sets,
        judged=("measurement",),
        mismatch=Reason.REFERENCE_MEASUREMENT_NOT_LISTED,
    )


def measurements(inputs: Inputs, facts: Facts) -> Outcome[Affirmed]:
    """Row 59: every register and launch measurement equals what the policy pins.

    A rule ``release`` finds no value: signed releases are not judged by this version, so no fact of
    ``sigstore.release`` exists.
    """
    evidence = facts.get("blobs.derived", Evidence)
    items: list[Measured] = []
    quotes = facts.find("tdx.quote.signature", VerifiedQuotes)
    if quotes is not None:
        items += (_of_quote(inputs, evidence, quote) for quote in quotes.quotes.values())
    reports = facts.find("snp.report.signature", VerifiedSnpReports)
    if reports is not None:
        items += (_of_report(inputs, evidence, report) for report in reports.items)
    tally = Tally()
    said = [line for item in items for line in judge(item, tally)]
    outcome = tally.outcome(Affirmed(items=tuple(item.artifact for item in items)))
    if outcome.status is Status.PASS:
        return replace(outcome, detail="; ".join(said))
    return outcome


def image_digest(inputs: Inputs, facts: Facts) -> Outcome[Affirmed]:
    """Row 60: whether the image is the expected one, and any report commits to it.

    No family of this version binds an image claim, so an equal digest still ends with the code that
    says so; another digest is a rejection.
    """
    evidence = facts.get("blobs.derived", Evidence)
    rules = inputs.policy.image
    accepted = () if rules is None else rules.digests
    artifacts = evidence.statement.of_role(*sorted(ROLES["image"]))
    if not artifacts:
        return blocked(Reason.EVIDENCE_ABSENT, detail="the bundle lists no image claim")
    tally = Tally()
    for artifact in artifacts:
        try:
            found = sha256(evidence.body(artifact.id)).digest()
        except ArtifactUnavailable as gone:
            tally.find(gone.reason, gone.pointer, what=str(gone), expected="bytes")
            continue
        pointer = Pointer(document=evidence.document(artifact.id))
        got, expected = found.hex(), " or ".join(pin.hex() for pin in accepted)
        if not accepted:
            reason, what = Reason.REFERENCE_MISSING, "the policy gives no image digest"
        elif found not in accepted:
            reason = Reason.REFERENCE_MEASUREMENT_NOT_LISTED
            what = "the image is not one that the policy names"
        else:
            reason = Reason.BINDING_IMAGE_DIGEST_NOT_ATTESTED
            what = "the image is as expected, but no report commits to it"
        tally.find(reason, pointer, what=what, got=got, expected=expected)
    return tally.outcome(Affirmed(items=tuple(artifact.id for artifact in artifacts)))
