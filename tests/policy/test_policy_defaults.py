"""Shipped defaults: full strictness plus exactly the waivers and exclusions of providers.md 10.1."""

from __future__ import annotations

import pytest

from bundle.policy_text import policy_text
from fixtures.default_policies import PATHS, STRICT, document_of, file_of
from verify.engine.check import Mode
from verify.policy.closed_yaml import parse_yaml
from verify.policy.loader import (
    UNSUPPORTED_PROFILES,
    default_bytes,
    default_names,
    load_default,
    load_policy,
)
from verify.policy.model import AnyOf, AnyText, Ignore, Level
from verify.policy.subjects import NAMED

GPU = {"gpu.topology"}
PROXY = GPU | {"binding.document", "binding.tls_channel", "content.request"}
NO_ANSWER = {
    "exchange.recorded",
    "shape.recognised",
    "freshness.nonce_in_quote",
    "binding.document",
    "binding.report_data",
    "binding.public_key",
}
INSTANCE = {"binding.document", "binding.public_key", "binding.tls_channel"}
UNFRESH = {"binding.document", "binding.public_key", "freshness.nonce_in_quote"}
UNBOUND = {
    "binding.document",
    "binding.report_data",
    "binding.public_key",
    "binding.tls_channel",
    "identity.stability",
    "signature.signer",
    "signature.role",
    "signature.model",
}
WAIVED = {
    "near-direct": GPU,
    "near-gateway": GPU,
    "near-gateway-signed": GPU,
    "vllm-proxy": GPU | {"binding.document"},
    "vllm-proxy-no-tls": GPU | {"binding.document", "binding.tls_channel"},
    "venice": PROXY,
    "venice-own-nonce": PROXY,
    "redpill": PROXY,
    "redpill-own-nonce": PROXY,
    "nanogpt": PROXY,
    "nanogpt-own-nonce": PROXY,
    "chutes": GPU | INSTANCE,
    "nanogpt-chutes-own-nonce": GPU | INSTANCE | {"binding.report_data"},
    "redpill-chutes-own-nonce": GPU | INSTANCE | {"binding.report_data"},
    "tinfoil-v3": GPU | {"binding.public_key"},
    "tinfoil-v3-snp": {"binding.public_key", "snp.certificates.revocation"},
    "tinfoil-v2": UNFRESH,
    "nanogpt-tinfoil": UNFRESH | {"binding.tls_channel"},
    "ionet": GPU | UNBOUND,
    "aci": {"binding.public_key"},
    "hardware-only": GPU | NO_ANSWER,
    "demo": GPU | {"binding.document"},
}
NEVER = {
    "second_engine",
    "snp",
    "vtpm",
    "nitro",
    "provenance",
    "image",
    "gpu_binding",
    "receipt",
    "legacy",
}
NO_MANAGER = {"vllm-proxy", "vllm-proxy-no-tls", "demo", "aci"}
NO_CHAT = {name for name in WAIVED if "chutes" in name or "tinfoil" in name}
NO_LOG = NO_CHAT | {"ionet"}
NO_GPU = {"tinfoil-v2", "nanogpt-tinfoil", "aci", "tinfoil-v3-snp"}


def test_defaults_are_those_written_from_full_strictness():
    assert default_names() == tuple(sorted(PATHS))
    for name in default_names():
        assert default_bytes(name) == file_of(name), (
            f"run python -m fixtures.default_policies: {name}"
        )


@pytest.mark.parametrize("name", sorted(PATHS))
def test_default_file_says_what_its_document_says(name):
    assert parse_yaml(default_bytes(name)).value == document_of(name)


@pytest.mark.parametrize("name", sorted(PATHS))
def test_default_waives_exactly_what_its_path_cannot_demand(name):
    policy = load_default(name)
    assert {waiver.check for waiver in policy.waive} == WAIVED[name]
    assert all(len(waiver.because) > 20 for waiver in policy.waive)


@pytest.mark.parametrize("name", sorted(PATHS))
def test_default_excludes_exactly_what_its_family_does_not_have(name):
    policy = load_default(name)
    excluded = {subject for subject in NAMED if not policy.judges(subject)}
    wanted = set(NEVER)
    if name in NO_MANAGER:
        wanted.add("compose_manager")
    if name in NO_CHAT:
        wanted |= {"signature", "content", "marker"}
    if name in NO_LOG:
        wanted |= {"event_log", "compose_manager"}
    if name in NO_GPU:
        wanted.add("gpu")
    if name == "tinfoil-v3":
        wanted.remove("gpu_binding")
    if name == "tinfoil-v3-snp":
        wanted = wanted - {"snp", "provenance"} | {"tdx"}
    if name == "aci":
        wanted = wanted - {"receipt"} | {"signature"}
    if name == "hardware-only":
        wanted |= {"compose_manager", "signature", "content", "marker", "tls"}
    assert excluded == wanted


@pytest.mark.parametrize("name", sorted(PATHS))
def test_default_names_no_signer_and_pins_nothing(name):
    policy = load_default(name)
    assert policy.signers.accept == ()
    assert policy.attachments.accept == ()
    assert policy.time.accept_tsa == ()
    assert (policy.tdx is None) is (name == "tinfoil-v3-snp")
    if policy.tdx is not None:
        assert policy.tdx.sets == ()
        assert policy.tdx.fields["xfam"] == AnyOf(values=())
    assert policy.snp is None or (policy.snp.sets, policy.snp.minimum_tcb) == ((), {})
    assert (policy.event_log is None) is (name in NO_LOG)
    assert policy.event_log is None or policy.event_log.compose_hashes == ()
    assert (policy.gpu is None) is (name in NO_GPU)
    if policy.gpu is None:
        return
    assert policy.gpu.driver == policy.gpu.vbios == AnyText(values=())
    assert isinstance(policy.gpu.measurements, Ignore)


@pytest.mark.parametrize("name", sorted(PATHS))
def test_default_is_as_strict_as_can_be_in_time_and_session(name):
    policy = load_default(name)
    assert policy.time.require is Level.UPPER
    session = policy.session
    assert not session.allow_import
    assert session.attest_around
    assert not session.allow_attest_after_chat
    assert session.min_nonce_bytes == 32
    assert session.allow_foreign_nonce is name.endswith("-own-nonce")
    assert policy.redaction.require_signed
    assert policy.redaction.tolerate == ()
    assert not policy.enforce_reappraisal
    assert policy.tdx is None or policy.tdx.accepted_tcb_status == ("UpToDate",)
    assert policy.tdx is None or policy.tdx.allow_findings == ()
    assert policy.snp is None or not (policy.snp.allow_debug or policy.snp.allow_migration)
    assert policy.gpu is None or not policy.gpu.allow_certificate_hold


@pytest.mark.parametrize("name", sorted(PATHS))
def test_default_is_for_a_profile_of_the_providers_document(name):
    policy = load_default(name)
    assert name.startswith(policy.profile)
    assert policy.name == name


def test_default_of_the_gateway_signed_path_wants_the_gateway_as_signer():
    def roles(name):
        signature = load_default(name).signature
        assert signature is not None
        return signature.roles

    assert roles("near-gateway-signed") == ("gateway",)
    assert all(
        roles(name) == ("model",)
        for name in PATHS
        if name not in {"near-gateway-signed", "hardware-only", "aci", *NO_CHAT}
    )


def test_default_of_the_worked_example_alone_accepts_added_vendor_anchors():
    accepting = {name for name in PATHS if load_default(name).trust.accept_added}
    assert accepting == {"demo"}


def test_full_strictness_waives_nothing_and_is_a_policy():
    strict = dict(STRICT, name="strict", profile="near-direct")
    policy = load_policy(policy_text(strict))
    assert policy.waive == ()
    required = {subject for subject in NAMED if policy.mode(subject) == Mode.REQUIRED}
    assert required == {
        "tdx",
        "event_log",
        "gpu",
        "signature",
        "content",
        "marker",
        "tls",
        "compose_manager",
    }


def test_unsupported_profiles_have_no_default():
    assert not UNSUPPORTED_PROFILES & set(default_names())
