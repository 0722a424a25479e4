"""Rows 68 to 70: reference manifests, the comparison with them, revocation.

Source: verification.md 3 (rows 68 to 70), 3.3; nvidia.md 8, 9.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Final

from verify.checks.gpu_devices import (
    GONE,
    AttestedDevices,
    CertifiedDevices,
    Comparisons,
    PlacedDevice,
    RecordedRim,
    ReferenceManifests,
    believed_digests,
    gpu_rules,
    is_answer,
    record_gone,
)
from verify.checks.inputs import Inputs
from verify.crypto.x509 import Certificate
from verify.engine.asof import AsOfInstant
from verify.engine.check import Facts
from verify.engine.errors import FormatError, Refused
from verify.engine.later import later
from verify.engine.outcome import Affirmed, Outcome, Pointer
from verify.engine.reason import Reason
from verify.engine.tally import Tally
from verify.engine.value import value
from verify.nvidia.devices import Device
from verify.nvidia.judging import refusals
from verify.trust.anchor import Purpose
from verify.wire.model import Artifact, ArtifactUnavailable, Evidence

if TYPE_CHECKING:
    from verify.nvidia import revocation as replay
    from verify.nvidia import rim as manifests
else:
    replay = later("verify.nvidia.revocation")
    manifests = later("verify.nvidia.rim")

# --- rows 68 and 69 ----------------------------------------------------------------------------

RIM_REASONS: Final = GONE | {
    Reason.GPU_INPUT_ENCODING_INVALID,
    Reason.GPU_INPUT_TOO_LARGE,
    Reason.GPU_RIM_CHAIN_EXPIRED,
    Reason.GPU_RIM_CHAIN_INVALID,
    Reason.GPU_RIM_CHAIN_NOT_YET_VALID,
    Reason.GPU_RIM_CHAIN_ROOT_UNTRUSTED,
    Reason.GPU_RIM_DIGEST_MISMATCH,
    Reason.GPU_RIM_DSIG_PROFILE_INVALID,
    Reason.GPU_RIM_FORMAT_UNSUPPORTED,
    Reason.GPU_RIM_ID_MISMATCH,
    Reason.GPU_RIM_INDEX_CONFLICT,
    Reason.GPU_RIM_MALFORMED,
    Reason.GPU_RIM_MISSING,
    Reason.GPU_RIM_NO_ACTIVE_MEASUREMENTS,
    Reason.GPU_RIM_PRODUCT_MISMATCH,
    Reason.GPU_RIM_SCHEMA_INVALID,
    Reason.GPU_RIM_SIGNATURE_INVALID,
    Reason.GPU_RIM_VERSION_MISMATCH,
}


def _requested_id(evidence: Evidence, artifact: Artifact) -> str | None:
    """Return the manifest id of the URL it was fetched under, or None."""
    exchange = evidence.statement.exchange_of_body(artifact.id)
    if exchange is None:
        return None
    head, found, last = exchange.request.url.partition("?")[0].rpartition("/rim/")
    return last if head and found and last else None


@value
class _Offered:
    """A recorded manifest and the id it was recorded under, if any."""

    artifact: str
    rim: manifests.Rim
    id: str | None


def _read_rims(inputs: Inputs, facts: Facts, tally: Tally) -> list[_Offered]:
    """Parse and authenticate every recorded manifest; what was not published (404) is skipped."""
    evidence = facts.get("blobs.derived", Evidence)
    instant = facts.get("time.as_of", AsOfInstant).instant
    believed = believed_digests(inputs, facts, Purpose.NVIDIA_RIM_ROOT)
    found: list[_Offered] = []
    for artifact in evidence.statement.of_role("nvidia.rim"):
        if not is_answer(evidence, artifact):
            continue
        document = evidence.document(artifact.id)
        try:
            one = manifests.parse_rim(evidence.body(artifact.id))
        except ArtifactUnavailable as gone:
            record_gone(tally, gone)
            continue
        except FormatError as error:
            tally.malformed(error, document, Reason.GPU_RIM_MALFORMED)
            continue
        for refused in manifests.authenticity_refusals(one, believed, instant):
            tally.refuse(refused, document)
        requested = _requested_id(evidence, artifact)
        if requested is not None and one.recorded_id is not None:
            question = partial(manifests.judge_id, one.recorded_id, requested)
            for refused in refusals(question):
                tally.refuse(refused, document)
        found.append(_Offered(artifact=artifact.id, rim=one, id=one.recorded_id or requested))
    return found


def _fits(offered: _Offered, device: Device, kind: manifests.RimKind, wanted: str | None) -> bool:
    """Whether a manifest is offered for a device: by its id, or by content where it has none."""
    if offered.id is not None:
        return offered.id == wanted
    return not refusals(
        partial(manifests.judge_product, offered.rim.manifest, device.report, device.family),
        partial(manifests.judge_version, offered.rim.manifest, device.report, kind),
    )


def _misfit(offered: _Offered, attested: Iterable[PlacedDevice]) -> Refused:
    """Say why a manifest is for none of the devices: its id, its product, or its version."""
    wanted: list[str] = []
    nearest: Refused | None = None
    for one in attested:
        device = one.device
        wanted += [
            rim_id
            for rim_id in manifests.wanted_ids(device.report, device.family).values()
            if rim_id is not None and rim_id not in wanted
        ]
        for refused in refusals(
            partial(manifests.judge_product, offered.rim.manifest, device.report, device.family),
            partial(
                manifests.judge_version,
                offered.rim.manifest,
                device.report,
                manifests.RimKind.VBIOS,
            ),
        )[:1]:
            if nearest is None or refused.reason is Reason.GPU_RIM_VERSION_MISMATCH:
                nearest = refused
    if offered.id is not None or nearest is None:
        return Refused(
            Reason.GPU_RIM_ID_MISMATCH,
            "the manifest belongs to none of the devices",
            got=offered.id or offered.rim.manifest.version,
            expected=" or ".join(wanted),
        )
    return nearest


def _governing(
    one: PlacedDevice, offered: list[_Offered], evidence: Evidence, tally: Tally
) -> tuple[Mapping[manifests.RimKind, tuple[RecordedRim, ...]], set[str]]:
    """Choose and judge the manifests for one device; return them and the artifacts used."""
    device = one.device
    chosen: dict[manifests.RimKind, tuple[RecordedRim, ...]] = {}
    used: set[str] = set()
    for kind, wanted in manifests.wanted_ids(device.report, device.family).items():
        fitting = [entry for entry in offered if _fits(entry, device, kind, wanted)]
        used |= {entry.artifact for entry in fitting}
        if not fitting:
            tally.find(
                Reason.GPU_RIM_MISSING,
                Pointer(document=evidence.document(one.id)),
                what=f"no {kind.value} manifest for {one.id} is recorded",
                expected=wanted or "an id that the report does not lead to",
            )
            continue
        for entry in fitting:
            for refused in refusals(
                partial(manifests.judge_product, entry.rim.manifest, device.report, device.family),
                partial(manifests.judge_version, entry.rim.manifest, device.report, kind),
            ):
                tally.refuse(refused, evidence.document(entry.artifact))
        chosen[kind] = tuple(
            RecordedRim(artifact=entry.artifact, rim=entry.rim) for entry in fitting
        )
    for driver in chosen.get(manifests.RimKind.DRIVER, ()):
        for vbios in chosen.get(manifests.RimKind.VBIOS, ()):
            question = partial(manifests.judge_indices, driver.rim.manifest, vbios.rim.manifest)
            for refused in refusals(question):
                tally.refuse(refused, evidence.document(vbios.artifact))
    return chosen, used


def rim(inputs: Inputs, facts: Facts) -> Outcome[ReferenceManifests]:
    """Row 68: manifests authentic, of the right id, product and version, in force then.

    Every recorded manifest is judged; one that no device leads to fails. Source: nvidia.md 8.
    """
    evidence = facts.get("blobs.derived", Evidence)
    attested = facts.get("gpu.report.signature", AttestedDevices)
    tally = Tally()
    offered = _read_rims(inputs, facts, tally)
    governing: dict[str, Mapping[manifests.RimKind, tuple[RecordedRim, ...]]] = {}
    used: set[str] = set()
    for one in attested.devices:
        governing[one.id], taken = _governing(one, offered, evidence, tally)
        used |= taken
    for entry in offered:
        if entry.artifact not in used:
            tally.refuse(_misfit(entry, attested.devices), evidence.document(entry.artifact))
        tally.match(entry.artifact)
    ends = [end for entry in offered if (end := manifests.valid_until(entry.rim)) is not None]
    return tally.outcome(
        ReferenceManifests(
            manifests=governing, devices=attested, valid_until=min(ends, default=None)
        )
    )


MEASUREMENT_REASONS: Final = frozenset(
    {
        Reason.GPU_MEASUREMENT_MISMATCH,
        Reason.GPU_MEASUREMENT_MISSING_BLOCK,
        Reason.GPU_MEASUREMENT_NOT_CHECKED,
        Reason.GPU_MEASUREMENT_SKIPPED_NVDEC,
    }
)


def measurement(inputs: Inputs, facts: Facts) -> Outcome[Comparisons]:  # noqa: ARG001
    """Row 69: every governed measurement equals a reference value. Source: nvidia.md 8.7."""
    evidence = facts.get("blobs.derived", Evidence)
    reference = facts.get("gpu.rim", ReferenceManifests)
    tally = Tally()
    found: dict[str, tuple[manifests.Comparison, ...]] = {}
    for one in reference.devices.devices:
        document = evidence.document(one.id)
        governing = reference.manifests.get(one.id, {})
        made: list[manifests.Comparison] = []
        for kind, recorded in governing.items():
            for entry in recorded:
                comparison = manifests.compare(entry.rim.manifest, one.device.report, kind)
                made.append(comparison)
                serial = entry.rim.signer_serial
                for refused in manifests.comparison_refusals(comparison, serial):
                    tally.refuse(refused, document)
                if comparison.skipped:
                    tally.note(
                        Reason.GPU_MEASUREMENT_SKIPPED_NVDEC,
                        f"{one.id}: index 35 is not compared, the NVDEC0 engine is disabled",
                        Pointer(document=document),
                    )
        for refused in refusals(partial(manifests.judge_compared, made)):
            tally.refuse(refused, document)
        found[one.id] = tuple(made)
        tally.match(one.id)
    return tally.outcome(Comparisons(comparisons=found))


# --- row 70 ------------------------------------------------------------------------------------

REVOCATION_REASONS: Final = GONE | {
    Reason.GPU_CRL_MALFORMED,
    Reason.GPU_CRL_REVOKED,
    Reason.GPU_CRL_SIGNATURE_INVALID,
    Reason.GPU_CRL_STALE,
    Reason.GPU_INPUT_TOO_LARGE,
    Reason.GPU_OCSP_CERTID_MISMATCH,
    Reason.GPU_OCSP_MALFORMED,
    Reason.GPU_OCSP_NONCE_MISMATCH,
    Reason.GPU_OCSP_ON_HOLD,
    Reason.GPU_OCSP_RESPONDER_UNTRUSTED,
    Reason.GPU_OCSP_RESPONSE_STATUS,
    Reason.GPU_OCSP_REVOKED,
    Reason.GPU_OCSP_REVOKED_LATER,
    Reason.GPU_OCSP_SIGNATURE_INVALID,
    Reason.GPU_OCSP_STALE,
    Reason.GPU_OCSP_UNKNOWN,
    Reason.GPU_REVOCATION_LEAF_NOT_COVERED,
    Reason.GPU_REVOCATION_NOT_RECORDED,
}


@value
class _Target:
    """A certificate that recorded revocation material can cover, with its issuer."""

    child: Certificate
    issuer: Certificate
    place: str
    pointer: Pointer
    may_be_on_hold: bool


def _targets(inputs: Inputs, facts: Facts) -> list[_Target]:
    """Return every certificate that could be covered, each once (nvidia.md 9.1)."""
    evidence = facts.get("blobs.derived", Evidence)
    found: dict[bytes, _Target] = {}
    for one in facts.get("gpu.chain", CertifiedDevices).devices:
        certified = one.device.chain.certificates
        for position in range(1, len(certified) - 1):
            found.setdefault(
                certified[position].sha256,
                _Target(
                    child=certified[position],
                    issuer=certified[position + 1],
                    place=f"{one.chain_id} position {position}",
                    pointer=Pointer(document=evidence.document(one.chain_id)),
                    may_be_on_hold=False,
                ),
            )
    hold = gpu_rules(inputs).allow_certificate_hold
    believed = believed_digests(inputs, facts, Purpose.NVIDIA_RIM_ROOT)
    for artifact in evidence.statement.of_role("nvidia.rim"):
        if not is_answer(evidence, artifact):
            continue
        try:
            one_rim = manifests.parse_rim(evidence.body(artifact.id))
            manifests.judge_chain(one_rim)
            manifests.judge_root(one_rim, believed)
        except (ArtifactUnavailable, FormatError, Refused):
            continue  # row 68 says what is wrong with it
        signers = [certificate for certificate in one_rim.certificates if certificate is not None]
        for position in range(len(signers) - 1):
            found.setdefault(
                signers[position].sha256,
                _Target(
                    child=signers[position],
                    issuer=signers[position + 1],
                    place=f"{artifact.id} position {position}",
                    pointer=Pointer(document=evidence.document(artifact.id)),
                    may_be_on_hold=hold and position == 0,
                ),
            )
    return list(found.values())


def _requests(evidence: Evidence) -> Mapping[str, Artifact]:
    """Return response id -> the request it answers: of one exchange, else supplied in order.

    Requests and responses that came without exchanges belong together in Statement order where
    their numbers agree.
    """
    statement = evidence.statement
    found: dict[str, Artifact] = {}
    loose: list[Artifact] = []
    for response in statement.of_role("nvidia.ocsp-response"):
        exchange = statement.exchange_of_body(response.id)
        if exchange is None:
            loose.append(response)
        elif exchange.request.body is not None:
            found[response.id] = statement.artifact(exchange.request.body)
    sent = [
        request
        for request in statement.of_role("nvidia.ocsp-request")
        if statement.exchange_of_body(request.id) is None
    ]
    if len(sent) == len(loose):
        found.update((one.id, request) for one, request in zip(loose, sent, strict=True))
    return found


def _replay_ocsp(
    facts: Facts,
    artifact: Artifact,
    sent: Artifact | None,
    targets: list[_Target],
    tally: Tally,
) -> set[bytes]:
    """Replay one recorded response to a request; return the certificates it speaks of."""
    evidence = facts.get("blobs.derived", Evidence)
    instant = facts.get("time.as_of", AsOfInstant).instant
    document = evidence.document(artifact.id)
    request: replay.OcspRequest | None = None
    try:
        if sent is not None:
            request = replay.parse_ocsp_request(evidence.body(sent.id))
        response = replay.parse_ocsp_response(evidence.body(artifact.id))
    except ArtifactUnavailable as gone:
        record_gone(tally, gone)
        return set()
    except FormatError as error:
        tally.malformed(error, document, Reason.GPU_OCSP_MALFORMED)
        return set()
    silent = refusals(partial(replay.judge_status, response))
    if silent:
        tally.refuse(silent[0], document)
        return set()
    meant = [one.identifier for one in response.singles]
    if request is not None:
        meant = [request.identifier]
    about = [
        target
        for target in targets
        if any(identifier.means(target.child, target.issuer) for identifier in meant)
    ]
    if not about:
        tally.find(
            Reason.GPU_OCSP_CERTID_MISMATCH,
            Pointer(document=document),
            what="the response is about no certificate of these devices",
            got=", ".join(f"serial {identifier.serial:X}" for identifier in meant),
        )
    for target in about:
        found = replay.ocsp_refusals(
            response,
            request,
            target.child,
            target.issuer,
            instant,
            allow_hold=target.may_be_on_hold,
        )
        for refused in found:
            tally.refuse(refused, document)
        for single in response.singles:
            if single.identifier.means(target.child, target.issuer) and replay.revoked_later(
                single, instant
            ):
                tally.note(
                    Reason.GPU_OCSP_REVOKED_LATER,
                    f"{target.place} was revoked after the instant judged",
                    Pointer(document=document),
                )
    return {target.child.sha256 for target in about}


def _replay_crl(
    facts: Facts, artifact: Artifact, targets: list[_Target], tally: Tally
) -> set[bytes]:
    """Replay one recorded list; return the certificates it covers."""
    evidence = facts.get("blobs.derived", Evidence)
    instant = facts.get("time.as_of", AsOfInstant).instant
    document = evidence.document(artifact.id)
    try:
        crl = replay.parse_crl(evidence.body(artifact.id))
    except ArtifactUnavailable as gone:
        record_gone(tally, gone)
        return set()
    except FormatError as error:
        tally.malformed(error, document, Reason.GPU_CRL_MALFORMED)
        return set()
    covered: set[bytes] = set()
    issuers = {
        target.issuer.sha256: target.issuer
        for target in targets
        if target.issuer.subject == crl.issuer
    }
    for digest, issuer in issuers.items():
        children = [target.child for target in targets if target.issuer.sha256 == digest]
        for refused in replay.crl_refusals(crl, children, issuer, instant):
            tally.refuse(refused, document)
        covered |= {child.sha256 for child in children}
    return covered


def revocation(inputs: Inputs, facts: Facts) -> Outcome[Affirmed]:
    """Row 70: OCSP answers and lists of then leave the chains standing.

    Covers the device chains from position 1 on, and the signers of recorded manifests. A list of
    an issuer that stands in none of these chains covers nothing and is not judged. Source:
    nvidia.md 9.
    """
    evidence = facts.get("blobs.derived", Evidence)
    tally = Tally()
    tally.note(
        Reason.GPU_REVOCATION_LEAF_NOT_COVERED,
        "the vendor serves no revocation status of device leaves",
    )
    targets = _targets(inputs, facts)
    covered: set[bytes] = set()
    requests = _requests(evidence)
    for artifact in evidence.statement.of_role("nvidia.ocsp-response"):
        if is_answer(evidence, artifact):
            sent = requests.get(artifact.id)
            covered |= _replay_ocsp(facts, artifact, sent, targets, tally)
    for artifact in evidence.statement.of_role("nvidia.crl"):
        if is_answer(evidence, artifact):
            covered |= _replay_crl(facts, artifact, targets, tally)
    for target in targets:
        if target.child.sha256 in covered:
            tally.match(target.place)
            continue
        tally.find(
            Reason.GPU_REVOCATION_NOT_RECORDED,
            target.pointer,
            what=f"no revocation status of {target.place} is recorded",
            got=target.place,
        )
    return tally.outcome(
        Affirmed(items=tuple(target.place for target in targets if target.child.sha256 in covered))
    )
