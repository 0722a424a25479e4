"""`policy init` and `policy check`: from defaults, from simulated and from genuine bundles."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bundle.cli import run
from bundle.importing import Import, import_session
from bundle.keys import generate, write_pair
from bundle.policy_check import check_policy
from bundle.policy_init import draft_policy, fitting_defaults
from bundle.policy_text import FROM_BUNDLE, policy_text
from bundle.seal import assemble_file
from fixtures import goods, intel_pki
from fixtures import hardware as hardware_only
from fixtures.default_policies import document_of
from fixtures.intel_cases import quote, shot
from fixtures.policies import ADDED
from fixtures.sessions import CAPTURER
from verify.api import open_unverified, verify_bundle
from verify.engine.asof import AsOf
from verify.engine.check import Mode
from verify.engine.errors import MalformedInput, UsageError
from verify.engine.report import Verdict
from verify.policy.closed_yaml import parse_yaml
from verify.policy.loader import default_bytes, default_names, load_policy
from verify.trust.file import read_signer, read_trust_file
from verify.trust.store import TrustStore


def call(words):
    """Run a command; typer ends a good call by leaving the program."""
    try:
        return run(words)
    except SystemExit as left:
        return left.code


def simulated():
    return TrustStore.build(files=[read_trust_file(goods.trust())])


def verdict(bundle, policy, trust):
    return verify_bundle(bundle, policy=policy, trust=trust, as_of=AsOf.capture())


def from_bundle(name, case, change=None):
    """Draft from a simulated bundle; its vendor roots must be accepted for anything to hold."""
    data = case.bundle
    made = draft_policy(name, data, simulated())
    document = parse_yaml(made.data).value
    document["trust"]["accept_added"] = [
        "intel-sgx-root",
        "nvidia-device-root",
        "nvidia-rim-root",
        "nras-intermediate",
    ]
    if change is not None:
        change(document)
    return made, document


# --- without a bundle ------------------------------------------------------------------------


@pytest.mark.parametrize("name", default_names())
def test_init_without_a_bundle_writes_the_default_to_be_filled_in(name):
    made = draft_policy(name, None)
    assert parse_yaml(made.data).value == parse_yaml(default_bytes(name)).value
    assert made.open == ()
    assert not made.signer_known
    assert FROM_BUNDLE.encode() not in made.data
    assert b"fill in" in made.data


@pytest.mark.parametrize("name", ["acme", "secretvm", "../../etc/passwd"])
def test_init_from_an_unknown_default_is_a_usage_error(name):
    with pytest.raises(UsageError):
        draft_policy(name, None)


# --- from genuine recordings -----------------------------------------------------------------


def imported(tmp_path, place, *, chat=None, profile=None):
    private, public = write_pair(tmp_path / "keys", generate("ed25519"), None)
    out = tmp_path / "good.evidence.json"
    asked = Import(
        place=place,
        chat=chat,
        profile=profile,
        operator="tests",
        nonce=None,
        captured_at=None,
        out=out,
        overwrite=False,
    )
    import_session(asked, Path(private), None)
    return out.read_bytes(), TrustStore.build(signers=[read_signer(Path(public).read_bytes())])


CAPTURES = {
    "nanogpt": ("nanogpt_tee_gemma-3-27b-it_20260610_014905", None),
    "venice": ("venice_e2ee-qwen3-5-122b-a10b_20260610_014707", "near-qwen35-122b-20260602"),
    "near-direct": ("neardirect_qwen_qwen3.5-122b-a10b_20260610_015359", None),
}


@pytest.fixture(scope="module", params=CAPTURES)
def genuine(request, evidence_root, tmp_path_factory):
    place, chat = CAPTURES[request.param]
    bundle, trust = imported(
        tmp_path_factory.mktemp(request.param),
        evidence_root / "captures" / place,
        chat=None if chat is None else evidence_root / "chat" / chat,
        profile=request.param,
    )
    return request.param, bundle, trust


def test_init_from_a_genuine_recording_gives_a_policy_it_is_verified_under(genuine):
    name, bundle, trust = genuine
    made = draft_policy(name, bundle, trust)
    assert made.signer_known
    report = verdict(bundle, load_policy(made.data), trust)
    if name == "near-direct":  # its report names a TLS key, and the recording holds none
        assert made.open == (("binding.tls_channel", "BLOCKED", "binding.tls_peer_not_recorded"),)
        assert report.verdict is Verdict.INCOMPLETE
    else:
        assert made.open == ()
        assert report.verdict is Verdict.VERIFIED


def test_init_without_the_signers_key_says_the_same_and_that_it_did_not_check(genuine):
    name, bundle, trust = genuine
    blind = draft_policy(name, bundle)
    seen = draft_policy(name, bundle, trust)
    assert not blind.signer_known
    assert (blind.open, blind.data) == (seen.open, seen.data)


def test_init_marks_every_line_that_differs_from_the_default(genuine):
    name, bundle, trust = genuine
    made = draft_policy(name, bundle, trust)
    default = set(default_bytes(name).decode().split("\n"))
    for line in made.data.decode().split("\n"):
        plain = line.strip()
        if not plain or plain.startswith(("#", "name:")) or line in default:
            continue
        containers = plain.endswith(":") or plain.startswith(
            ("- {check", "threshold", "distinct", "require_events")
        )
        flat = plain.startswith(
            ("cpu_min", "gpu_min", "gpu_exact", "switch_exact", "allow_", "min_", "attest_")
        )
        assert FROM_BUNDLE in line or containers or flat, line


def test_init_pins_complete_registers_and_versions(genuine):
    name, bundle, trust = genuine
    policy = load_policy(draft_policy(name, bundle, trust).data)
    assert policy.tdx is not None
    assert policy.tdx.sets
    for pins in policy.tdx.sets:
        assert set(pins.values) == {"mr_td", "rtmr0", "rtmr1", "rtmr2"}
        assert all(len(value) == 48 for values in pins.values.values() for value in values)
    assert policy.gpu is not None
    assert policy.gpu.driver.values
    assert policy.gpu.vbios.values
    assert policy.event_log is not None
    assert len(policy.event_log.compose_hashes) == 1
    assert policy.counts.gpu_exact == policy.counts.gpu_min > 0
    assert policy.session.allow_import


def test_init_from_one_recording_does_not_accept_another(evidence_root, tmp_path):
    """The pins are those of one machine and image: another provider's answer differs in them."""
    captures = evidence_root / "captures"
    one, _ = imported(tmp_path / "1", captures / CAPTURES["nanogpt"][0], profile="nanogpt")
    other, trust = imported(tmp_path / "2", captures / CAPTURES["venice"][0], profile="nanogpt")
    document = parse_yaml(draft_policy("nanogpt", one).data).value
    document["signers"]["accept"] = []
    report = verdict(other, load_policy(policy_text(document)), trust)
    assert report.verdict is Verdict.REJECTED
    assert (
        str(report.outcomes["reference.measurements"].reason) == "tdx.policy.measurement_mismatch"
    )


def test_init_of_a_two_party_bundle_allows_span_and_late_attestation(evidence_root, tmp_path):
    place, chat = CAPTURES["venice"]
    bundle, trust = imported(
        tmp_path,
        evidence_root / "captures" / place,
        chat=evidence_root / "chat" / chat,
        profile="venice",
    )
    policy = load_policy(draft_policy("venice", bundle, trust).data)
    assert policy.session.allow_attest_after_chat
    assert not policy.session.attest_around
    assert policy.time.max_capture_s > 7 * 86400
    assert policy.judges("content")
    assert policy.judges("signature")


# --- from simulated bundles ------------------------------------------------------------------


@pytest.mark.parametrize("name", goods.SESSIONS)
def test_init_of_a_live_capture_keeps_what_it_needs_not_give_up(name):
    case = goods.good(name)
    made, document = from_bundle(name, case)
    assert made.signer_known
    session = document["session"]
    assert not session["allow_import"]
    assert not session["allow_foreign_nonce"]
    assert session["attest_around"]
    assert not session["allow_attest_after_chat"]
    assert session["min_nonce_bytes"] == 32
    assert document["subjects"]["marker"] == {"mode": Mode.REQUIRED}
    # the quotes' vendor root is not accepted by a shipped default: nothing was pinned from them
    assert document["tdx"]["sets"] == []
    policy = load_policy(policy_text(document))
    assert policy.profile == name


def test_init_takes_no_pins_from_quotes_that_no_vendor_signed():
    made = draft_policy("nanogpt", goods.good("nanogpt").bundle, simulated())
    policy = load_policy(made.data)
    assert policy.tdx is not None
    assert policy.tdx.sets == ()
    assert ("FAIL" in {status for _, status, _ in made.open}) or made.open
    assert any(check.startswith("tdx.") for check, _, _ in made.open)


def test_init_of_the_worked_example_is_verified():
    """The demo default accepts added vendor roots, so pins are taken from simulated quotes."""
    case = goods.case("nanogpt", statement=lambda s: s["predicate"].update(profile="demo"))
    made = draft_policy("demo", case.bundle, simulated())
    policy = load_policy(made.data)
    assert policy.tdx is not None
    assert len(policy.tdx.sets) == 1
    assert policy.tdx.sets[0].because.startswith("as measured in bundle sha256:")


def test_init_from_a_default_of_another_profile_is_a_usage_error():
    with pytest.raises(UsageError, match="is of profile 'nanogpt'"):
        draft_policy("venice", goods.good("nanogpt").bundle)


def test_init_from_a_bundle_whose_signature_is_wrong_is_a_usage_error():
    def change(document):
        signature = document["statement"]["signatures"][0]
        signature["sig"] = signature["sig"][:-4] + (
            "AA==" if signature["sig"][-4:] != "AA==" else "BB=="
        )

    broken = goods.case("nanogpt", file=change).bundle
    with pytest.raises(UsageError, match="no good bundle"):
        draft_policy("nanogpt", broken, simulated())


@pytest.mark.parametrize("data", [b"", b"{}", b"[]"])
def test_init_from_an_unusable_file_is_malformed(data):
    with pytest.raises(MalformedInput):
        draft_policy("nanogpt", data)


def test_init_excludes_what_the_bundle_does_not_hold_and_its_waivers():
    case = goods.case("nanogpt", session={"with_chat": False})
    document = parse_yaml(draft_policy("nanogpt", case.bundle, simulated()).data).value
    for subject in ("signature", "content"):
        assert document["subjects"][subject]["mode"] == Mode.EXCLUDED
        assert "holds none" in document["subjects"][subject]["because"]
        assert subject not in document
    assert "content.request" not in {entry["check"] for entry in document["waive"]}


# --- hardware alone --------------------------------------------------------------------------


def hardware(monkeypatch, default, *, shots, devices=None):
    """Draft from listed evidence, by a default whose added vendor roots count."""
    frozen = hardware_only.frozen(shots, devices)
    bundle = assemble_file(frozen, (CAPTURER,))
    document = document_of(default)
    document["profile"] = "hardware-only"
    document["trust"]["accept_added"] = list(ADDED)
    monkeypatch.setattr("bundle.policy_init.default_bytes", lambda _: policy_text(document))
    return parse_yaml(draft_policy(default, bundle, simulated()).data).value


def test_init_of_two_kinds_of_quotes_accepts_both_structures(monkeypatch):
    extended = quote(version=5, body_type=4)
    document = hardware(monkeypatch, "near-direct", shots=[shot(intel_pki.BASE), extended])
    assert document["tdx"]["accept_report_types"] == ["td1.0", "td1.5", "td1.5ex"]
    assert document["tdx"]["fields"]["vmid"]["rule"] == "any_of"
    assert document["counts"]["cpu_min"] == 2


def test_init_of_a_quote_alone_excludes_gpus_and_pins_what_no_check_binds(monkeypatch):
    document = hardware(monkeypatch, "near-direct", shots=[shot(intel_pki.BASE)])
    assert document["subjects"]["gpu"]["mode"] == Mode.EXCLUDED
    assert document["counts"]["gpu_min"] == 0
    assert document["counts"]["gpu_exact"] == "any"
    fields = document["tdx"]["fields"]
    assert fields["rtmr3"] == fields["mr_config_id"] == {"rule": "set"}
    (pins,) = document["tdx"]["sets"]
    assert set(pins["values"]) == {"mr_td", "rtmr0", "rtmr1", "rtmr2", "rtmr3", "mr_config_id"}


# --- check -----------------------------------------------------------------------------------


def test_check_says_what_a_default_leaves_open():
    text = check_policy(default_bytes("nanogpt"))
    for word in (
        "signers.accept names nobody",
        "time.require is upper",
        "tdx.sets is empty",
        "tdx.fields.xfam lists no value",
        "event_log.compose_hashes is empty",
        "gpu.driver lists no value",
        "gpu.vbios lists no value",
        "waived      gpu.topology",
        "required    tdx",
        "profile     nanogpt",
    ):
        assert word in text


def test_check_of_a_filled_policy_finds_nothing_open():
    assert "open " not in check_policy(
        (Path(__file__).parents[1] / "policy" / "example.yaml").read_bytes()
    )


def test_check_of_hardware_alone_names_its_own_gaps():
    text = check_policy(default_bytes("hardware-only"))
    assert "tdx.fields.report_data lists no value" in text
    assert "signature" in text.split("excluded")[1]


def test_check_of_a_policy_without_tdx_and_gpu_is_short(tmp_path):
    document = parse_yaml(default_bytes("hardware-only")).value
    for subject in ("gpu", "event_log"):
        document["subjects"][subject] = {"mode": "excluded", "because": "none"}
        del document[subject]
    document["counts"]["gpu_min"] = 0
    document["waive"] = [w for w in document["waive"] if not w["check"].startswith("gpu.")]
    text = check_policy(policy_text(document))
    assert "gpu.driver" not in text
    assert "event_log" not in text.split("excluded")[0]


# --- the commands ----------------------------------------------------------------------------


def test_command_init_and_check_work_on_files(tmp_path, capsys):
    bundle, trust = tmp_path / "good.evidence.json", tmp_path / "trust.json"
    bundle.write_bytes(goods.good("nanogpt").bundle)
    trust.write_bytes(goods.trust())
    out = tmp_path / "policy.yaml"
    words = ["policy", "init", "--from", "nanogpt", "--bundle", str(bundle), "-o", str(out)]
    assert call([*words, "--trust", str(trust)]) == 0
    said = capsys.readouterr()
    assert f"wrote {out}" in said.err
    assert "not yet VERIFIED" in said.err
    assert "was not checked" not in said.err
    assert call(["policy", "check", str(out)]) == 0
    assert "profile     nanogpt" in capsys.readouterr().out


def test_command_init_without_a_key_says_that_the_signature_was_not_checked(tmp_path, capsys):
    bundle = tmp_path / "good.evidence.json"
    bundle.write_bytes(goods.good("nanogpt").bundle)
    words = ["policy", "init", "--from", "nanogpt", "--bundle", str(bundle)]
    assert call([*words, "-o", str(tmp_path / "p.yaml")]) == 0
    assert "was not checked" in capsys.readouterr().err


def test_command_init_from_another_profile_writes_nothing(tmp_path, capsys):
    bundle, out = tmp_path / "good.evidence.json", tmp_path / "policy.yaml"
    bundle.write_bytes(goods.good("nanogpt").bundle)
    assert (
        call(["policy", "init", "--from", "venice", "--bundle", str(bundle), "-o", str(out)]) == 2
    )
    assert not out.exists()
    assert "nanogpt" in capsys.readouterr().err


def test_command_check_of_a_broken_policy_exits_4_and_names_the_line(tmp_path, capsys):
    path = tmp_path / "policy.yaml"
    path.write_bytes(default_bytes("nanogpt").replace(b"threshold: 1", b"threshold: 99"))
    assert call(["policy", "check", str(path)]) == 4
    said = capsys.readouterr().err
    assert "threshold" in said
    assert "line " in said


def test_json_is_no_policy_even_where_yaml_would_read_it():
    """JSON keys like ``$schema`` are outside the grammar of policies."""
    with pytest.raises(MalformedInput):
        check_policy(json.dumps({"$schema": 1}).encode())


def test_defaults_that_fit_are_of_the_profile_and_judge_the_hardware_held(evidence_root, tmp_path):
    write_pair(tmp_path, generate())
    fitting = {}
    for folder in (
        "nanogpt_tee_gemma-3-27b-it_20260610_014905",
        "tinfoil_v3_cloud_llama3-3-70b_20260629_021249",
        "tinfoil_v3_direct_gemma4-31b_20260629_020805",
    ):
        out = tmp_path / f"{folder}.json"
        place = str(evidence_root / "captures" / folder)
        assert call(["import", place, "--key", str(tmp_path / "signer.key"), "-o", str(out)]) in (
            0,
            None,
        )
        statement = open_unverified(out.read_bytes()).evidence.statement
        fitting[folder.split("_")[2]] = fitting_defaults(statement)
    assert fitting["gemma-3-27b-it"][0] == "nanogpt"
    assert fitting["cloud"] == ("tinfoil-v3-snp",)
    assert fitting["direct"] == ("tinfoil-v3",)


def test_init_from_a_default_that_excludes_the_hardware_names_those_that_do_not(
    evidence_root, tmp_path, capsys
):
    write_pair(tmp_path, generate())
    place = evidence_root / "captures" / "tinfoil_v3_cloud_llama3-3-70b_20260629_021249"
    out = tmp_path / "n.json"
    call(["import", str(place), "--key", str(tmp_path / "signer.key"), "-o", str(out)])
    assert "policy init --from tinfoil-v3-snp" in capsys.readouterr().err
    written = tmp_path / "p.yaml"
    words = ["policy", "init", "--from", "tinfoil-v3", "--bundle", str(out), "-o", str(written)]
    assert call(words) == 2
    said = capsys.readouterr().err
    assert "holds snp evidence, which this default excludes" in said
    assert "tinfoil-v3-snp" in said
    assert not written.exists()
