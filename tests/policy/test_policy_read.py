"""Policy documents: the example is read, and everything left open or contradictory is refused."""

from __future__ import annotations

import hashlib

import pytest

from fixtures.policy_parts import HEX48, OTHERS, at, pointers, with_section
from verify.engine.check import Mode
from verify.engine.errors import MalformedInput, UsageError
from verify.policy.closed_yaml import parse_yaml
from verify.policy.loader import (
    UNSUPPORTED_PROFILES,
    default_bytes,
    load_default,
    load_policy,
)
from verify.policy.model import AnyOf, Bound, Ignore, Level, Masked, Set, Zero
from verify.policy.read import read_policy
from verify.policy.subjects import KNOBS, NAMED, SUBJECT_OF
from verify.wire.members import Members, ShapeError


def refused(document) -> ShapeError:
    with pytest.raises(ShapeError) as caught:
        read_policy(document, "0" * 64)
    return caught.value


def put(document, pointer, value):
    container, last = at(document, pointer)
    container[last] = value
    return document


def drop(document, pointer):
    container, last = at(document, pointer)
    del container[last]
    return document


# --- the example -----------------------------------------------------------------------------


def test_policy_example_of_the_specification_is_read(example_bytes):
    policy = load_policy(example_bytes)
    assert policy.sha256 == hashlib.sha256(example_bytes).hexdigest()
    assert (policy.name, policy.version, policy.profile) == (
        "acme-chat",
        "2026-11-21",
        "vllm-proxy",
    )
    assert policy.signers.accept == ("name:capture-2026",)
    assert policy.time.require is Level.UPPER
    assert policy.counts.gpu_exact == 8
    assert policy.counts.switch_exact is None
    assert policy.tdx is not None
    fields = policy.tdx.fields
    assert fields["rtmr0"] == Set()
    assert fields["mr_owner"] == Zero()
    assert fields["rtmr3"] == Bound(by="event_log.replay")
    assert fields["mr_seam"] == Ignore(because="module judged by TCB evaluation")
    assert fields["xfam"] == AnyOf(values=(bytes.fromhex("e702060000000000"),))
    assert fields["td_attributes"] == Masked(
        mask=b"\xff" * 8, value=bytes.fromhex("0000001000000000")
    )
    assert policy.tdx.sets[0].values["mr_td"] == (b"\x11" * 48,)
    assert policy.snp is None
    assert policy.redaction.tolerates("provider.model-list")
    assert not policy.redaction.tolerates("provider.attestation")
    assert not policy.enforce_reappraisal


def test_policy_identity_is_the_digest_of_the_bytes_comments_included(example_bytes):
    assert load_policy(example_bytes).sha256 != load_policy(example_bytes + b"# x\n").sha256


def test_policy_rulings_follow_modes_and_waivers(example_bytes):
    policy = load_policy(example_bytes)
    rulings = policy.rulings(SUBJECT_OF.items())
    assert set(rulings) == set(SUBJECT_OF)
    assert rulings["tdx.tcb"].mode == Mode.REQUIRED
    assert rulings["gpu.topology"].waived == "provider does not attest switches"
    assert rulings["gpu.nonce"].waived is None
    assert rulings["ccel.replay"].mode == Mode.IF_PRESENT
    assert rulings["azure.hcl"].mode == Mode.EXCLUDED
    assert rulings["azure.hcl"].because == "no paravisor"
    assert rulings["envelope.signature"].mode == Mode.REQUIRED
    assert rulings["legacy.nanogpt_pins"].informational
    assert not rulings["tdx.tcb"].informational
    assert policy.judges("tdx")
    assert not policy.judges("snp")
    assert policy.mode("time") == Mode.REQUIRED


# --- nothing may be left out, nothing may be added -------------------------------------------


def test_policy_without_any_one_member_is_refused(document, example_bytes):
    for pointer in pointers(document):
        fresh = parse_yaml(example_bytes).value
        container, _ = at(fresh, pointer)
        if isinstance(container, list):
            continue
        found = refused(drop(fresh, pointer))
        name = pointer.rpartition("/")[2]
        assert name in found.what, pointer
        assert pointer.startswith(found.pointer), pointer


def test_policy_with_any_one_unknown_member_is_refused(document, example_bytes):
    maps = [
        "",
        *(
            p
            for p in pointers(document)
            if isinstance(at(document, p)[0][at(document, p)[1]], dict)
        ),
    ]
    for pointer in maps:
        fresh = parse_yaml(example_bytes).value
        found = refused(put(fresh, f"{pointer}/surprise", 1))
        assert "surprise" in found.pointer or "surprise" in found.what, pointer


@pytest.mark.parametrize("section", KNOBS)
def test_policy_section_of_an_excluded_subject_is_refused(document, section):
    document["subjects"][section] = {"mode": "excluded", "because": "not here"}
    document.setdefault(section, {})
    found = refused(document)
    assert found.pointer == f"/{section}"
    assert "leave its section out" in found.what


@pytest.mark.parametrize("section", KNOBS)
def test_policy_section_of_a_judged_subject_is_demanded(document, section):
    document["subjects"][section] = {"mode": "if_present", "because": "perhaps"}
    document.pop(section, None)
    assert f"'{section}' is missing" in refused(document).what


@pytest.mark.parametrize("subject", NAMED)
@pytest.mark.parametrize("mode", ["excluded", "if_present"])
def test_policy_narrowing_without_a_reason_is_refused(document, subject, mode):
    document["subjects"][subject] = {"mode": mode}
    found = refused(document)
    assert (found.pointer, "because" in found.what) == (f"/subjects/{subject}", True)
    document["subjects"][subject] = {"mode": mode, "because": ""}
    assert refused(document).pointer == f"/subjects/{subject}/because"


@pytest.mark.parametrize("subject", ["container", "time", "session"])
def test_policy_that_names_an_always_required_subject_is_refused(document, subject):
    document["subjects"][subject] = {"mode": "required"}
    assert "always required" in refused(document).what


# --- values ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pointer", "value", "word"),
    [
        ("/schema", "urn:teebundle:schema:policy:v2", "not one of"),
        ("/name", "", "empty"),
        ("/name", 7, "text expected"),
        ("/name", "a\nb", "control"),
        ("/name", "x" * 1025, "longer"),
        ("/description", True, "text expected"),
        ("/profile", "Venice", "profile name"),
        ("/profile", "x" * 65, "profile name"),
        ("/shapes", [], "at least one"),
        ("/shapes", ["dstack"], "not one of"),
        ("/shapes", ["dstack-flat", "dstack-flat"], "twice"),
        ("/shapes", ["none", "dstack-flat"], "alone"),
        ("/shapes", "dstack-flat", "a list expected"),
        ("/signers", [], "a map expected"),
        ("/signers/accept", ["capture-2026"], "name:"),
        ("/signers/accept", ["sha256:00"], "name:"),
        ("/signers/accept", ["name:"], "name:"),
        ("/signers/accept", ["name:A"], "name:"),
        ("/signers/threshold", 0, "outside"),
        ("/signers/threshold", 9, "outside"),
        ("/signers/threshold", True, "whole number"),
        ("/signers/distinct_operators", 1, "true or false"),
        ("/attachments/require", ["gift"], "not one of"),
        ("/time/require", "roughly", "not one of"),
        ("/time/max_capture_s", -1, "outside"),
        ("/time/clock_error_ms", "2000", "whole number"),
        ("/session/min_nonce_bytes", 24, "16 or 32"),
        ("/session/min_nonce_bytes", 8, "outside"),
        ("/session/allow_import", "false", "true or false"),
        ("/trust/accept_added", ["capture-signer"], "not one of"),
        ("/trust/max_snapshot_age_days", "none", "any"),
        ("/redaction/tolerate/0/role", "model", "role"),
        ("/redaction/tolerate/0/because", "", "empty"),
        ("/counts/gpu_exact", "all", "any"),
        ("/counts/gpu_exact", None, "whole number"),
        ("/counts/cpu_min", "any", "whole number"),
        ("/subjects/tdx", {"mode": "optional"}, "not one of"),
        ("/subjects/tdx", {"mode": "required", "because": "we like it"}, "not a member"),
        ("/tdx/accept_report_types", [], "at least one"),
        ("/tdx/accept_report_types", ["td2.0"], "not one of"),
        ("/tdx/accepted_tcb_status", [], "at least one"),
        ("/tdx/accepted_tcb_status", ["Revoked"], "not one of"),
        ("/tdx/rejected_advisory_ids", ["SA-837"], "INTEL-SA"),
        ("/tdx/allow_findings", [{"finding": "tdx.tcb.revoked", "because": "why not"}], "not one of"),
        ("/tdx/allow_findings", [{"finding": "tdx.policy.td_debug"}], "because"),
        ("/tdx/fields/mr_td", {"rule": "any_of", "values": ["11" * 47]}, "96 hex digits"),
        ("/tdx/fields/mr_td", {"rule": "any_of", "values": ["11" * 49]}, "96 hex digits"),
        ("/tdx/fields/mr_td", {"rule": "any_of", "values": ["AA" * 48]}, "lower-case"),
        ("/tdx/fields/mr_td", {"rule": "any_of", "values": ["0x" + "11" * 47]}, "lower-case"),
        ("/tdx/fields/mr_td", {"rule": "prefix", "value": "11"}, "not one of"),
        ("/tdx/fields/mr_td", {"rule": "ignore"}, "because"),
        ("/tdx/fields/mr_td", {"rule": "bound"}, "by"),
        ("/tdx/fields/mr_td", {"rule": "bound", "by": "tdx.magic"}, "not one of"),
        ("/tdx/fields/td_attributes", {"rule": "mask", "mask": "ff" * 8, "value": "00" * 7}, "16 hex digits"),
        ("/tdx/fields/td_attributes", {"rule": "mask", "mask": "00" * 8, "value": "01" + "00" * 7}, "outside the mask"),
        ("/tdx/fields/td_attributes", {"rule": "set"}, "tdx.attributes"),
        ("/tdx/fields/xfam", {"rule": "release"}, "tdx.attributes"),
        ("/tdx/fields/vmid", {"rule": "zero"}, "no field"),
        ("/tdx/fields/mr_enclave", {"rule": "zero"}, "no field"),
        ("/tdx/sets/0/name", "", "empty"),
        ("/tdx/sets/0/because", "", "empty"),
        ("/tdx/sets/0/values/rtmr0", [], "at least one"),
        ("/tdx/sets/0/values/rtmr0", ["22" * 16], "96 hex digits"),
        ("/tdx/sets/0/values/rtmr3", ["22" * 48], "not a member"),
        ("/event_log/compose_hashes", ["55" * 20], "64 hex digits"),
        ("/event_log/require_events", ["app-id", "app-id"], "twice"),
        ("/gpu/families", [], "at least one"),
        ("/gpu/families", ["GA100"], "not one of"),
        ("/gpu/mode", [], "at least one"),
        ("/gpu/driver", {"rule": "set"}, "not one of"),
        ("/gpu/driver", {"rule": "ignore"}, "because"),
        ("/gpu/measurements", {"rule": "any_of", "values": [{"index": 0, "values": ["00"]}]}, "outside"),
        ("/gpu/measurements", {"rule": "any_of", "values": [{"index": 2, "values": []}]}, "at least one"),
        ("/gpu/measurements", {"rule": "any_of", "values": [{"index": 2, "values": ["00"]}, {"index": 2, "values": ["01"]}]}, "twice"),
        ("/signature/algorithms", ["rsa"], "not one of"),
        ("/signature/roles", [], "at least one"),
        ("/signature/response_forms", ["pretty"], "not one of"),
        ("/nras/claims_versions", ["4.0"], "not one of"),
        ("/bindings/require", ["nonce-somewhere"], "not one of"),
        ("/waive/0/check", "gpu.topologie", "no check is called"),
        ("/waive/0/check", "envelope.signature", "cannot be waived"),
        ("/waive/0/check", "artifacts.accounted", "cannot be waived"),
        ("/waive/0/because", "", "empty"),
        ("/waive/1/check", "gpu.topology", "twice"),
        ("/reappraisal/enforce", "no", "true or false"),
    ],
)  # fmt: skip
def test_policy_value_outside_its_grammar_is_refused(document, pointer, value, word):
    found = refused(put(document, pointer, value))
    assert word in found.what
    assert pointer.startswith(found.pointer) or found.pointer.startswith(pointer)


@pytest.mark.parametrize("value", [None, [], "x", 7, True])
def test_policy_that_is_no_map_is_refused(value):
    assert refused(value).pointer == ""


# --- rules between members -------------------------------------------------------------------


def test_policy_field_bound_by_a_waived_check_is_refused(document):
    document["waive"].append({"check": "event_log.replay", "because": "tired"})
    found = refused(document)
    assert found.pointer == "/tdx/fields/rtmr3/by"
    assert "waived" in found.what


def test_policy_field_bound_by_a_check_of_an_excluded_subject_is_refused(document):
    document["subjects"]["event_log"] = {"mode": "excluded", "because": "none"}
    del document["event_log"]
    found = refused(document)
    assert found.pointer in ("/tdx/fields/rtmr3/by", "/tdx/fields/mr_config_id/by")
    assert "excluded" in found.what


def test_policy_field_bound_by_a_check_that_may_not_run_is_refused(document):
    document["subjects"]["event_log"] = {"mode": "if_present", "because": "perhaps"}
    assert "only where present" in refused(document).what


@pytest.mark.parametrize(
    ("name", "by"),
    [("mr_td", "tdx.tcb"), ("report_data", "tdx.tcb"), ("mr_owner", "profile.match")],
)
def test_policy_field_bound_by_a_check_that_does_not_judge_it_is_refused(document, name, by):
    document["tdx"]["fields"][name] = {"rule": "bound", "by": by}
    if name == "mr_td":
        del document["tdx"]["sets"][0]["values"]["mr_td"]
    assert f"does not judge {name}" in refused(document).what


def test_policy_field_of_a_release_needs_judged_provenance(document):
    document["tdx"]["fields"]["mr_owner"] = {"rule": "release"}
    assert "provenance is excluded" in refused(document).what
    document["subjects"]["provenance"] = {"mode": "required"}
    document["provenance"] = {
        "repositories": ["a/b"],
        "workflows": "any",
        "tags": ["v1"],
        "predicate_types": [],
    }
    assert read_policy(document, "0" * 64).provenance is not None
    document["waive"].append({"check": "sigstore.release", "because": "no"})
    assert "waived" in refused(document).what


def test_policy_set_without_a_field_of_rule_set_is_refused(document):
    fields = document["tdx"]["fields"]
    for name in ("mr_td", "rtmr0", "rtmr1", "rtmr2"):
        fields[name] = {"rule": "any_of", "values": [HEX48]}
    for pins in document["tdx"]["sets"]:
        pins["values"] = {}
    assert "no set is ever used" in refused(document).what


def test_policy_set_that_lacks_a_field_is_refused(document):
    del document["tdx"]["sets"][0]["values"]["rtmr2"]
    assert "'rtmr2' is missing" in refused(document).what


def test_policy_two_sets_of_one_name_are_refused(document):
    document["tdx"]["sets"] *= 2
    assert "twice" in refused(document).what


@pytest.mark.parametrize(
    ("report_type", "field"),
    [("td1.0", "rtmr0"), ("td1.5", "mr_service_td"), ("td1.5ex", "vmid"), ("sgx", "mr_enclave")],
)
def test_policy_that_forgets_a_field_of_an_accepted_structure_is_refused(
    document, report_type, field
):
    document["tdx"]["accept_report_types"] = ["td1.0", "td1.5", report_type]
    document["tdx"]["accept_report_types"] = list(
        dict.fromkeys(document["tdx"]["accept_report_types"])
    )
    document["tdx"]["fields"].pop(field, None)
    found = refused(document)
    assert found.pointer == "/tdx/fields"
    assert field in found.what


def test_policy_field_of_a_structure_that_is_not_accepted_is_refused(document):
    document["tdx"]["accept_report_types"] = ["td1.0"]
    assert refused(document).pointer in ("/tdx/fields/tee_tcb_svn2", "/tdx/fields/mr_service_td")


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [("gpu_min", 1, "0"), ("gpu_exact", 8, "any"), ("switch_exact", 0, "any")],
)
def test_policy_that_counts_excluded_gpus_is_refused(document, name, value, word):
    document["subjects"]["gpu"] = {"mode": "excluded", "because": "CPU only"}
    del document["gpu"]
    document["counts"] = {"cpu_min": 1, "gpu_min": 0, "gpu_exact": "any", "switch_exact": "any"}
    read_policy(document, "0" * 64)
    document["counts"][name] = value
    found = refused(document)
    assert (found.pointer, word in found.what) == (f"/counts/{name}", True)


def test_policy_that_excludes_all_hardware_is_refused(document):
    for subject in ("tdx", "gpu"):
        document["subjects"][subject] = {"mode": "excluded", "because": "trust us"}
        del document[subject]
    document["counts"] = {"cpu_min": 0, "gpu_min": 0, "gpu_exact": "any", "switch_exact": "any"}
    assert "every kind of hardware evidence" in refused(document).what


# --- sections the example excludes -----------------------------------------------------------


@pytest.mark.parametrize("section", OTHERS)
def test_policy_section_of_every_other_subject_is_read(document, section):
    policy = read_policy(with_section(document, section), "0" * 64)
    assert getattr(policy, section) is not None


@pytest.mark.parametrize("section", OTHERS)
def test_policy_section_of_every_other_subject_without_one_member_is_refused(document, section):
    for pointer in list(pointers(OTHERS[section], f"/{section}")):
        fresh = {**document, "subjects": {**document["subjects"]}}
        fresh = with_section(fresh, section)
        container, last = at(fresh, pointer)
        if isinstance(container, list) or pointer == "/snp/minimum_tcb/genoa":
            continue
        del container[last]
        assert str(last) in refused(fresh).what, pointer


@pytest.mark.parametrize(
    ("section", "pointer", "value", "word"),
    [
        ("snp", "/snp/accept_report_versions", [], "at least one"),
        ("snp", "/snp/accept_report_versions", [6], "outside"),
        ("snp", "/snp/accept_csp_ids", [], "at least one"),
        ("snp", "/snp/accept_vmpl", [4], "outside"),
        ("snp", "/snp/guest_flags/smt_allowed", "perhaps", "not one of"),
        ("snp", "/snp/minimum_guest_abi", "1", "version"),
        ("snp", "/snp/minimum_guest_abi", "1.055", "version"),
        ("snp", "/snp/minimum_guest_abi", "1.2.3", "version"),
        ("snp", "/snp/minimum_firmware", 155, "version"),
        ("snp", "/snp/minimum_firmware", "1.55", "version"),
        ("snp", "/snp/minimum_tcb", {"rome": {}}, "no product"),
        ("snp", "/snp/minimum_tcb/genoa/snp", 256, "outside"),
        ("snp", "/snp/required_mitigations/turin", -1, "outside"),
        (
            "snp",
            "/snp/fields/host_data",
            {"rule": "any_of", "values": ["00" * 48]},
            "64 hex digits",
        ),
        ("snp", "/snp/fields/report_data/by", "tdx.tcb", "does not judge"),
        ("image", "/image/digests", ["sha256:" + "77" * 32], "lower-case"),
        ("legacy", "/legacy/slices", [], "at least one"),
        ("legacy", "/legacy/slices/0/stop", 96, "after start"),
        ("legacy", "/legacy/slices/0/allowed", ["00" * 31], "64 hex digits"),
        ("compose_manager", "/compose_manager", {"strict": True}, "not a member"),
    ],
)
def test_policy_value_of_every_other_section_outside_its_grammar_is_refused(
    document, section, pointer, value, word
):
    assert word in refused(put(with_section(document, section), pointer, value)).what


def test_policy_snp_words_any_are_read_as_no_bound(document):
    with_section(document, "snp")
    document["snp"].update(accept_csp_ids="any", minimum_firmware="any", minimum_guest_abi="1.31")
    snp = read_policy(document, "0" * 64).snp
    assert snp is not None
    assert (snp.accept_csp_ids, snp.minimum_firmware, snp.minimum_guest_abi) == (
        None,
        None,
        (1, 31),
    )


def test_policy_snp_without_vlek_may_name_no_cloud(document):
    with_section(document, "snp")
    document["snp"].update(accept_csp_ids=[], accept_signing_keys=["vcek"])
    snp = read_policy(document, "0" * 64).snp
    assert snp is not None
    assert snp.accept_csp_ids == ()


def test_policy_allows_findings_by_name(document):
    allowed = [{"finding": "tdx.policy.td_sept_ve_disable_clear", "because": "early hardware"}]
    put(document, "/tdx/allow_findings", allowed)
    tdx = read_policy(document, "0" * 64).tdx
    assert tdx is not None
    assert tdx.allows("tdx.policy.td_sept_ve_disable_clear")
    assert not tdx.allows("tdx.policy.td_debug")


def test_policy_gpu_measurements_by_index_are_read(document):
    rows = [{"index": 2, "values": ["00", "01"]}]
    put(document, "/gpu/measurements", {"rule": "any_of", "values": rows})
    gpu = read_policy(document, "0" * 64).gpu
    assert gpu is not None
    assert gpu.measurements.values == {2: (b"\x00", b"\x01")}


# --- the loader's messages -------------------------------------------------------------------


def test_loader_refusal_names_file_line_and_pointer(example_bytes):
    broken = example_bytes.replace(b"threshold: 1", b"threshold: 12")
    with pytest.raises(MalformedInput) as caught:
        load_policy(broken, file="acme.yaml")
    assert caught.value.kind == "policy"
    assert caught.value.code == "input.schema"
    assert caught.value.pointer == "policy#/signers/threshold"
    assert str(caught.value).startswith("acme.yaml at policy#/signers/threshold: line 8: ")


def test_loader_refusal_of_a_missing_member_points_at_the_map_around_it(example_bytes):
    broken = example_bytes.replace(b"  allow_smt: true\n", b"")
    with pytest.raises(MalformedInput) as caught:
        load_policy(broken)
    assert caught.value.pointer == "policy#/tdx"
    line = int(caught.value.what.split(":")[0].removeprefix("line "))
    assert broken.decode().split("\n")[line - 2].startswith("tdx:")


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "input.empty"),
        (b"\xff", "input.encoding"),
        (b"a: 1\na: 2\n", "input.duplicate_member"),
        (b"[" * 40, "input.depth"),
        (b"#" * (256 * 1024 + 1), "input.too_large"),
        (b"a: no\n", "input.yaml"),
        (b'schema: "urn:teebundle:schema:policy:v2"\n', "input.version"),
        (b"a: 1\n", "input.schema"),
        (b"- 1\n", "input.schema"),
    ],
)
def test_loader_refusal_carries_the_code_of_its_kind(data, code):
    with pytest.raises(MalformedInput) as caught:
        load_policy(data)
    assert caught.value.code == code


def test_default_of_an_unknown_name_is_a_usage_error_that_lists_the_names():
    with pytest.raises(UsageError, match="near-direct"):
        load_default("acme")
    with pytest.raises(UsageError):
        default_bytes("../../../etc/passwd")


@pytest.mark.parametrize("name", sorted(UNSUPPORTED_PROFILES))
def test_default_of_a_family_that_is_not_judged_is_refused_by_name(name):
    with pytest.raises(UsageError, match=f"{name}.*not supported yet"):
        load_default(name)


def test_members_taken_twice_are_a_missing_member():
    members = Members({"a": 1}, "")
    assert members.number("a", 0, 1) == 1
    with pytest.raises(ShapeError):
        members.number("a", 0, 1)
