"""What the policy layer writes down about SEV-SNP is what the AMD room reads."""

from __future__ import annotations

from fixtures.snp_case import SnpCase, simulated
from tests.amd.snp_judged import judge
from verify.amd.report import COMPONENTS, GUEST_FLAGS, PLATFORM_FLAGS, VERSIONS, Product, SigningKey
from verify.amd.snp import IDENTITY_FIELDS, PINNED_FIELDS, pinned_values
from verify.checks.snp import VerifiedSnpReports
from verify.policy import read, subjects


def test_amd_policy_products_components_and_flags_are_those_of_the_reports():
    assert tuple(product.value.lower() for product in Product) == read.SNP_PRODUCTS
    for product, components in COMPONENTS.items():
        assert read._SNP_COMPONENTS[product.value.lower()] == tuple(components)
    assert set(read.SNP_GUEST_FLAGS) == set(GUEST_FLAGS) - {"debug", "migrate_ma"}
    assert set(read.SNP_PLATFORM_FLAGS) == set(PLATFORM_FLAGS)
    assert {key.value for key in SigningKey} == {"vcek", "vlek"}
    assert VERSIONS == (2, 3, 4, 5)


def test_amd_policy_fields_have_the_lengths_of_the_report():
    spans = {name: stop - start for name, (start, stop) in PINNED_FIELDS.items()}
    assert spans == dict(subjects.SNP_FIELDS)
    assert set(PINNED_FIELDS) == {"measurement", *IDENTITY_FIELDS}


def verified(case: SnpCase) -> VerifiedSnpReports:
    fact = judge(case)["snp.report.signature"].fact
    assert isinstance(fact, VerifiedSnpReports)
    return fact


def test_amd_pinned_values_are_the_bytes_of_their_fields():
    report = verified(simulated()).items[0].report
    for name, value in pinned_values(report).items():
        assert value == getattr(report, name)
