"""Rows 61 to 71: the reports of GPUs and switches.

Each check judges every listed device; one bad device fails it.

Source: verification.md 3 (rows 61 to 71), 3.3; nvidia.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Final

from verify.checks.gpu_devices import (
    GONE,
    AttestedDevices,
    CertifiedDevices,
    DeviceNonces,
    DeviceSource,
    FirmwareIds,
    ParsedDevice,
    ParsedDevices,
    PlacedDevice,
    believed_digests,
    device_sources,
    gpu_rules,
    listed_at,
    record_gone,
)
from verify.checks.gpu_reference import (
    MEASUREMENT_REASONS,
    REVOCATION_REASONS,
    RIM_REASONS,
    measurement,
    revocation,
    rim,
)
from verify.checks.inputs import Inputs
from verify.engine.asof import AsOfInstant
from verify.engine.check import Facts
from verify.engine.errors import FormatError, Refused
from verify.engine.later import later
from verify.engine.outcome import Affirmed, Outcome, Pointer, blocked
from verify.engine.reason import Reason
from verify.engine.tally import Tally
from verify.engine.value import value
from verify.families.identity import (
    AuthenticReports,
    RecognisedAnswer,
    RecognisedAnswers,
    ReportObject,
)
from verify.nvidia import certificates
from verify.nvidia import devices as sets
from verify.nvidia.devices import CONSTANT_NONCES, Device
from verify.nvidia.judging import refusals
from verify.nvidia.payload import MAX_DEVICES, Entry, judge_declared, parse_payload
from verify.nvidia.spdm import parse_report, read_report
from verify.policy.model import Ignore, IndexedValues
from verify.trust.anchor import Purpose
from verify.wire.model import ArtifactUnavailable, Evidence, FromArtifact

if TYPE_CHECKING:
    from verify.families import tinfoil
else:
    tinfoil = later("verify.families.tinfoil")

__all__ = [
    "CHAIN_REASONS",
    "DEVICES_REASONS",
    "FWID_REASONS",
    "MEASUREMENT_REASONS",
    "NONCE_REASONS",
    "POLICY_REASONS",
    "REPORT_FORMAT_REASONS",
    "REPORT_SIGNATURE_REASONS",
    "REVOCATION_REASONS",
    "RIM_REASONS",
    "TOPOLOGY_REASONS",
    "chain",
    "devices",
    "fwid",
    "measurement",
    "nonce",
    "policy",
    "report_format",
    "report_signature",
    "revocation",
    "rim",
    "topology",
]

# --- row 61 ------------------------------------------------------------------------------------

REPORT_FORMAT_REASONS: Final = GONE | {
    Reason.EVIDENCE_ABSENT,
    Reason.GPU_FAMILY_UNTESTED,
    Reason.GPU_INPUT_DECLARED_MISMATCH,
    Reason.GPU_INPUT_DEVICE_COUNT,
    Reason.GPU_INPUT_ENCODING_INVALID,
    Reason.GPU_INPUT_MALFORMED,
    Reason.GPU_INPUT_TOO_LARGE,
    Reason.GPU_INPUT_UNSUPPORTED_ARCH,
    Reason.GPU_REPORT_HEADER_INVALID,
    Reason.GPU_REPORT_MEASUREMENTS_INVALID,
    Reason.GPU_REPORT_OPAQUE_INVALID,
    Reason.GPU_REPORT_OPAQUE_UNKNOWN_TYPE,
    Reason.GPU_REPORT_TRAILING_BYTES,
    Reason.GPU_REPORT_TRUNCATED,
}


def _declared_entries(evidence: Evidence, tally: Tally) -> Mapping[bytes, tuple[str, Entry]]:
    """Return evidence bytes -> (payload artifact id, entry) of every container at hand."""
    found: dict[bytes, tuple[str, Entry]] = {}
    for artifact in evidence.statement.of_role("nvidia.payload"):
        try:
            payload = parse_payload(evidence.body(artifact.id))
        except ArtifactUnavailable:
            continue  # what the sender says of the devices is not there; the devices are
        except FormatError as error:
            tally.malformed(error, evidence.document(artifact.id), Reason.GPU_INPUT_MALFORMED)
            continue
        for entry in payload.entries:
            found.setdefault(entry.evidence, (artifact.id, entry))
    return found


def _chain_of(
    evidence: Evidence, source: DeviceSource
) -> tuple[certificates.DeviceChain | None, FormatError | None]:
    if source.chain is None:
        return None, None
    try:
        return certificates.parse_chain(evidence.body(source.chain.id)), None
    except ArtifactUnavailable:
        return None, None
    except FormatError as error:
        return None, error


def _trailing(error: FormatError, data: bytes, chain: certificates.DeviceChain | None) -> str:
    """Say whether the report in front of stray bytes would verify (nvidia.md 2.3)."""
    if error.reason is not Reason.GPU_REPORT_TRAILING_BYTES or chain is None:
        return error.what
    question = partial(certificates.judge_report_signature, read_report(data), chain)
    state = "does not verify" if refusals(question) else "verifies"
    return f"{error.what}; the signature over what stands before them {state}"


def _judge_format(
    evidence: Evidence,
    source: DeviceSource,
    declared: Mapping[bytes, tuple[str, Entry]],
    tally: Tally,
) -> ParsedDevice | None:
    document = evidence.document(source.id)
    try:
        data = evidence.body(source.id)
    except ArtifactUnavailable as gone:
        record_gone(tally, gone)
        return None
    chain, fault = _chain_of(evidence, source)
    try:
        report = parse_report(data)
    except FormatError as error:
        tally.malformed(
            FormatError(error.offset, _trailing(error, data, chain), reason=error.reason),
            document,
            Reason.GPU_INPUT_MALFORMED,
        )
        return None
    for kind in report.unknown_types:
        tally.note(
            Reason.GPU_REPORT_OPAQUE_UNKNOWN_TYPE,
            f"opaque type {kind} is kept and not judged",
            Pointer(document=document, start=report.opaque_offset, stop=report.signature_offset),
        )
    container, entry = declared.get(data, ("", None))
    if chain is not None:
        try:
            family = certificates.family_of(chain)
            if not family.seen:
                tally.note(
                    Reason.GPU_FAMILY_UNTESTED,
                    f"no genuine report of {family.name} was ever read by this program",
                    Pointer(document=document),
                )
            sets.judge_opaque(Device(label=source.id, report=report, chain=chain, family=family))
        except Refused as refused:
            tally.refuse(refused, document)
        else:
            if entry is not None:
                for other in refusals(partial(judge_declared, entry, report, family)):
                    tally.refuse(other, evidence.document(container))
    tally.match(source.id)
    return ParsedDevice(source=source, report=report, chain=chain, fault=fault, entry=entry)


def report_format(inputs: Inputs, facts: Facts) -> Outcome[ParsedDevices]:  # noqa: ARG001
    """Row 61: each device's evidence parses completely and is of a known family.

    Source: nvidia.md 2, 3.
    """
    evidence = facts.get("blobs.derived", Evidence)
    sources = device_sources(evidence.statement)
    tally = Tally()
    declared = _declared_entries(evidence, tally)
    if not sources:
        if tally.clean:
            return blocked(Reason.EVIDENCE_ABSENT, detail="the bundle lists no GPU evidence")
        return tally.outcome(ParsedDevices(devices=()))
    if len(sources) > MAX_DEVICES:
        tally.find(
            Reason.GPU_INPUT_TOO_LARGE,
            listed_at(sources[MAX_DEVICES].evidence),
            what=f"{len(sources)} devices, at most {MAX_DEVICES} are read",
        )
        return tally.outcome(ParsedDevices(devices=()))
    found = [_judge_format(evidence, source, declared, tally) for source in sources]
    return tally.outcome(ParsedDevices(devices=tuple(one for one in found if one is not None)))


# --- rows 62 to 64 -----------------------------------------------------------------------------

CHAIN_REASONS: Final = GONE | {
    Reason.EVIDENCE_ABSENT,
    Reason.GPU_CHAIN_CONSTRAINTS_INVALID,
    Reason.GPU_CHAIN_FAMILY_MISMATCH,
    Reason.GPU_CHAIN_LENGTH_UNEXPECTED,
    Reason.GPU_CHAIN_MALFORMED,
    Reason.GPU_CHAIN_ORDER_INVALID,
    Reason.GPU_CHAIN_ROOT_UNTRUSTED,
    Reason.GPU_CHAIN_SIGNATURE_INVALID,
    Reason.GPU_CHAIN_TIME_INVALID,
    Reason.GPU_INPUT_TOO_LARGE,
}


def chain(inputs: Inputs, facts: Facts) -> Outcome[CertifiedDevices]:
    """Row 62: each chain leads to a believed device root, in shape, at the instant judged.

    Source: nvidia.md 5.
    """
    evidence = facts.get("blobs.derived", Evidence)
    instant = facts.get("time.as_of", AsOfInstant).instant
    believed = believed_digests(inputs, facts, Purpose.NVIDIA_DEVICE_ROOT)
    tally = Tally()
    found: list[PlacedDevice] = []
    for parsed in facts.get("gpu.report.format", ParsedDevices).devices:
        source = parsed.source
        if source.chain is None:
            tally.find(
                Reason.EVIDENCE_ABSENT,
                listed_at(source.evidence),
                what=f"no certificates of {source.id} are listed",
                expected="nvidia.gpu-chain or nvidia.switch-chain",
            )
            continue
        document = evidence.document(source.chain.id)
        if parsed.chain is None:
            if parsed.fault is not None:
                tally.malformed(parsed.fault, document, Reason.GPU_CHAIN_MALFORMED)
            else:
                record_gone(
                    tally,
                    ArtifactUnavailable(source.chain, evidence.states[source.chain.id]),
                )
            continue
        for refused in certificates.chain_refusals(parsed.chain, believed, instant):
            tally.refuse(refused, document)
        device = Device(
            label=source.id,
            report=parsed.report,
            chain=parsed.chain,
            family=certificates.family_of(parsed.chain),
        )
        found.append(
            PlacedDevice(source=source, chain_id=source.chain.id, device=device, entry=parsed.entry)
        )
        tally.match(source.id)
    return tally.outcome(CertifiedDevices(devices=tuple(found)))


REPORT_SIGNATURE_REASONS: Final = frozenset({Reason.GPU_REPORT_SIGNATURE_INVALID})


def report_signature(inputs: Inputs, facts: Facts) -> Outcome[AttestedDevices]:  # noqa: ARG001
    """Row 63: each leaf key signed its report. Source: nvidia.md 2.3."""
    evidence = facts.get("blobs.derived", Evidence)
    certified = facts.get("gpu.chain", CertifiedDevices)
    tally = Tally()
    for one in certified.devices:
        device = one.device
        question = partial(certificates.judge_report_signature, device.report, device.chain)
        for refused in refusals(question):
            tally.refuse(refused, evidence.document(one.id))
        tally.match(one.id)
    return tally.outcome(AttestedDevices(devices=certified.devices))


FWID_REASONS: Final = frozenset(
    {
        Reason.GPU_FWID_KEY_MISMATCH,
        Reason.GPU_FWID_MISMATCH,
        Reason.GPU_FWID_MISSING_IN_CERTIFICATE,
        Reason.GPU_FWID_NOT_REPORTED,
    }
)


def _attested(facts: Facts) -> AttestedDevices:
    return facts.get("gpu.report.signature", AttestedDevices)


def fwid(inputs: Inputs, facts: Facts) -> Outcome[FirmwareIds]:  # noqa: ARG001
    """Row 64: certificate and report name the same firmware. Source: nvidia.md 5.4."""
    evidence = facts.get("blobs.derived", Evidence)
    tally = Tally()
    found: dict[str, certificates.FirmwareId] = {}
    for one in _attested(facts).devices:
        try:
            found[one.id] = certificates.judge_fwid(one.device.report, one.device.chain)
        except Refused as refused:
            tally.refuse(refused, evidence.document(one.id))
        else:
            tally.match(one.id)
    return tally.outcome(FirmwareIds(ids=found))


# --- row 65 ------------------------------------------------------------------------------------

NONCE_REASONS: Final = frozenset(
    {
        Reason.BINDING_UNDECLARED,
        Reason.GPU_NONCE_CONSTANT,
        Reason.GPU_NONCE_DECLARED_MISMATCH,
        Reason.GPU_NONCE_EXPECTED_MISSING,
        Reason.GPU_NONCE_MISMATCH,
    }
)


@value
class _Rule:
    """Where a device's expected nonce stands: in the report_data of the quote of its own report."""

    quote: str
    answer: RecognisedAnswer
    report: ReportObject

    def bound(self, report_data: bytes) -> bytes | None:
        """Return the nonce that a verified quote binds for its devices, or None."""
        span = self.answer.gpu_nonce_span()
        if span is not None:
            return report_data[span[0] : span[1]]
        if self.answer.family == "tinfoil":  # the nonce stands in a document the quote hashes
            return tinfoil.judge_nonce(self.report, report_data, b"").bound
        return None

    @property
    def copies_session(self) -> bool:
        """Whether the family puts the client's nonce into report_data as it is."""
        return self.answer.family == "dstack"


def _rules_of_devices(evidence: Evidence, answers: RecognisedAnswers) -> Mapping[str, _Rule]:
    """Return device id -> the report object that lists the device, with that object's quote."""
    listed = {
        (origin.artifact, origin.steps): artifact.id
        for artifact in evidence.statement.artifacts
        if isinstance(origin := artifact.origin, FromArtifact)
    }
    found: dict[str, _Rule] = {}
    for answer in answers.answers:
        for report in answer.reports:
            quote = listed.get((answer.artifact, report.quote.steps))
            for item, _ in report.devices:
                device = listed.get((answer.artifact, item.steps))
                if quote is not None and device is not None:
                    found[device] = _Rule(quote=quote, answer=answer, report=report)
    return found


def _padded(nonce: bytes) -> bytes:
    """Return 32 bytes: a shorter client nonce is followed by zero bytes (nvidia.md 6)."""
    return nonce.ljust(32, b"\0")


def expected_nonces(inputs: Inputs, facts: Facts) -> Mapping[str, tuple[bytes, ...]]:
    """Return device id -> every value that the device's nonce must equal.

    From a declared pair of nonce and device, and from the verified quote of the same report object
    (the family says which bytes of report_data). Where no pair is declared, also from the session's
    nonce declared for that quote, unless the policy lets evidence carry a nonce that is not ours
    and the rule of the family copies it. Source: nvidia.md 6; providers.md 3.4.
    """
    evidence = facts.get("blobs.derived", Evidence)
    statement = evidence.statement
    chosen = {
        binding.one("evidence"): _padded(statement.nonce(binding.one("nonce")).value)
        for binding in statement.bindings_of("nonce-in-evidence")
    }
    found: dict[str, tuple[bytes, ...]] = {
        artifact.id: (chosen[artifact.id],)
        for artifact in statement.artifacts
        if artifact.id in chosen
    }
    answers = facts.find("shape.recognised", RecognisedAnswers)
    quotes = facts.find("cpu.authentic", AuthenticReports)
    if answers is None or quotes is None:
        return found
    foreign = inputs.policy.session.allow_foreign_nonce
    for device, rule in _rules_of_devices(evidence, answers).items():
        quote = quotes.reports.get(rule.quote)
        bound = None if quote is None else rule.bound(quote.report_data)
        if bound is None:
            continue
        if device in chosen:  # a declared nonce never stands in for the one the quote binds
            found[device] = (chosen[device], bound)
            continue
        copied = rule.copies_session and not foreign and rule.quote in chosen
        found[device] = (bound, chosen[rule.quote]) if copied else (bound,)
    return found


def _declared_sharing(inputs: Inputs, facts: Facts, tally: Tally) -> None:
    """Test every declared pair of devices and CPU evidence; demand one where policy does."""
    evidence = facts.get("blobs.derived", Evidence)
    answers = facts.find("shape.recognised", RecognisedAnswers)
    quotes = facts.find("cpu.authentic", AuthenticReports)
    if answers is None or quotes is None:
        return
    rules = _rules_of_devices(evidence, answers)
    of_quote = {rule.quote: rule for rule in rules.values()}
    declared: dict[str, list[str]] = {}
    for binding in evidence.statement.bindings_of("devices-share-nonce"):
        for device in binding.many("devices"):
            declared.setdefault(device, []).append(binding.one("evidence"))
    for one in _attested(facts).devices:
        for quote in declared.get(one.id, ()):
            rule, item = of_quote.get(quote), quotes.reports.get(quote)
            bound = None if rule is None or item is None else rule.bound(item.report_data)
            carried = one.device.report.requester_nonce
            if bound is not None and bound != carried:
                tally.find(
                    Reason.GPU_NONCE_MISMATCH,
                    Pointer(document=evidence.document(one.id), start=4, stop=36),
                    what=f"the device does not carry the nonce of {quote}, as declared",
                    got=carried.hex(),
                    expected=bound.hex(),
                )
        required = one.id in rules and "devices-share-nonce" in inputs.policy.bindings
        if required and one.id not in declared:
            tally.find(
                Reason.BINDING_UNDECLARED,
                Pointer(document="statement", path="/predicate/bindings"),
                what=f"nothing declares which CPU evidence shares its nonce with {one.id}",
                got=one.id,
                expected="devices-share-nonce",
            )


def nonce(inputs: Inputs, facts: Facts) -> Outcome[DeviceNonces]:
    """Row 65: the signed nonce is the expected 32 bytes on every device.

    Source: nvidia.md 6; providers.md 3.4.
    """
    evidence = facts.get("blobs.derived", Evidence)
    wanted = expected_nonces(inputs, facts)
    tally = Tally()
    for one in _attested(facts).devices:
        report, document = one.device.report, evidence.document(one.id)
        questions = [partial(sets.judge_nonce, report, value) for value in wanted.get(one.id, ())]
        if one.entry is not None and one.entry.nonce is not None:
            questions.append(partial(sets.judge_declared_nonce, report, one.entry.nonce))
        for refused in refusals(*questions):
            tally.refuse(refused, document)
        if one.id not in wanted:
            tally.find(
                Reason.GPU_NONCE_EXPECTED_MISSING,
                Pointer(document=document, start=4, stop=36),
                what="nothing in the bundle says which nonce this device should have signed",
                got=report.requester_nonce.hex(),
            )
        if report.requester_nonce in CONSTANT_NONCES:
            tally.note(
                Reason.GPU_NONCE_CONSTANT,
                "the nonce is zero or published in the vendor's tools",
                Pointer(document=document, start=4, stop=36),
            )
        tally.match(one.id)
    _declared_sharing(inputs, facts, tally)
    return tally.outcome(
        DeviceNonces(
            nonces={one.id: one.device.report.requester_nonce for one in _attested(facts).devices}
        )
    )


# --- rows 66 and 67 ----------------------------------------------------------------------------

DEVICES_REASONS: Final = frozenset(
    {
        Reason.GPU_DEVICES_COUNT_MISMATCH,
        Reason.GPU_DEVICES_DUPLICATE,
        Reason.GPU_DEVICES_FIRMWARE_MIXED,
        Reason.GPU_DEVICES_MODE_MIXED,
        Reason.GPU_DEVICES_NONCE_DIFFERS,
    }
)


def devices(inputs: Inputs, facts: Facts) -> Outcome[AttestedDevices]:
    """Row 66: distinct devices, one nonce and one mode per box, the expected number per answer.

    Source: nvidia.md 7.
    """
    evidence = facts.get("blobs.derived", Evidence)
    attested = _attested(facts)
    counts = inputs.policy.counts
    tally = Tally()
    for group in attested.answers().values():
        members = [one.device for one in group]
        for device, earlier in sets.duplicates(members):
            tally.find(
                Reason.GPU_DEVICES_DUPLICATE,
                Pointer(document=evidence.document(device.label)),
                what="a device is listed twice",
                got=device.label,
                expected=f"another device than {earlier.label}",
            )
        question = partial(
            sets.judge_count,
            members,
            gpu_min=counts.gpu_min,
            gpu_exact=counts.gpu_exact,
            switch_exact=counts.switch_exact,
        )
        for refused in refusals(question):
            tally.refuse(refused, evidence.document(group[0].id))
    for group in attested.boxes().values():
        members = [one.device for one in group]
        for refused in refusals(
            partial(sets.judge_one_nonce, members), partial(sets.judge_one_mode, members)
        ):
            tally.refuse(refused, evidence.document(group[0].id))
        if len(sets.firmware_versions(members)) > 1:
            tally.note(
                Reason.GPU_DEVICES_FIRMWARE_MIXED,
                "GPUs of one box have different driver or VBIOS versions",
                Pointer(document=evidence.document(group[0].id)),
            )
        for one in group:
            tally.match(one.id)
    return tally.outcome(attested)


TOPOLOGY_REASONS: Final = frozenset(
    {
        Reason.GPU_TOPOLOGY_GPUS_NOT_ATTESTED,
        Reason.GPU_TOPOLOGY_GPU_SET_MISMATCH,
        Reason.GPU_TOPOLOGY_NOT_REPORTED,
        Reason.GPU_TOPOLOGY_SWITCHES_NOT_ATTESTED,
        Reason.GPU_TOPOLOGY_SWITCH_IDENTITY_MISMATCH,
        Reason.GPU_TOPOLOGY_SWITCH_SET_MISMATCH,
    }
)


def topology(inputs: Inputs, facts: Facts) -> Outcome[Affirmed]:  # noqa: ARG001
    """Row 67: GPUs and switches of one box name each other. Source: nvidia.md 7."""
    evidence = facts.get("blobs.derived", Evidence)
    attested = facts.get("gpu.devices", AttestedDevices)
    tally = Tally()
    for group in attested.boxes().values():
        for device, refused in sets.topology_refusals([one.device for one in group]):
            tally.refuse(refused, evidence.document(device.label))
        for one in group:
            tally.match(one.id)
    return tally.outcome(Affirmed(items=tuple(one.id for one in attested.devices)))


# --- row 71 ------------------------------------------------------------------------------------

POLICY_REASONS: Final = frozenset(
    {
        Reason.GPU_POLICY_DRIVER_NOT_ALLOWED,
        Reason.GPU_POLICY_FAMILY_NOT_ALLOWED,
        Reason.GPU_POLICY_MEASUREMENT_NOT_ALLOWED,
        Reason.GPU_POLICY_MODE_NOT_ALLOWED,
        Reason.GPU_POLICY_VBIOS_NOT_ALLOWED,
        Reason.REFERENCE_MISSING,
    }
)


def _judge_listed(
    found: str | None, wanted: tuple[str, ...], reason: Reason, pointer: Pointer, tally: Tally
) -> None:
    if not wanted:
        tally.find(
            Reason.REFERENCE_MISSING, pointer, what="the policy lists no value", got=found or ""
        )
    elif found not in wanted:
        tally.find(
            reason,
            pointer,
            what="a value that the policy does not list",
            got=found or "not reported",
            expected=" or ".join(wanted),
        )


def _judge_indices(one: PlacedDevice, rule: IndexedValues, pointer: Pointer, tally: Tally) -> None:
    blocks = one.device.report.blocks
    if not rule.values:
        tally.find(Reason.REFERENCE_MISSING, pointer, what="the policy lists no measurement")
    for index, allowed in sorted(rule.values.items()):
        found = blocks[index] if index < len(blocks) else None
        if found is None or found not in allowed:
            tally.find(
                Reason.GPU_POLICY_MEASUREMENT_NOT_ALLOWED,
                pointer,
                what=f"{one.id}: measurement index {index} is not as the policy lists it",
                got=f"index {index}: {'no block' if found is None else found.hex()}",
                expected=" or ".join(value.hex() for value in allowed),
            )


def policy(inputs: Inputs, facts: Facts) -> Outcome[Affirmed]:
    """Row 71: family, driver, VBIOS, mode and measurements are as the policy lists them.

    Driver, VBIOS, mode and measurements are rules about GPUs; the family rule covers switches too.
    Source: nvidia.md 13, 16.
    """
    evidence = facts.get("blobs.derived", Evidence)
    rules = gpu_rules(inputs)
    tally = Tally()
    attested = _attested(facts).devices
    for one in attested:
        pointer = Pointer(document=evidence.document(one.id))
        device = one.device
        judge = partial(_judge_listed, pointer=pointer, tally=tally)
        judge(device.family.name, rules.families, Reason.GPU_POLICY_FAMILY_NOT_ALLOWED)
        if not device.is_switch:
            judge(device.report.mode.value, rules.mode, Reason.GPU_POLICY_MODE_NOT_ALLOWED)
            if not isinstance(rules.driver, Ignore):
                judge(
                    device.report.driver,
                    rules.driver.values,
                    Reason.GPU_POLICY_DRIVER_NOT_ALLOWED,
                )
            if not isinstance(rules.vbios, Ignore):
                judge(device.report.vbios, rules.vbios.values, Reason.GPU_POLICY_VBIOS_NOT_ALLOWED)
            if isinstance(rules.measurements, IndexedValues):
                _judge_indices(one, rules.measurements, pointer, tally)
        tally.match(one.id)
    return tally.outcome(Affirmed(items=tuple(one.id for one in attested)))
