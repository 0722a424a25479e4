"""Rows 61 to 71, 73 to 75 and 85 on simulated bundles (TEST ONLY), built straight as facts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any, Final

import pytest

from fixtures import nvidia_nras as nras_sim
from fixtures import nvidia_pki as pki
from fixtures import nvidia_revocation as revocation_sim
from fixtures import nvidia_rim as rim_sim
from fixtures import nvidia_spdm as sim
from verify.checks import gpu, legacy, nras
from verify.checks.container import Attachments
from verify.crypto.x509 import load_certificate
from verify.engine.asof import AsOfInstant, AsOfSource
from verify.engine.check import Facts
from verify.engine.outcome import Outcome, Status
from verify.engine.reason import Reason
from verify.families import tinfoil
from verify.families.identity import (
    AuthenticReport,
    AuthenticReports,
    Item,
    RecognisedAnswer,
    RecognisedAnswers,
    ReportObject,
)
from verify.nvidia import legacy as legacy_slices
from verify.policy.model import AnyText, Ignore, IndexedValues, LegacySlice
from verify.trust.anchor import Purpose
from verify.wire.model import (
    Artifact,
    ArtifactState,
    Binding,
    Capture,
    Clock,
    Evidence,
    Exchange,
    FromArtifact,
    FromOperator,
    Nonce,
    Request,
    Response,
    Statement,
)

R: Final = Reason
AS_OF: Final = pki.AS_OF
GPU: Final = sim.Device(label="check gpu")
GPU_2: Final = sim.Device(label="check gpu 2")
SWITCH: Final = sim.Device(label="check switch", family=pki.LS10, vbios=sim.SWITCH_BIOS)
ANCHORS: Final = {
    Purpose.NVIDIA_DEVICE_ROOT: hashlib.sha256(pki.der(pki.device_root())).hexdigest(),
    Purpose.NVIDIA_RIM_ROOT: hashlib.sha256(pki.der(pki.rim_root())).hexdigest(),
    Purpose.NRAS_INTERMEDIATE: load_certificate(pki.der(pki.nras_intermediate())).spki_sha256.hex(),
}
ROWS: Final[dict[str, tuple[Callable[..., Outcome[Any]], frozenset[Reason], str]]] = {
    "gpu.report.format": (gpu.report_format, gpu.REPORT_FORMAT_REASONS, ""),
    "gpu.chain": (gpu.chain, gpu.CHAIN_REASONS, "gpu.report.format"),
    "gpu.report.signature": (
        gpu.report_signature,
        gpu.REPORT_SIGNATURE_REASONS,
        "gpu.chain",
    ),
    "gpu.fwid": (gpu.fwid, gpu.FWID_REASONS, "gpu.report.signature"),
    "gpu.nonce": (gpu.nonce, gpu.NONCE_REASONS, "gpu.report.signature"),
    "gpu.devices": (gpu.devices, gpu.DEVICES_REASONS, "gpu.report.signature"),
    "gpu.topology": (gpu.topology, gpu.TOPOLOGY_REASONS, "gpu.devices"),
    "gpu.rim": (gpu.rim, gpu.RIM_REASONS, "gpu.report.signature"),
    "gpu.measurement": (gpu.measurement, gpu.MEASUREMENT_REASONS, "gpu.rim"),
    "gpu.revocation": (gpu.revocation, gpu.REVOCATION_REASONS, "gpu.chain"),
    "gpu.policy": (gpu.policy, gpu.POLICY_REASONS, "gpu.report.signature"),
    "nras.token": (nras.token, nras.TOKEN_REASONS, ""),
    "nras.result": (nras.result, nras.RESULT_REASONS, "nras.token"),
    "nras.binding": (nras.binding, nras.BINDING_REASONS, "nras.token"),
    "legacy.nanogpt_pins": (legacy.nanogpt_pins, legacy.NANOGPT_PINS_REASONS, ""),
}


class AnyId(frozenset):  # type: ignore[type-arg]
    def __contains__(self, item: object) -> bool:
        return True


class World:
    """A bundle as facts: artifacts in order, exchanges, bindings, nonces, policy knobs."""

    def __init__(self) -> None:
        self.artifacts: list[Artifact] = []
        self.bodies: dict[str, bytes] = {}
        self.states: dict[str, ArtifactState] = {}
        self.exchanges: list[Exchange] = []
        self.bindings: list[Binding] = []
        self.nonces: list[Nonce] = []
        self.facts: dict[str, object] = {}
        self.attached: list[Any] = []
        self.prefix = ""
        self.gpu: dict[str, object] = {
            "families": ("GH100", "GB100", "LS10"),
            "driver": Ignore(because="test"),
            "vbios": Ignore(because="test"),
            "mode": ("SPT", "PPCIE", "unknown"),
            "measurements": Ignore(because="test"),
            "allow_certificate_hold": False,
        }
        self.counts: dict[str, int | None] = {
            "gpu_min": 0,
            "gpu_exact": None,
            "switch_exact": None,
        }
        self.slices: tuple[LegacySlice, ...] = ()
        self.foreign = False
        self.required: tuple[str, ...] = ()
        self.distance = 600

    def add(
        self,
        role: str,
        body: bytes | None,
        *,
        origin: FromArtifact | None = None,
        state: ArtifactState = ArtifactState.WITHHELD,
    ) -> str:
        artifact_id = f"{role}-{len(self.artifacts)}"
        self.artifacts.append(
            Artifact(
                id=artifact_id,
                role=role,
                media_type="application/octet-stream",
                digest="sha256:" + "0" * 64,  # type: ignore[arg-type]
                size=0 if body is None else len(body),
                framing="raw",
                origin=origin or FromOperator(description="test"),
                index=len(self.artifacts),
            )
        )
        if body is None:
            self.states[artifact_id] = state
        else:
            self.bodies[artifact_id] = body
            self.states[artifact_id] = ArtifactState.PRESENT
        return artifact_id

    def exchanged(
        self,
        request: str | None,
        response: str,
        *,
        url: str = "https://service.test-only.invalid/",
        status: int = 200,
        at: datetime = nras_sim.RECEIVED,
    ) -> None:
        number = len(self.exchanges)
        self.exchanges.append(
            Exchange(
                id=f"exchange-{number}",
                session="s",
                connection=None,
                seq=number,
                purpose="other",
                started_at=at,
                first_byte_at=None,
                ended_at=at,
                request=Request(method="POST", url=url, headers=None, body=request),
                response=Response(
                    status=status, http_version="1.1", headers=None, body=response, complete=True
                ),
                tls=None,
                index=number,
            )
        )

    def bind(self, kind: str, **members: Any) -> None:
        self.bindings.append(Binding(type=kind, members=members, index=len(self.bindings)))

    def nonce(self, value: bytes) -> str:
        found = f"nonce-{len(self.nonces)}"
        self.nonces.append(
            Nonce(
                id=found,
                value=value,
                derivation="teebundle-v1",
                random=None,
                beacon=None,
                sent_as="hex64",
            )
        )
        return found

    def device(
        self,
        device: sim.Device,
        nonce: bytes = sim.NONCE,
        *,
        evidence: bytes | None = None,
        chain: bytes | None = None,
        steps: str | None = None,
        source: str = "answer",
    ) -> str:
        kind = "switch" if device.is_switch else "gpu"
        origins: list[FromArtifact | None] = [None, None]
        if steps is not None:
            origins = [
                FromArtifact(artifact=source, steps=(f"select:{steps}/{member}", "base64"))
                for member in ("evidence", "certificate")
            ]
        found = self.add(
            f"nvidia.{kind}-evidence",
            sim.report(device, nonce) if evidence is None else evidence,
            origin=origins[0],
        )
        self.add(
            f"nvidia.{kind}-chain",
            device.chain_pem() if chain is None else chain,
            origin=origins[1],
        )
        return found

    @property
    def evidence(self) -> Evidence:
        claimed = AS_OF
        known = {one.id: one for one in self.artifacts}
        for one in self.artifacts:
            if isinstance(one.origin, FromArtifact) and one.origin.artifact not in known:
                known[one.origin.artifact] = pki.replace(
                    one,
                    id=one.origin.artifact,
                    role="provider.attestation",
                    origin=FromOperator(description="test"),
                    index=1000,
                )
        return Evidence(
            statement=Statement(
                schema="test",
                id="urn:uuid:0",
                profile="test",
                capture=Capture(
                    mode="live",
                    complete=True,
                    started_at=claimed,
                    ended_at=claimed,
                    clock=Clock(source="test", offset_ms=None, max_error_ms=None),
                    operator="test",
                    host=None,
                    provider_name="test",
                    provider_endpoint="test",
                    tool_name="test",
                    tool_version="0",
                    imported_from=None,
                    imported_times=None,
                ),
                signer="sha256:" + "0" * 64,  # type: ignore[arg-type]
                nonces=tuple(self.nonces),
                artifacts=tuple(known.values()),
                exchanges=tuple(self.exchanges),
                bindings=tuple(self.bindings),
                observations=(),
                extensions=(),
                critical=(),
                _by_id=known,
            ),
            bodies=self.bodies,
            states=self.states,
            document_prefix=self.prefix,
        )

    @property
    def inputs(self) -> Any:
        policy = SimpleNamespace(
            gpu=SimpleNamespace(**self.gpu),
            nras=SimpleNamespace(
                claims_versions=("2.0", "3.0"), max_capture_distance_s=self.distance
            ),
            counts=SimpleNamespace(**self.counts),
            session=SimpleNamespace(allow_foreign_nonce=self.foreign),
            bindings=self.required,
            trust=SimpleNamespace(accept_added=()),
            legacy=SimpleNamespace(slices=self.slices),
        )
        trust = SimpleNamespace(
            anchors=lambda purpose, at, accept_added: (  # noqa: ARG005
                SimpleNamespace(sha256=ANCHORS[purpose]),
            )
        )
        return SimpleNamespace(policy=policy, trust=trust)

    def run(self, name: str) -> Outcome[Any]:
        """Run one row after everything it needs; the reasons it gives must be the listed ones."""
        check, reasons, need = ROWS[name]
        for before in (need, "gpu.report.signature" if name == "nras.binding" else ""):
            if before and before not in self.facts:
                outcome = self.run(before)
                assert outcome.status is Status.PASS, (before, outcome)
        facts = {
            "blobs.derived": self.evidence,
            "time.as_of": AsOfInstant(
                instant=AS_OF,
                source=AsOfSource.CAPTURE,
                claimed_start=AS_OF,
                claimed_end=AS_OF,
            ),
            "attachments.form": Attachments(accepted=tuple(self.attached), ignored=()),
            **self.facts,
        }
        outcome = check(self.inputs, Facts(facts, AnyId()))
        given = {one.reason for one in outcome.findings} | {one.reason for one in outcome.notes}
        if outcome.reason is not None:
            given.add(outcome.reason)
        assert given <= reasons
        if outcome.status is Status.PASS:
            self.facts[name] = outcome.fact
        return outcome

    def codes(self, name: str) -> list[Reason]:
        """Return the codes of the findings of one row, without repetition; none when it passed."""
        outcome = self.run(name)
        found = list(dict.fromkeys(one.reason for one in outcome.findings))
        if not found and outcome.reason is not None:
            found = [outcome.reason]
        return found

    def notes(self, name: str) -> set[Reason]:
        return {one.reason for one in self.run(name).notes}


def world(*devices: sim.Device) -> World:
    made = World()
    for device in devices or (GPU,):
        made.device(device)
    return made


# --- rows 61 to 64 ---------------------------------------------------------------------------------


def test_format_without_evidence_is_blocked() -> None:
    outcome = World().run("gpu.report.format")
    assert (outcome.status, outcome.reason) == (Status.BLOCKED, R.EVIDENCE_ABSENT)


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (ArtifactState.WITHHELD, R.ARTIFACT_WITHHELD),
        (ArtifactState.MISSING, R.ARTIFACT_MISSING),
        (ArtifactState.EXTERNAL_UNAVAILABLE, R.ARTIFACT_EXTERNAL_UNAVAILABLE),
    ],
)
def test_format_and_chain_without_bytes_are_blocked(state: ArtifactState, reason: Reason) -> None:
    made = World()
    made.add("nvidia.gpu-evidence", None, state=state)
    assert made.codes("gpu.report.format") == [reason]
    made = World()
    made.add("nvidia.gpu-evidence", sim.report(GPU))
    made.add("nvidia.gpu-chain", None, state=state)
    assert made.codes("gpu.chain") == [reason]


def test_chain_not_listed_is_blocked() -> None:
    made = World()
    made.add("nvidia.gpu-evidence", sim.report(GPU))
    assert made.codes("gpu.chain") == [R.EVIDENCE_ABSENT]


def test_one_bad_device_among_eight_fails_the_check() -> None:
    for position in range(8):
        made = World()
        for index in range(8):
            device = sim.Device(label=f"check node {index}")
            bad = sim.report(device, signer="another") if index == position else None
            made.device(device, evidence=bad)
        assert made.codes("gpu.report.signature") == [R.GPU_REPORT_SIGNATURE_INVALID]


def test_format_tells_whether_the_report_before_stray_bytes_verifies() -> None:
    made = World()
    made.device(GPU, evidence=sim.report(GPU, trailing=b"\0"))
    outcome = made.run("gpu.report.format")
    assert outcome.reason is R.GPU_REPORT_TRAILING_BYTES
    assert outcome.detail.endswith("stands before them verifies")
    made = World()
    made.device(GPU, evidence=sim.report(GPU, trailing=b"\0", signer="another"))
    assert made.run("gpu.report.format").detail.endswith("does not verify")


def test_format_notes_unknown_opaque_types_and_untested_families() -> None:
    made = World()
    made.device(sim.Device(label=GPU.label, opaque={200: b"x"}))
    assert made.notes("gpu.report.format") == {R.GPU_REPORT_OPAQUE_UNKNOWN_TYPE}
    shape = pki.replace(pki.GB100, leaf="GB102 A01 GSP FMC LF", boot="GB102 A01 GSP BROM")
    made = World()
    made.device(sim.Device(label="b102", family=shape))
    assert made.notes("gpu.report.format") == {R.GPU_FAMILY_UNTESTED}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{", R.GPU_INPUT_MALFORMED),
        (b"[]", R.GPU_INPUT_DEVICE_COUNT),
        (b'[{"evidence": "*", "certificate": ""}]', R.GPU_INPUT_ENCODING_INVALID),
    ],
)
def test_format_refuses_a_container_that_cannot_be_read(body: bytes, reason: Reason) -> None:
    made = world()
    made.add("nvidia.payload", body)
    assert made.codes("gpu.report.format") == [reason]


def test_container_that_declares_otherwise_is_refused() -> None:
    made = world()
    pair = [(sim.report(GPU), GPU.chain_pem())]
    made.add("nvidia.payload", nras_sim.request(pair, arch="BLACKWELL"))
    assert made.codes("gpu.report.format") == [R.GPU_INPUT_DECLARED_MISMATCH]
    made = world()
    made.add("nvidia.payload", nras_sim.request(pair, nonce=bytes(32)))
    made.bind("nonce-in-evidence", nonce=made.nonce(sim.NONCE), evidence="nvidia.gpu-evidence-0")
    assert made.codes("gpu.nonce") == [R.GPU_NONCE_DECLARED_MISMATCH]


def test_container_without_bytes_is_no_obstacle() -> None:
    made = world()
    made.add("nvidia.payload", None)
    assert made.codes("gpu.report.format") == []


def test_format_refuses_more_devices_than_are_read() -> None:
    made = World()
    for _ in range(129):
        made.add("nvidia.gpu-evidence", b"")
    assert made.codes("gpu.report.format") == [R.GPU_INPUT_TOO_LARGE]


def test_format_of_a_family_nobody_knows_fails() -> None:
    shape = pki.replace(pki.GH100, leaf="AD102 A01 GSP FMC LF", boot="AD102 A01 GSP BROM")
    made = World()
    made.device(sim.Device(label="x", family=shape))
    assert made.codes("gpu.report.format") == [R.GPU_INPUT_UNSUPPORTED_ARCH]


def test_chain_that_cannot_be_read_fails_in_its_own_row() -> None:
    made = World()
    made.device(GPU, chain=b"nothing")
    assert made.codes("gpu.chain") == [R.GPU_CHAIN_MALFORMED]


def test_chains_are_paired_as_declared_or_in_order() -> None:
    made = World()
    first = made.add("nvidia.gpu-evidence", sim.report(GPU))
    second = made.add("nvidia.gpu-evidence", sim.report(GPU_2))
    chain_2 = made.add("nvidia.gpu-chain", GPU_2.chain_pem())
    chain_1 = made.add("nvidia.gpu-chain", GPU.chain_pem())
    assert made.codes("gpu.report.signature") == [R.GPU_REPORT_SIGNATURE_INVALID]
    made.facts.clear()
    made.bind("chain-for", evidence=first, with_=(chain_1,))
    made.bindings[-1] = Binding(
        type="chain-for", members={"evidence": first, "with": (chain_1,)}, index=0
    )
    made.bindings.append(
        Binding(type="chain-for", members={"evidence": second, "with": (chain_2,)}, index=1)
    )
    assert made.codes("gpu.report.signature") == []


def test_firmware_id_not_reported_is_blocked() -> None:
    assert world(SWITCH).codes("gpu.fwid") == [R.GPU_FWID_NOT_REPORTED]
    assert world().codes("gpu.fwid") == []


# --- row 65 ----------------------------------------------------------------------------------------


def answered(
    made: World, device: str, report_data: bytes, *, family: str = "dstack", copies: bool = True
) -> None:
    """Let a quote of the same report object be authenticated, with these 64 bytes."""
    source = "answer"
    quote = made.add(
        "tdx.quote",
        b"quote",
        origin=FromArtifact(artifact=source, steps=("select:/intel_quote", "hex")),
    )
    item = Item(role="tdx.quote", steps=("select:/intel_quote", "hex"), pointer="")
    gpu_item = Item(
        role="nvidia.gpu-evidence", steps=("select:/list/0/evidence", "base64"), pointer=""
    )
    report = ReportObject(pointer="", role="model", quote=item, devices=((gpu_item, gpu_item),))
    made.facts["shape.recognised"] = RecognisedAnswers(
        answers=(
            RecognisedAnswer(
                artifact=source,
                shape="dstack-flat",
                family=family,  # type: ignore[arg-type]
                reports=(report,),
            ),
        )
    )
    made.facts["cpu.authentic"] = AuthenticReports(
        reports={
            quote: AuthenticReport(artifact=quote, kind="tdx", report_data=report_data, code=())
        }
    )
    if copies:
        made.bind("nonce-in-evidence", nonce=made.nonce(sim.NONCE), evidence=quote)
    assert device


def derived(nonce: bytes = sim.NONCE) -> tuple[World, str]:
    made = World()
    return made, made.device(GPU, nonce, steps="/list/0")


def test_nonce_nobody_expects_is_blocked() -> None:
    assert world().codes("gpu.nonce") == [R.GPU_NONCE_EXPECTED_MISSING]


def test_nonce_declared_for_the_device_is_compared() -> None:
    made = world()
    made.bind("nonce-in-evidence", nonce=made.nonce(sim.NONCE), evidence="nvidia.gpu-evidence-0")
    assert made.codes("gpu.nonce") == []
    made = world()
    made.bind("nonce-in-evidence", nonce=made.nonce(bytes(32)), evidence="nvidia.gpu-evidence-0")
    assert made.codes("gpu.nonce") == [R.GPU_NONCE_MISMATCH]


def test_nonce_of_sixteen_bytes_is_padded_and_compared_in_full() -> None:
    short = bytes(range(16))
    made = World()
    made.device(GPU, short + bytes(16))
    made.bind("nonce-in-evidence", nonce=made.nonce(short), evidence="nvidia.gpu-evidence-0")
    assert made.codes("gpu.nonce") == []


def test_nonce_follows_the_verified_quote_of_its_report() -> None:
    made, device = derived()
    answered(made, device, bytes(32) + sim.NONCE)
    assert made.codes("gpu.nonce") == []
    made, device = derived()
    answered(made, device, bytes(64))
    assert made.codes("gpu.nonce") == [R.GPU_NONCE_MISMATCH]
    made, device = derived()
    answered(made, device, sim.NONCE + bytes(32), family="chutes", copies=False)
    assert made.codes("gpu.nonce") == []


def test_nonce_declared_for_the_device_never_replaces_the_one_the_quote_binds() -> None:
    """A fresh device beside an older quote: a shared nonce is all that would tie them together."""
    made, device = derived()
    answered(made, device, bytes(63) + b"\x02")
    made.foreign = True
    made.bind("nonce-in-evidence", nonce=made.nonce(sim.NONCE), evidence=device)
    assert made.codes("gpu.nonce") == [R.GPU_NONCE_MISMATCH]
    made, device = derived()
    answered(made, device, bytes(32) + sim.NONCE)
    made.bind("nonce-in-evidence", nonce=made.nonce(sim.NONCE), evidence=device)
    assert made.codes("gpu.nonce") == []


def test_nonce_of_the_quote_must_be_the_sessions_unless_foreign_ones_are_allowed() -> None:
    other = bytes(31) + b"\x02"
    made, device = derived(other)
    answered(made, device, bytes(32) + other)
    assert made.codes("gpu.nonce") == [R.GPU_NONCE_MISMATCH]
    made, device = derived(other)
    answered(made, device, bytes(32) + other)
    made.foreign = True
    assert made.codes("gpu.nonce") == []


def test_nonce_of_an_unauthenticated_quote_counts_for_nothing() -> None:
    made, device = derived()
    answered(made, device, bytes(32) + sim.NONCE)
    made.facts["cpu.authentic"] = AuthenticReports(reports={})
    assert made.codes("gpu.nonce") == [R.GPU_NONCE_EXPECTED_MISSING]
    for family in ("tinfoil", "aci"):
        made, device = derived()
        answered(made, device, bytes(32) + sim.NONCE, family=family)
        assert made.codes("gpu.nonce") == [R.GPU_NONCE_EXPECTED_MISSING]


def test_constant_nonce_is_noted() -> None:
    made = World()
    made.device(GPU, bytes(32))
    assert made.notes("gpu.nonce") == {R.GPU_NONCE_CONSTANT}


# --- rows 66 and 67 --------------------------------------------------------------------------------


def test_devices_of_several_boxes_may_differ_and_of_one_may_not() -> None:
    made = World()
    made.device(GPU, steps="/evidence/0/gpu_evidence/0")
    made.device(
        sim.Device(label="check other box", mode=2), bytes(32), steps="/evidence/1/gpu_evidence/0"
    )
    assert made.codes("gpu.devices") == []
    made = World()
    made.device(GPU, steps="/evidence/0/gpu_evidence/0")
    made.device(
        sim.Device(label="check other box", mode=2), bytes(32), steps="/evidence/0/gpu_evidence/1"
    )
    assert made.codes("gpu.devices") == [R.GPU_DEVICES_NONCE_DIFFERS, R.GPU_DEVICES_MODE_MIXED]


def test_device_twice_in_one_answer_is_a_duplicate_and_in_two_is_none() -> None:
    made = World()
    made.device(GPU, steps="/evidence/0/gpu_evidence/0")
    made.device(GPU, bytes(32), steps="/evidence/1/gpu_evidence/0")
    assert made.codes("gpu.devices") == [R.GPU_DEVICES_DUPLICATE]
    made = World()
    made.device(GPU, steps="/list/0", source="before")
    made.device(GPU, bytes(32), steps="/list/0", source="after")
    assert made.codes("gpu.devices") == []


@pytest.mark.parametrize(
    "counts", [{"gpu_min": 2}, {"gpu_exact": 2}, {"gpu_exact": 0}, {"switch_exact": 1}]
)
def test_devices_of_another_number_fail(counts: Mapping[str, int]) -> None:
    made = world()
    made.counts.update(counts)
    assert made.codes("gpu.devices") == [R.GPU_DEVICES_COUNT_MISMATCH]


def test_mixed_firmware_is_noted() -> None:
    made = world(GPU, pki.replace(GPU_2, driver="580.1.1"))
    assert made.notes("gpu.devices") == {R.GPU_DEVICES_FIRMWARE_MIXED}


def test_topology_of_a_node_holds_over_two_containers_of_one_answer() -> None:
    gpus, switches = sim.node(2, 2, name="check")
    made = World()
    for index, device in enumerate(gpus):
        made.device(device, steps=f"/gpu/evidences/{index}")
    for index, device in enumerate(switches):
        made.device(device, steps=f"/nvswitch/evidences/{index}")
    assert made.codes("gpu.topology") == []
    without = World()
    for index, device in enumerate((*gpus, switches[0])):
        without.device(device, steps=f"/gpu/evidences/{index}")
    assert without.codes("gpu.topology") == [R.GPU_TOPOLOGY_SWITCH_SET_MISMATCH]


def test_topology_nobody_reports_is_blocked() -> None:
    assert world().codes("gpu.topology") == [R.GPU_TOPOLOGY_NOT_REPORTED]


# --- rows 68 and 69 --------------------------------------------------------------------------------

DRIVER_ID: Final = f"NV_GPU_DRIVER_GH100_{sim.DRIVER}"
VBIOS_ID: Final = "NV_GPU_VBIOS_G520_0280_895_9600D00003"


def with_rims(*bodies: bytes, device: sim.Device = GPU) -> World:
    made = world(device)
    for body in bodies:
        made.add("nvidia.rim", body)
    return made


def driver_rim() -> bytes:
    return rim_sim.envelope(DRIVER_ID, rim_sim.document(rim_sim.driver_manifest()))


def vbios_rim() -> bytes:
    return rim_sim.envelope(VBIOS_ID, rim_sim.document(rim_sim.vbios_manifest()))


def test_rim_for_every_kind_passes_and_is_compared() -> None:
    made = with_rims(driver_rim(), vbios_rim())
    assert made.codes("gpu.rim") == []
    outcome = made.run("gpu.measurement")
    assert outcome.status is Status.PASS
    assert {one.reason for one in outcome.notes} == {R.GPU_MEASUREMENT_SKIPPED_NVDEC}
    bare = with_rims(
        rim_sim.document(rim_sim.driver_manifest()), rim_sim.document(rim_sim.vbios_manifest())
    )
    assert bare.codes("gpu.measurement") == []
    switch = with_rims(rim_sim.document(rim_sim.switch_manifest()), device=SWITCH)
    assert switch.codes("gpu.measurement") == []


def test_rim_of_one_kind_alone_is_blocked() -> None:
    assert with_rims(driver_rim()).codes("gpu.rim") == [R.GPU_RIM_MISSING]
    assert with_rims().codes("gpu.rim") == [R.GPU_RIM_MISSING]


def test_rim_not_published_is_blocked_not_refused() -> None:
    made = with_rims(driver_rim())
    body = made.add("nvidia.rim", rim_sim.not_found(VBIOS_ID))
    made.exchanged(None, body, url=f"https://x.invalid/v1/rim/{VBIOS_ID}", status=404)
    assert made.codes("gpu.rim") == [R.GPU_RIM_MISSING]


def test_rim_that_no_device_leads_to_is_refused() -> None:
    other = rim_sim.envelope(
        "NV_GPU_DRIVER_GH100_1", rim_sim.document(rim_sim.driver_manifest("1"))
    )
    assert with_rims(driver_rim(), vbios_rim(), other).codes("gpu.rim") == [R.GPU_RIM_ID_MISMATCH]
    bare = rim_sim.document(rim_sim.driver_manifest("1"))
    assert with_rims(driver_rim(), vbios_rim(), bare).codes("gpu.rim") == [
        R.GPU_RIM_VERSION_MISMATCH
    ]
    chip = rim_sim.document(rim_sim.driver_manifest(product="GB100"))
    assert with_rims(driver_rim(), vbios_rim(), chip).codes("gpu.rim") == [
        R.GPU_RIM_PRODUCT_MISMATCH
    ]


def test_rim_fetched_under_another_id_than_its_envelope_is_refused() -> None:
    made = with_rims(vbios_rim())
    body = made.add("nvidia.rim", driver_rim())
    made.exchanged(None, body, url="https://x.invalid/v1/rim/NV_GPU_DRIVER_GH100_2")
    assert made.codes("gpu.rim") == [R.GPU_RIM_ID_MISMATCH]


def test_rim_of_another_version_under_the_right_id_is_refused() -> None:
    wrong = rim_sim.envelope(DRIVER_ID, rim_sim.document(rim_sim.driver_manifest("1")))
    assert with_rims(wrong, vbios_rim()).codes("gpu.rim") == [R.GPU_RIM_VERSION_MISMATCH]


def test_rim_without_bytes_or_form_is_told_apart() -> None:
    made = with_rims(driver_rim(), vbios_rim())
    made.add("nvidia.rim", None)
    assert made.codes("gpu.rim") == [R.ARTIFACT_WITHHELD]
    assert with_rims(driver_rim(), vbios_rim(), b"<a>").codes("gpu.rim") == [R.GPU_RIM_MALFORMED]


def test_rims_that_govern_one_index_twice_are_refused() -> None:
    both = rim_sim.Manifest(
        version=sim.VBIOS, entries=rim_sim.entries(sim.gpu_blocks(), frozenset({7}))
    )
    made = with_rims(driver_rim(), rim_sim.envelope(VBIOS_ID, rim_sim.document(both)))
    assert made.codes("gpu.rim") == [R.GPU_RIM_INDEX_CONFLICT]


def test_measurement_that_differs_on_one_device_fails() -> None:
    made = World()
    made.device(GPU)
    made.device(sim.Device(label="check edited"), evidence=None)
    blocks = list(sim.gpu_blocks())
    blocks[21] = bytes(48)
    bad = sim.Device(label="check edited 2")
    made.device(bad, evidence=sim.report(bad, blocks=tuple(blocks)))
    made.add("nvidia.rim", driver_rim())
    made.add("nvidia.rim", vbios_rim())
    outcome = made.run("gpu.measurement")
    assert outcome.reason is R.GPU_MEASUREMENT_MISMATCH
    (finding,) = outcome.findings
    assert finding.got == "driver index 21"
    assert finding.expected.startswith("manifest signed by ")


def test_measurement_35_is_compared_where_nvdec_is_enabled() -> None:
    made = with_rims(driver_rim(), vbios_rim(), device=sim.Device(label="nvdec", nvdec0=0xAA))
    assert made.codes("gpu.measurement") == [R.GPU_MEASUREMENT_MISMATCH]


def test_measurement_without_manifest_is_not_checked() -> None:
    made = with_rims(driver_rim(), vbios_rim())
    fact = made.run("gpu.rim").fact
    made.facts["gpu.rim"] = pki.replace(fact, manifests={})
    assert made.codes("gpu.measurement") == [R.GPU_MEASUREMENT_NOT_CHECKED]


# --- row 70 ----------------------------------------------------------------------------------------

CHAIN: Final = GPU.chain()


def with_ocsp(
    *positions: int, chain: tuple[pki.Plan, ...] = CHAIN, made: World | None = None, **knobs: Any
) -> World:
    found = made or world()
    for position in positions:
        child, issuer = chain[position], chain[position + 1]
        nonce = pki.seed(f"ocsp {position} {child.serial}")[:16]
        request = found.add(
            "nvidia.ocsp-request", revocation_sim.request(child, issuer, nonce=nonce)
        )
        response = found.add(
            "nvidia.ocsp-response",
            revocation_sim.response(child, issuer, **{"nonce": nonce, **knobs}),
        )
        found.exchanged(request, response)
    return found


def test_revocation_recorded_for_every_position_passes_with_the_leaf_noted() -> None:
    made = with_ocsp(1, 2, 3)
    assert made.codes("gpu.revocation") == []
    assert made.notes("gpu.revocation") == {R.GPU_REVOCATION_LEAF_NOT_COVERED}
    lists = with_ocsp(1)
    lists.add("nvidia.crl", revocation_sim.crl(CHAIN[3]))
    lists.add("nvidia.crl", revocation_sim.crl(CHAIN[4]))
    assert lists.codes("gpu.revocation") == []


def test_revocation_not_recorded_names_each_position() -> None:
    made = with_ocsp(1, 3)
    outcome = made.run("gpu.revocation")
    assert outcome.reason is R.GPU_REVOCATION_NOT_RECORDED
    assert [one.got for one in outcome.findings] == ["nvidia.gpu-chain-1 position 2"]


def test_revocation_covers_the_signers_of_manifests() -> None:
    made = with_ocsp(1, 2, 3)
    made.add("nvidia.rim", driver_rim())
    places = [one.got for one in made.run("gpu.revocation").findings]
    assert [place.split(" ", 1)[1] for place in places] == [
        "position 0",
        "position 1",
        "position 2",
    ]
    full = with_ocsp(0, 1, 2, chain=pki.rim_chain(), made=made)
    assert full.codes("gpu.revocation") == []


def test_certificate_on_hold_is_tolerated_for_manifest_signers_alone() -> None:
    held = (revocation_sim.Single(status="revoked", reason=6),)
    for allow, wanted in ((False, [R.GPU_OCSP_ON_HOLD]), (True, [])):
        made = with_ocsp(1, 2, 3)
        made.add("nvidia.rim", driver_rim())
        made = with_ocsp(1, 2, chain=pki.rim_chain(), made=made)
        made = with_ocsp(0, chain=pki.rim_chain(), made=made, singles=held)
        made.gpu["allow_certificate_hold"] = allow
        assert made.codes("gpu.revocation") == wanted
    device = with_ocsp(1, 2)
    device = with_ocsp(3, made=device, singles=held)
    device.gpu["allow_certificate_hold"] = True
    assert device.codes("gpu.revocation") == [R.GPU_OCSP_ON_HOLD]


def test_revocation_after_the_instant_is_noted() -> None:
    later = (revocation_sim.Single(status="revoked", revoked_at=AS_OF + timedelta(days=1)),)
    made = with_ocsp(2, 3)
    made = with_ocsp(1, made=made, singles=later)
    assert made.codes("gpu.revocation") == []
    assert R.GPU_OCSP_REVOKED_LATER in made.notes("gpu.revocation")


def test_response_about_nobody_here_is_refused() -> None:
    made = with_ocsp(1, 2, 3)
    made = with_ocsp(1, chain=GPU_2.chain(), made=made)
    assert made.codes("gpu.revocation") == [R.GPU_OCSP_CERTID_MISMATCH]


def test_response_that_answers_another_question_is_refused() -> None:
    made = with_ocsp(1, 2)
    request = made.add("nvidia.ocsp-request", revocation_sim.request(CHAIN[3], CHAIN[4]))
    response = made.add("nvidia.ocsp-response", revocation_sim.response(CHAIN[2], CHAIN[3]))
    made.exchanged(request, response)
    assert made.codes("gpu.revocation")[0] is R.GPU_OCSP_CERTID_MISMATCH


def test_revocation_material_that_cannot_be_read_is_told_apart() -> None:
    made = with_ocsp(1, 2, 3)
    made.add("nvidia.ocsp-response", b"nothing")
    assert made.codes("gpu.revocation") == [R.GPU_OCSP_MALFORMED]
    made = with_ocsp(1, 2, 3)
    made.add("nvidia.crl", b"nothing")
    assert made.codes("gpu.revocation") == [R.GPU_CRL_MALFORMED]
    made = with_ocsp(1, 2, 3)
    made.add("nvidia.crl", None)
    made.add("nvidia.ocsp-response", None)
    assert made.codes("gpu.revocation") == [R.ARTIFACT_WITHHELD]
    made = with_ocsp(1, 2, 3)
    made.add("nvidia.ocsp-response", revocation_sim.response(CHAIN[1], CHAIN[2], outer_status=6))
    assert made.codes("gpu.revocation") == [R.GPU_OCSP_RESPONSE_STATUS]


def test_revocation_answer_with_another_status_is_not_recorded() -> None:
    made = with_ocsp(1, 2)
    body = made.add("nvidia.ocsp-response", b"busy")
    made.exchanged(None, body, status=503)
    crl = made.add("nvidia.crl", b"busy")
    made.exchanged(None, crl, status=503)
    assert made.codes("gpu.revocation") == [R.GPU_REVOCATION_NOT_RECORDED]


def test_revoked_on_a_list_and_list_of_a_stranger() -> None:
    made = with_ocsp(1, 3)
    listed = {CHAIN[2].serial: AS_OF - timedelta(days=20)}
    made.add("nvidia.crl", revocation_sim.crl(CHAIN[3], revoked=listed))
    assert made.codes("gpu.revocation") == [R.GPU_CRL_REVOKED]
    made = with_ocsp(1, 2, 3)
    made.add("nvidia.crl", revocation_sim.crl(pki.rim_root()))
    assert made.codes("gpu.revocation") == []


# --- row 71 ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("knob", "value", "reason"),
    [
        ("families", ("GB100",), R.GPU_POLICY_FAMILY_NOT_ALLOWED),
        ("families", (), R.REFERENCE_MISSING),
        ("driver", AnyText(values=("1.2.3",)), R.GPU_POLICY_DRIVER_NOT_ALLOWED),
        ("driver", AnyText(values=()), R.REFERENCE_MISSING),
        ("vbios", AnyText(values=("1.2.3",)), R.GPU_POLICY_VBIOS_NOT_ALLOWED),
        ("mode", ("PPCIE",), R.GPU_POLICY_MODE_NOT_ALLOWED),
        (
            "measurements",
            IndexedValues(values={1: (bytes(48),)}),
            R.GPU_POLICY_MEASUREMENT_NOT_ALLOWED,
        ),
        (
            "measurements",
            IndexedValues(values={64: (bytes(48),)}),
            R.GPU_POLICY_MEASUREMENT_NOT_ALLOWED,
        ),
        ("measurements", IndexedValues(values={}), R.REFERENCE_MISSING),
    ],
)
def test_policy_that_lists_something_else_fails(knob: str, value: object, reason: Reason) -> None:
    made = world()
    made.gpu[knob] = value
    assert made.codes("gpu.policy") == [reason]


def test_policy_on_driver_and_mode_does_not_judge_switches() -> None:
    made = world(SWITCH)
    made.gpu.update(
        driver=AnyText(values=(sim.DRIVER,)),
        vbios=AnyText(values=(sim.VBIOS,)),
        mode=("SPT",),
        measurements=IndexedValues(values={1: (sim.gpu_blocks()[1],)}),
    )
    assert made.codes("gpu.policy") == []
    made = world()
    made.gpu.update(
        driver=AnyText(values=(sim.DRIVER,)),
        vbios=AnyText(values=(sim.VBIOS,)),
        mode=("SPT",),
        measurements=IndexedValues(values={1: (sim.gpu_blocks()[1],)}),
    )
    assert made.codes("gpu.policy") == []


# --- rows 73 to 75 ---------------------------------------------------------------------------------


def service(
    *devices: sim.Device, made: World | None = None, declare: bool = False, **knobs: Any
) -> World:
    found = made or world(*devices)
    chosen = devices or (GPU,)
    pairs = [(sim.report(device), device.chain_pem()) for device in chosen]
    exchange = nras_sim.exchange(chosen, pairs, **knobs)
    request = found.add("nras.request", exchange.request)
    answer = found.add("nras.answer", exchange.answer)
    keys = found.add("nras.jwks", exchange.jwks)
    found.exchanged(request, answer)
    if declare:
        found.bind("nras-covers", request=request, answer=answer, jwks=keys, devices=())
    return found


def test_service_answer_passes_in_all_three_rows() -> None:
    for version in ("2.0", "3.0"):
        made = service(GPU, GPU_2, version=version)
        for row in ("nras.token", "nras.result", "nras.binding"):
            assert made.codes(row) == []
    mixed = service(GPU)
    mixed.device(SWITCH)
    mixed = service(SWITCH, made=mixed)
    assert mixed.codes("nras.binding") == []


def test_service_not_asked_is_blocked() -> None:
    assert world().codes("nras.token") == [R.NRAS_NOT_RECORDED]


def test_service_answer_with_another_status_fails() -> None:
    made = world()
    made.exchanged(None, made.add("nras.answer", b"busy"), status=503)
    assert made.codes("nras.token") == [R.NRAS_ANSWER_HTTP_STATUS]


def test_service_answer_without_bytes_or_form_is_told_apart() -> None:
    made = world()
    made.add("nras.answer", None)
    assert made.codes("nras.token") == [R.ARTIFACT_WITHHELD]
    made = world()
    made.add("nras.answer", b"[]")
    assert made.codes("nras.token") == [R.NRAS_ANSWER_MALFORMED]


def test_service_keys_absent_withheld_or_malformed_are_told_apart() -> None:
    made = service(GPU)
    keys = made.artifacts[-1].id
    del made.bodies[keys]
    made.states[keys] = ArtifactState.WITHHELD
    assert made.codes("nras.token") == [R.ARTIFACT_WITHHELD]
    made = service(GPU, keys=b"[]")
    assert made.codes("nras.token") == [R.NRAS_ANSWER_MALFORMED]
    made = service(GPU)
    made.artifacts.pop()
    assert made.codes("nras.token") == [R.NRAS_KEY_MISSING]


def test_every_service_answer_is_judged() -> None:
    made = service(GPU, result=False, made=service(GPU))
    assert made.codes("nras.result") == [R.NRAS_RESULT_OVERALL_FALSE]


def test_service_warning_is_noted() -> None:
    made = service(
        GPU,
        edit_device=lambda _, claims: {**claims, "x-nvidia-attestation-warning": "old driver"},
    )
    assert made.codes("nras.result") == []
    assert made.notes("nras.result") == {R.NRAS_WARNING_PRESENT}


def test_service_asked_about_strangers_fails() -> None:
    made = world(GPU)
    made = service(GPU_2, made=made)
    assert made.codes("nras.binding") == [R.NRAS_BIND_REQUEST_MISMATCH]


def test_service_request_absent_withheld_or_malformed_is_told_apart() -> None:
    made = service(GPU)
    made.exchanges[-1] = pki.replace(
        made.exchanges[-1], request=pki.replace(made.exchanges[-1].request, body=None)
    )
    assert made.codes("nras.binding") == [R.EVIDENCE_ABSENT]
    made = service(GPU)
    request = made.artifacts[-3].id
    del made.bodies[request]
    made.states[request] = ArtifactState.WITHHELD
    assert made.codes("nras.binding") == [R.ARTIFACT_WITHHELD]
    made = service(GPU)
    made.bodies[made.artifacts[-3].id] = b"[]"
    assert made.codes("nras.binding") == [R.NRAS_BIND_REQUEST_MISMATCH]


def test_service_answer_that_covers_other_devices_than_declared_fails() -> None:
    made = service(GPU, declare=True)
    assert made.codes("nras.binding") == [R.NRAS_BIND_REQUEST_MISMATCH]


def attach(made: World, inner: World, devices: tuple[str, ...], at: datetime) -> None:
    ids = {one.role.removeprefix("nras."): one.id for one in inner.artifacts}
    made.attached.append(
        SimpleNamespace(
            kind="nras-result",
            at=at,
            evidence=inner.evidence,
            said=SimpleNamespace(own=ids, devices=devices),
        )
    )


def attached_world(*, late: timedelta, devices: tuple[str, ...] | None = None) -> World:
    made = world(GPU)
    inner = World()
    inner.prefix = "attachment:0/"
    issued = AS_OF + late
    leaf = pki.nras_leaf(
        nras_sim.KID, start=issued - timedelta(hours=1), end=issued + timedelta(hours=1)
    )
    service(GPU, made=inner, issued=issued, keys=nras_sim.jwks(nras_sim.jwk(leaf=leaf)))
    inner.exchanges[-1] = pki.replace(inner.exchanges[-1], ended_at=issued)
    ids = (made.artifacts[0].id,) if devices is None else devices
    attach(made, inner, ids, issued)
    return made


def test_attached_service_answer_may_come_years_later() -> None:
    made = attached_world(late=timedelta(days=700))
    for row in ("nras.token", "nras.result", "nras.binding"):
        assert made.codes(row) == []
    assert made.notes("nras.token") == {R.NRAS_ANSWER_LATER_THAN_CAPTURE}


def test_attached_service_answer_about_other_devices_fails() -> None:
    made = attached_world(late=timedelta(days=1), devices=())
    assert made.codes("nras.binding") == [R.NRAS_BIND_REQUEST_MISMATCH]


def test_service_answer_in_the_bundle_must_be_near_the_instant_judged() -> None:
    made = service(GPU)
    made.distance = 1
    assert made.codes("nras.token") == [R.NRAS_TOKEN_TIME_INCONSISTENT]


def test_service_answer_past_its_own_limit_is_noted() -> None:
    made = service(GPU, issued=AS_OF - timedelta(hours=2))
    made.distance = 86_400
    made.exchanges[-1] = pki.replace(made.exchanges[-1], ended_at=AS_OF - timedelta(hours=2))
    assert made.codes("nras.token") == []
    assert made.notes("nras.token") == {R.NRAS_TOKEN_EXPIRED_SINCE}


# --- row 85 ----------------------------------------------------------------------------------------


def legacy_slice(role: str = "nvidia.gpu-evidence", allowed: bytes = b"") -> LegacySlice:
    return LegacySlice(
        label="GPU slice A",
        role=role,
        start=96,
        stop=128,
        allowed=(allowed or legacy_slices.PIN_A,),
        covers="end of block 1, block 2",
    )


def test_legacy_slices_are_notes_for_every_device_and_quote() -> None:
    found = sim.report(GPU)[96:128]
    made = world(GPU, GPU_2, SWITCH)
    made.run("gpu.report.signature")
    made.add("nvidia.gpu-evidence", b"short")
    made.add("nvidia.gpu-evidence", None)
    made.add("tdx.quote", b"\x05\x00" + bytes(700))
    made.add("tdx.quote", b"\x04\x00" + bytes(700))
    switch = made.facts["gpu.report.signature"].devices[2].id  # type: ignore[attr-defined]
    made.artifacts[4] = pki.replace(made.artifacts[4], role="nvidia.gpu-evidence", id=switch)
    made.slices = (legacy_slice(allowed=found), legacy_slice("tdx.quote", bytes(32)))
    outcome = made.run("legacy.nanogpt_pins")
    assert outcome.status is Status.PASS
    assert [one.reason for one in outcome.notes] == [
        R.GPU_LEGACY_NANOGPT_PIN_MATCH,
        R.GPU_LEGACY_NANOGPT_PIN_MATCH,
        R.GPU_LEGACY_NOT_EVALUATED,
        R.GPU_LEGACY_NOT_EVALUATED,
        R.GPU_LEGACY_NOT_EVALUATED,
        R.GPU_LEGACY_NOT_EVALUATED,
        R.GPU_LEGACY_NANOGPT_PIN_MATCH,
    ]
    assert "signature around the bytes: verified" in outcome.notes[0].text
    assert "signature around the bytes: not verified" in outcome.notes[-1].text
    made.slices = (legacy_slice(),)
    first = made.run("legacy.nanogpt_pins").notes[0]
    assert first.reason is R.GPU_LEGACY_NANOGPT_PIN_MISMATCH


def test_payload_text_inside_a_json_string_is_read_once() -> None:
    made = world()
    inner = nras_sim.request([(sim.report(GPU), GPU.chain_pem())]).decode("ascii")
    made.add("nvidia.payload", json.dumps(inner).encode("ascii"))
    assert made.codes("gpu.report.format") == []


# --- corners -------------------------------------------------------------------------------------


def test_report_cut_short_fails_in_the_first_row() -> None:
    made = World()
    made.device(GPU, evidence=sim.report(GPU)[:100])
    assert made.codes("gpu.report.format") == [R.GPU_REPORT_TRUNCATED]


def test_container_alone_that_cannot_be_read_fails_before_absence() -> None:
    made = World()
    made.add("nvidia.payload", b"{")
    assert made.codes("gpu.report.format") == [R.GPU_INPUT_MALFORMED]


def test_chain_of_a_foreign_root_fails() -> None:
    other = pki.faulty(GPU.chain(), 4, key="foreign", signer="foreign")
    made = World()
    made.device(GPU, chain=pki.pem(pki.faulty(other, 3, signer="foreign")))
    assert made.codes("gpu.chain") == [R.GPU_CHAIN_ROOT_UNTRUSTED]


def test_checks_of_an_excluded_subject_are_never_run() -> None:
    made = with_ocsp(1, 2, 3)
    made.run("gpu.report.signature")
    inputs = made.inputs
    inputs.policy.gpu = None
    inputs.policy.nras = None
    facts = {**made.facts, "blobs.derived": service(GPU).evidence}
    facts["attachments.form"] = Attachments(accepted=(), ignored=())
    facts["time.as_of"] = AsOfInstant(
        instant=AS_OF, source=AsOfSource.CAPTURE, claimed_start=AS_OF, claimed_end=AS_OF
    )
    with pytest.raises(ValueError, match="excludes the subject"):
        gpu.policy(inputs, Facts(facts, AnyId()))
    with pytest.raises(ValueError, match="excludes the subject"):
        nras.token(inputs, Facts(facts, AnyId()))


def test_devices_derived_in_a_circle_are_grouped_without_end_of_patience() -> None:
    made = World()
    first = made.device(GPU, steps="/a/0", source="nvidia.gpu-chain-1")
    made.artifacts[1] = pki.replace(
        made.artifacts[1], origin=FromArtifact(artifact=first, steps=("select:/b/0/evidence",))
    )
    assert made.codes("gpu.devices") == []


def test_chain_binding_that_names_no_chain_pairs_nothing() -> None:
    made = world()
    made.bindings.append(
        Binding(type="chain-for", members={"evidence": "x", "with": ("y",)}, index=0)
    )
    assert made.codes("gpu.chain") == []


def test_chain_derived_elsewhere_is_paired_in_order() -> None:
    made = World()
    made.device(GPU, steps="/list/0")
    origin = FromArtifact(artifact="answer", steps=("select:/chains/0", "base64"))
    made.artifacts[1] = pki.replace(made.artifacts[1], origin=origin)
    assert made.codes("gpu.chain") == []
    alone = World()
    alone.device(GPU, steps="/list/0")
    alone.artifacts.pop()
    assert alone.codes("gpu.chain") == [R.EVIDENCE_ABSENT]


def test_nonce_of_a_quote_that_is_not_listed_counts_for_nothing() -> None:
    made, device = derived()
    answered(made, device, bytes(32) + sim.NONCE)
    made.artifacts = [one for one in made.artifacts if one.role != "tdx.quote"]
    made.bindings.clear()
    assert made.codes("gpu.nonce") == [R.GPU_NONCE_EXPECTED_MISSING]


def test_nonce_of_a_tinfoil_document_follows_from_the_hash_in_its_quote() -> None:
    made, device = derived()
    answered(made, device, bytes(64), family="tinfoil", copies=False)
    answers = made.facts["shape.recognised"]
    assert isinstance(answers, RecognisedAnswers)
    (answer,) = answers.answers
    (report,) = answer.reports
    document = tinfoil.TinfoilReport(
        pointer="",
        role="model",
        quote=report.quote,
        devices=report.devices,
        tls_fingerprint=bytes(32),
        hpke_key=bytes(32),
        nonce=sim.NONCE,
        gpu_hash=None,
        nvswitch_hash=None,
        gpu=None,
        nvswitch=None,
    )
    made.facts["shape.recognised"] = RecognisedAnswers(
        answers=(pki.replace(answer, reports=(document,)),)
    )
    (quote,) = made.facts["cpu.authentic"].reports.values()  # type: ignore[attr-defined]
    for data, wanted in (
        (hashlib.sha256(document.preimage).digest() + bytes(32), []),
        (bytes(64), [R.GPU_NONCE_EXPECTED_MISSING]),
    ):
        made.facts["cpu.authentic"] = AuthenticReports(
            reports={quote.artifact: pki.replace(quote, report_data=data)}
        )
        assert made.codes("gpu.nonce") == wanted


def test_device_declared_to_share_the_nonce_of_a_quote_must() -> None:
    made, device = derived()
    answered(made, device, bytes(32) + sim.NONCE)
    made.required = ("devices-share-nonce",)
    assert made.codes("gpu.nonce") == [R.BINDING_UNDECLARED]
    (quote,) = made.facts["cpu.authentic"].reports  # type: ignore[attr-defined]
    made.bind("devices-share-nonce", devices=(device,), evidence=quote)
    assert made.codes("gpu.nonce") == []
    made, device = derived()
    answered(made, device, bytes(64), copies=False)
    (quote,) = made.facts["cpu.authentic"].reports  # type: ignore[attr-defined]
    made.bind("devices-share-nonce", devices=(device,), evidence=quote)
    made.bind("nonce-in-evidence", nonce=made.nonce(sim.NONCE), evidence=device)
    assert made.codes("gpu.nonce") == [R.GPU_NONCE_MISMATCH]
    made.bindings.pop(0)
    made.bind("devices-share-nonce", devices=(device,), evidence="another quote")
    assert made.codes("gpu.nonce") == [R.GPU_NONCE_MISMATCH]  # its own report's quote decides


def test_ocsp_pairs_without_exchanges_belong_together_in_order() -> None:
    made = world()
    for position in (1, 2, 3):
        child, issuer = CHAIN[position], CHAIN[position + 1]
        asked = bytes((position,)) * 16
        said = bytes(16) if position == 3 else asked
        made.add("nvidia.ocsp-request", revocation_sim.request(child, issuer, nonce=asked))
        made.add("nvidia.ocsp-response", revocation_sim.response(child, issuer, nonce=said))
    assert made.codes("gpu.revocation") == [R.GPU_OCSP_NONCE_MISMATCH]
    body = made.add("nvidia.ocsp-response", revocation_sim.response(CHAIN[1], CHAIN[2]))
    assert made.codes("gpu.revocation") == []
    made.exchanged(None, body)
    assert made.codes("gpu.revocation") == [R.GPU_OCSP_NONCE_MISMATCH]


def test_rim_that_is_not_authentic_fails() -> None:
    bad = rim_sim.envelope(DRIVER_ID, rim_sim.document(rim_sim.driver_manifest(), signer="x"))
    assert with_rims(bad, vbios_rim()).codes("gpu.rim") == [R.GPU_RIM_SIGNATURE_INVALID]


def test_rim_for_nobody_among_gpus_and_switches_is_told_by_the_nearest() -> None:
    made = world(GPU, SWITCH)
    for body in (driver_rim(), vbios_rim(), rim_sim.document(rim_sim.switch_manifest())):
        made.add("nvidia.rim", body)
    made.add("nvidia.rim", rim_sim.document(rim_sim.driver_manifest("1")))
    assert made.codes("gpu.rim") == [R.GPU_RIM_VERSION_MISMATCH]
    made = world(SWITCH, GPU)
    for body in (driver_rim(), vbios_rim(), rim_sim.document(rim_sim.switch_manifest())):
        made.add("nvidia.rim", body)
    made.add("nvidia.rim", rim_sim.document(rim_sim.driver_manifest("1")))
    assert made.codes("gpu.rim") == [R.GPU_RIM_VERSION_MISMATCH]


def test_revocation_passes_over_manifests_that_row_68_refuses() -> None:
    made = with_ocsp(1, 2, 3)
    made.add("nvidia.rim", b"<a>")
    made.add("nvidia.rim", None)
    chain = pki.faulty(pki.rim_chain(), 0, signer="x")
    made.add("nvidia.rim", rim_sim.document(rim_sim.driver_manifest(), chain=chain))
    absent = made.add("nvidia.rim", rim_sim.not_found("x"))
    made.exchanged(None, absent, status=404)
    assert made.codes("gpu.revocation") == []


def test_response_without_recorded_request_is_judged_by_what_it_says() -> None:
    made = with_ocsp(1, 2)
    made.add("nvidia.ocsp-response", revocation_sim.response(CHAIN[3], CHAIN[4]))
    assert made.codes("gpu.revocation") == []


def test_service_asked_with_another_chain_text_or_about_another_version_fails() -> None:
    pair = (sim.report(GPU), GPU.chain_pem() + b"\n")
    made = world()
    exchange = nras_sim.exchange((GPU,), (pair,))
    request = made.add("nras.request", exchange.request)
    answer = made.add("nras.answer", exchange.answer)
    made.add("nras.jwks", exchange.jwks)
    made.exchanged(request, answer)
    assert made.codes("nras.binding") == [R.NRAS_BIND_REQUEST_MISMATCH]
    made = service(GPU, edit_device=lambda _, claims: {**claims, "ueid": "7"})
    assert made.codes("nras.binding") == [R.NRAS_BIND_UEID_MISMATCH]


def test_service_error_without_details_is_an_error() -> None:
    made = service(
        GPU, edit_device=lambda _, claims: {**claims, "x-nvidia-error-details": "broken"}
    )
    assert made.codes("nras.result") == [R.NRAS_DEVICE_ERROR_REPORTED]


def test_legacy_slices_without_any_verified_device_are_shown_as_such() -> None:
    made = world()
    made.slices = (legacy_slice(),)
    note = made.run("legacy.nanogpt_pins").notes[0]
    assert "signature around the bytes: not verified" in note.text
