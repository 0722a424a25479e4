"""Rows 59 and 60: registers, launch measurements and image claims against the policy's values.

Values are complete fields; a pin set matches as a whole or not at all. A field whose rule says that
another check judges it is left to that check, which the policy neither waives nor excludes.

Source: verification.md 3.2, 3.3, 5.2; tdx.md 16; sev-snp.md 11, 15; providers.md 5.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from verify.checks.inputs import Inputs
from verify.checks.provenance import SignedReleases
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
        Reason.SIGSTORE_PREDICATE_MEASUREMENT_MISMATCH,
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
    ``judged``: names of the fields that row 59 reports on. ``releases``: name of each verified
    release declared for the report, and what it says of fields.
    """

    artifact: str
    document: str
    values: Mapping[str, bytes]
    spans: Mapping[str, tuple[int, int]]
    rules: Mapping[str, FieldRule]
    sets: tuple[PinSet, ...]
    judged: tuple[str, ...]
    mismatch: Reason
    releases: tuple[tuple[str, Mapping[str, bytes]], ...] = ()

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


def _released(measured: Measured) -> tuple[str, Mapping[str, bytes]] | None:
    """Return the release that agrees best in the fields left to it, the first of several."""
    asked = [name for name, rule in measured.rules.items() if isinstance(rule, Release)]
    return min(
        measured.releases if asked else (),
        key=lambda one: sum(one[1].get(name) != measured.values.get(name) for name in asked),
        default=None,
    )


def judge(measured: Measured, tally: Tally) -> tuple[str, ...]:
    """Judge one report's fields; return what is to be said of it when it passes."""
    found = nearest(measured)
    released = _released(measured)
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
        how, asked, mismatch = fit(rule, got), wanted(rule), measured.mismatch
        if isinstance(rule, Ignore):
            said.append(f"{measured.artifact}: {name} not judged ({rule.because})")
        elif isinstance(rule, Release):
            published = None if released is None else released[1].get(name)
            if published is None:
                how = Fit.NO_REFERENCE
            elif published != got:
                how, mismatch = Fit.DIFFERS, Reason.SIGSTORE_PREDICATE_MEASUREMENT_MISMATCH
                asked = published.hex()
        elif isinstance(rule, Set):
            if found is None:
                how = Fit.NO_REFERENCE
            elif name in found[1]:
                how = Fit.DIFFERS
                accepted = " or ".join(entry.hex() for entry in found[0].values[name])
                asked = f"{accepted} (set {found[0].name})"
        if how is Fit.DIFFERS:
            source = "release publishes" if isinstance(rule, Release) else "policy pins"
            what = f"{name} is not what the {source}"
            tally.find(mismatch, measured.at(name), what=what, got=got.hex(), expected=asked)
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
    if released is not None:
        tally.match(released[0])
        said.insert(0, f"{measured.artifact}: {released[0]}")
    return tuple(said)


def _published(
    releases: SignedReleases | None, artifact: str
) -> tuple[tuple[str, Mapping[str, bytes]], ...]:
    """Name each release declared for a report and what it says of the fields of any structure."""
    if releases is None:
        return ()
    return tuple(
        (
            f"{one.repository} {one.tag}",
            {
                "measurement": one.measurements.snp_measurement,
                "rtmr1": one.measurements.rtmr1,
                "rtmr2": one.measurements.rtmr2,
            },
        )
        for one in releases.of.get(artifact, ())
    )


def _of_quote(
    inputs: Inputs, evidence: Evidence, releases: SignedReleases | None, verified: VerifiedQuote
) -> Measured:
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
        releases=_published(releases, verified.artifact),
    )


def _of_report(
    inputs: Inputs,
    evidence: Evidence,
    releases: SignedReleases | None,
    verified: amd.VerifiedSnpReport,
) -> Measured:
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
        releases=_published(releases, verified.artifact),
    )


def measurements(inputs: Inputs, facts: Facts) -> Outcome[Affirmed]:
    """Row 59: every register and launch measurement equals what the policy pins or a release says.

    A release gives the launch measurement of SEV-SNP and ``rtmr1`` and ``rtmr2`` of TDX; a rule
    ``release`` on any other register finds no value.
    """
    evidence = facts.get("blobs.derived", Evidence)
    releases = facts.find("sigstore.release", SignedReleases)
    items: list[Measured] = []
    quotes = facts.find("tdx.quote.signature", VerifiedQuotes)
    if quotes is not None:
        items += (_of_quote(inputs, evidence, releases, quote) for quote in quotes.quotes.values())
    reports = facts.find("snp.report.signature", VerifiedSnpReports)
    if reports is not None:
        items += (_of_report(inputs, evidence, releases, report) for report in reports.items)
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
