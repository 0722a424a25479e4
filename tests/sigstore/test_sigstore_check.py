"""Row 58 over whole bundles, beside its vectors: several reports, several releases."""

from __future__ import annotations

from dataclasses import replace

from fixtures.resealed import resealed
from fixtures.vectors.provenance import GOOD, released
from fixtures.verification import answer


def bound_again(case, evidence):
    def change(statement, _document):
        statement["predicate"]["bindings"].append(
            {"type": "release-for", "release": ["release-1", "release-2"], "evidence": evidence}
        )

    return replace(case, bundle=resealed(case.bundle, change))


def test_release_of_two_reports_is_judged_once_and_counts_for_both():
    found = answer(bound_again(released(), "vek-1"))
    assert found.verdict == "VERIFIED"


def test_release_without_policy_section_is_not_read():
    """The bundle holds a release and the policy leaves the subject out: nobody judged it."""

    def change(document):
        document["subjects"]["provenance"] = {"mode": "excluded", "because": "not wanted"}
        del document["provenance"]
        document["snp"]["fields"]["measurement"] = {
            "rule": "any_of",
            "values": [GOOD.measurement.hex()],
        }

    found = answer(released(policy=change))
    assert found.checks["sigstore.release"][0] == "NOT_APPLICABLE"
    assert found.verdict != "VERIFIED"


def test_release_that_is_the_nearest_of_two_is_compared():
    """Two statements in one answer: one fits the report, and both must be genuine."""
    other = replace(GOOD, measurement=b"\x22" * 48)
    both = b'{"attestations": [%b, %b]}' % (
        other.answer()[len(b'{"attestations":[') : -2],
        GOOD.answer()[len(b'{"attestations":[') : -2],
    )
    assert answer(released(answer=both)).verdict == "VERIFIED"
