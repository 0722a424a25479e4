"""Which device evidence a bundle lists, which chain belongs to it, which devices form one box.

Devices are grouped twice. An *answer* is what one document said: inside it no device may stand
twice. A *box* is one report object of an answer (one trust domain with its GPUs and switches): its
devices share a nonce and a mode and name one another. Both follow from the derivation steps that
the Statement signs; devices without derivation form one box and one answer.

Source: nvidia.md 2, 7; bundle-format.md 5.3, 6.5; providers.md 1.2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

from verify.checks.inputs import Inputs
from verify.engine.asof import AsOfInstant
from verify.engine.check import Facts
from verify.engine.errors import FormatError
from verify.engine.later import later
from verify.engine.outcome import Pointer
from verify.engine.reason import Reason
from verify.engine.tally import Tally
from verify.engine.value import value
from verify.nvidia.certificates import DeviceChain, FirmwareId
from verify.nvidia.devices import Device
from verify.nvidia.payload import Entry
from verify.nvidia.spdm import Report
from verify.policy.model import GpuRules
from verify.trust.anchor import Purpose
from verify.wire.model import Artifact, ArtifactUnavailable, Evidence, FromArtifact, Statement

if TYPE_CHECKING:
    from verify.nvidia import rim as rims
else:
    rims = later("verify.nvidia.rim")

EVIDENCE_ROLES: Final = ("nvidia.gpu-evidence", "nvidia.switch-evidence")
CHAIN_ROLES: Final = ("nvidia.gpu-chain", "nvidia.switch-chain")
_CHAIN_OF: Final = dict(zip(EVIDENCE_ROLES, CHAIN_ROLES, strict=True))
_NAVIGATION: Final = ("select:", "span:")
_LIST_STEPS: Final = 3
"""What follows a box in a pointer: the list, the device's number, the member."""


@value
class DeviceSource:
    """One listed device: its evidence and chain artifacts, its box and its answer (keys)."""

    evidence: Artifact
    chain: Artifact | None
    box: str
    answer: str

    @property
    def id(self) -> str:
        """The id of the evidence artifact: the device's label everywhere."""
        return self.evidence.id


def _origin(statement: Statement, artifact: Artifact) -> tuple[str, tuple[str, ...]]:
    """Follow derivations to the document they start from; return its id and all pointer tokens."""
    tokens: list[str] = []
    current = artifact
    for _ in range(len(statement.artifacts)):
        origin = current.origin
        if not isinstance(origin, FromArtifact):
            break
        found: list[str] = []
        for step in origin.steps:
            name = next((step[len(n) :] for n in _NAVIGATION if step.startswith(n)), None)
            if name:
                found += name.split("/")[1:]
        tokens[:0] = found
        current = statement.artifact(origin.artifact)
    return current.id, tuple(tokens)


def _place(statement: Statement, artifact: Artifact) -> tuple[str, str]:
    """Return the keys of a device's box and answer."""
    if not isinstance(artifact.origin, FromArtifact):
        return "", ""
    root, tokens = _origin(statement, artifact)
    inner = list(tokens[:-_LIST_STEPS])
    while inner and not inner[-1].isdecimal():
        inner.pop()
    return f"{root}#/{'/'.join(inner)}", root


def _paired(statement: Statement) -> Mapping[str, Artifact]:
    """Return evidence id -> chain artifact: declared, else derived beside it, else in order."""
    known = {artifact.id: artifact for artifact in statement.of_role(*CHAIN_ROLES)}
    found: dict[str, Artifact] = {}
    for binding in statement.bindings_of("chain-for"):
        for chain in binding.many("with"):
            if chain in known:
                found[binding.one("evidence")] = known[chain]
    derived = {
        (origin.artifact, origin.steps): artifact
        for artifact in known.values()
        if isinstance(origin := artifact.origin, FromArtifact)
    }
    for role in EVIDENCE_ROLES:
        evidence = [one for one in statement.of_role(role) if one.id not in found]
        for artifact in evidence:
            origin = artifact.origin
            if isinstance(origin, FromArtifact):
                steps = tuple(_beside(step) for step in origin.steps)
                chain_artifact = derived.get((origin.artifact, steps))
                if chain_artifact is not None:
                    found[artifact.id] = chain_artifact
        taken = {artifact.id for artifact in found.values()}
        left = [one for one in evidence if one.id not in found]
        chains = [one for one in statement.of_role(_CHAIN_OF[role]) if one.id not in taken]
        if len(left) == len(chains):
            found.update((one.id, chain) for one, chain in zip(left, chains, strict=True))
    return found


def _beside(step: str) -> str:
    head, slash, last = step.rpartition("/")
    return f"{head}/certificate" if slash and last == "evidence" else step


def device_sources(statement: Statement) -> tuple[DeviceSource, ...]:
    """Return every listed device in Statement order."""
    chains = _paired(statement)
    found: list[DeviceSource] = []
    for artifact in statement.of_role(*EVIDENCE_ROLES):
        box, answer = _place(statement, artifact)
        found.append(
            DeviceSource(evidence=artifact, chain=chains.get(artifact.id), box=box, answer=answer)
        )
    return tuple(found)


def listed_at(artifact: Artifact) -> Pointer:
    """Point at where the Statement lists an artifact."""
    return Pointer(document="statement", path=f"/predicate/artifacts/{artifact.index}")


# --- shared by the checks ------------------------------------------------------------------------

GONE: Final = frozenset(
    {
        Reason.ARTIFACT_EXTERNAL_UNAVAILABLE,
        Reason.ARTIFACT_MISSING,
        Reason.ARTIFACT_WITHHELD,
    }
)
HTTP_OK: Final = 200


def record_gone(tally: Tally, error: ArtifactUnavailable) -> None:
    """Record that the bytes of an artifact are not there."""
    tally.find(
        error.reason, error.pointer, what=str(error), got=error.state.value, expected="bytes"
    )


def believed_digests(
    inputs: Inputs, facts: Facts, purpose: Purpose, *, at: datetime | None = None
) -> frozenset[bytes]:
    """Return the SHA-256 digests of the anchors that count for a purpose.

    ``at``: the instant at which they must be in force; None: the instant judged.
    """
    anchors = inputs.trust.anchors(
        purpose,
        at=facts.get("time.as_of", AsOfInstant).instant if at is None else at,
        accept_added=inputs.policy.trust.accept_added,
    )
    return frozenset(bytes.fromhex(anchor.sha256) for anchor in anchors)


def gpu_rules(inputs: Inputs) -> GpuRules:
    """Return the policy's section. Raises ValueError where the subject is excluded: a bug."""
    rules = inputs.policy.gpu
    if rules is None:
        message = "a GPU check ran although the policy excludes the subject"
        raise ValueError(message)
    return rules


def is_answer(evidence: Evidence, artifact: Artifact) -> bool:
    """Whether the artifact is not the body of an answer other than 200 (a 404, say)."""
    exchange = evidence.statement.exchange_of_body(artifact.id)
    return exchange is None or exchange.response is None or exchange.response.status == HTTP_OK


# --- facts -------------------------------------------------------------------------------------


@value
class ParsedDevice:
    """A device whose report parsed. ``chain`` is None where ``fault`` says why, or none is there.

    ``entry``: what a container declares of it, or None.
    """

    source: DeviceSource
    report: Report
    chain: DeviceChain | None
    fault: FormatError | None
    entry: Entry | None


@value
class ParsedDevices:
    """Fact of `gpu.report.format`: every listed device, parsed; nothing is verified."""

    devices: tuple[ParsedDevice, ...]


@value
class PlacedDevice:
    """A device with its place in the bundle and what a container declares of it.

    ``chain_id``: id of the artifact its certificates came from.
    """

    source: DeviceSource
    chain_id: str
    device: Device
    entry: Entry | None

    @property
    def id(self) -> str:
        """The id of the evidence artifact."""
        return self.source.id


@value
class CertifiedDevices:
    """Fact of `gpu.chain`: devices whose chains hold. Their reports are not verified yet."""

    devices: tuple[PlacedDevice, ...]


@value
class AttestedDevices:
    """Fact of `gpu.report.signature`: devices whose leaf key signed their report."""

    devices: tuple[PlacedDevice, ...]

    def boxes(self) -> Mapping[str, tuple[PlacedDevice, ...]]:
        """Return the devices by box, both in order of appearance."""
        return _grouped(self.devices, [one.source.box for one in self.devices])

    def answers(self) -> Mapping[str, tuple[PlacedDevice, ...]]:
        """Return the devices by answer, both in order of appearance."""
        return _grouped(self.devices, [one.source.answer for one in self.devices])


def _grouped(
    devices: Sequence[PlacedDevice], keys: Sequence[str]
) -> Mapping[str, tuple[PlacedDevice, ...]]:
    found: dict[str, list[PlacedDevice]] = {}
    for device, key in zip(devices, keys, strict=True):
        found.setdefault(key, []).append(device)
    return {key: tuple(group) for key, group in found.items()}


@value
class FirmwareIds:
    """Fact of `gpu.fwid`: the firmware id that report and certificate agree on, per device."""

    ids: Mapping[str, FirmwareId]


@value
class DeviceNonces:
    """Fact of `gpu.nonce`: the 32 bytes that a device signed and was expected to sign."""

    nonces: Mapping[str, bytes]


@value
class RecordedRim:
    """One recorded, authentic manifest: its artifact id and content."""

    artifact: str
    rim: rims.Rim


@value
class ReferenceManifests:
    """Fact of `gpu.rim`: per device, the manifests that govern it, by kind.

    ``valid_until``: earliest end among all signers' certificates.
    """

    manifests: Mapping[str, Mapping[rims.RimKind, tuple[RecordedRim, ...]]]
    devices: AttestedDevices
    valid_until: datetime | None


@value
class Comparisons:
    """Fact of `gpu.measurement`: what was compared, per device."""

    comparisons: Mapping[str, tuple[rims.Comparison, ...]]
