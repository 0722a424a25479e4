"""Row 85: two published slice comparisons, shown for what they are. Never part of a verdict.

Source: verification.md 5.4; nvidia.md 14.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from verify.checks.gpu_devices import AttestedDevices
from verify.checks.inputs import Inputs
from verify.checks.tdx import VerifiedQuotes
from verify.engine.check import Facts
from verify.engine.outcome import Affirmed, Outcome, Pointer
from verify.engine.reason import Reason
from verify.engine.tally import Tally
from verify.nvidia.legacy import REPLACEMENT
from verify.policy.model import LegacySlice
from verify.wire.model import Artifact, ArtifactUnavailable, Evidence

NANOGPT_PINS_REASONS: Final = frozenset(
    {
        Reason.GPU_LEGACY_NANOGPT_PIN_MATCH,
        Reason.GPU_LEGACY_NANOGPT_PIN_MISMATCH,
        Reason.GPU_LEGACY_NOT_EVALUATED,
    }
)
_QUOTE: Final = "tdx.quote"
_QUOTE_VERSION_4: Final = b"\x04\x00"


def _verified(facts: Facts) -> tuple[frozenset[str], frozenset[str]]:
    """Return the ids of items whose signature verified, and of those that are switches."""
    quotes = facts.find("tdx.quote.signature", VerifiedQuotes)
    devices = facts.find("gpu.report.signature", AttestedDevices)
    found = set() if quotes is None else set(quotes.quotes)
    switches: set[str] = set()
    if devices is not None:
        found |= {one.id for one in devices.devices}
        switches = {one.id for one in devices.devices if one.device.is_switch}
    return frozenset(found), frozenset(switches)


def _unfit(one: LegacySlice, artifact: Artifact, data: bytes, switches: frozenset[str]) -> str:
    """Say why a slice means nothing here; empty where it can be compared."""
    if artifact.id in switches:
        return "a switch has no such bytes"
    if one.role == _QUOTE and data[:2] != _QUOTE_VERSION_4:
        return "not a quote of version 4"
    return "" if len(data) >= one.stop else "the evidence is too short"


def _slices(inputs: Inputs, evidence: Evidence) -> Iterator[tuple[LegacySlice, Artifact]]:
    rules = inputs.policy.legacy
    for one in () if rules is None else rules.slices:
        for artifact in evidence.statement.of_role(one.role):
            yield one, artifact


def nanogpt_pins(inputs: Inputs, facts: Facts) -> Outcome[Affirmed]:
    """Row 85: compare the policy's slices with every quote and every GPU, and say what they are."""
    evidence = facts.get("blobs.derived", Evidence)
    verified, switches = _verified(facts)
    tally = Tally()
    for one, artifact in _slices(inputs, evidence):
        place = Pointer(document=evidence.document(artifact.id), start=one.start, stop=one.stop)
        try:
            data = evidence.body(artifact.id)
        except ArtifactUnavailable as gone:
            tally.note(Reason.GPU_LEGACY_NOT_EVALUATED, f"{one.label}: {gone}", gone.pointer)
            continue
        unfit = _unfit(one, artifact, data, switches)
        if unfit:
            tally.note(
                Reason.GPU_LEGACY_NOT_EVALUATED, f"{one.label}: {artifact.id}: {unfit}", place
            )
            continue
        found = data[one.start : one.stop]
        equal = found in one.allowed
        state = "verified" if artifact.id in verified else "not verified"
        tally.note(
            Reason.GPU_LEGACY_NANOGPT_PIN_MATCH
            if equal
            else Reason.GPU_LEGACY_NANOGPT_PIN_MISMATCH,
            f"{one.label}: {artifact.id}: {'match' if equal else 'mismatch'}: {found.hex()}; "
            f"covers {one.covers}; signature around the bytes: {state}; instead: {REPLACEMENT}",
            place,
        )
    return tally.outcome(Affirmed())
