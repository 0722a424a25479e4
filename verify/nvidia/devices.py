"""Devices as a set: who they are, whether they are distinct, and whether they form one box.

Everything here reads signed fields only; callers hand over devices whose chain and report signature
have been verified.

Source: nvidia.md 6, 7.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from verify.engine.errors import Refused
from verify.engine.reason import Reason
from verify.engine.value import value
from verify.nvidia.certificates import DeviceChain, Family
from verify.nvidia.spdm import GpuMode, OpaqueType, Report

CONSTANT_NONCES: Final = frozenset(
    {
        bytes(32),
        bytes.fromhex("931d8dd0add203ac3d8b4fbde75e115278eefcdceac5b87671a748f32364dfcb"),
        bytes.fromhex("4cff7f5380ead8fad8ec2c531c110aca4302a88f603792801a8ca29ee151af2e"),
    }
)
"""Zero, and the two nonces published inside the vendor's tools (nvidia.md 6)."""


@value
class Device:
    """One device: its label (the id of its evidence artifact), report, chain and family."""

    label: str
    report: Report
    chain: DeviceChain
    family: Family

    @property
    def is_switch(self) -> bool:
        """Whether it is an NVSwitch."""
        return self.family.is_switch


def judge_opaque(device: Device) -> None:
    """The opaque values have the form of the device's own family.

    Raises Refused (``gpu.report.opaque_invalid``). Source: nvidia.md 3, rule.
    """
    version = device.report.field(OpaqueType.VBIOS_VERSION)
    pdis = device.report.field(OpaqueType.SWITCH_PDIS)
    size = 14 if device.is_switch else 8
    if version is not None and len(version.value) != size:
        raise Refused(
            Reason.GPU_REPORT_OPAQUE_INVALID,
            f"the VBIOS version of this family has {size} bytes",
            got=f"{len(version.value)} bytes",
            start=version.offset,
            stop=version.offset + len(version.value),
        )
    if device.is_switch and pdis is not None and len(pdis.value) != 8:
        raise Refused(
            Reason.GPU_REPORT_OPAQUE_INVALID,
            "a switch states one PDI, its own",
            got=f"{len(pdis.value)} bytes",
            start=pdis.offset,
            stop=pdis.offset + len(pdis.value),
        )


def judge_nonce(report: Report, expected: bytes) -> None:
    """The signed requester nonce is the expected 32 bytes.

    Raises Refused (``gpu.nonce.mismatch``). Source: nvidia.md 6.
    """
    if report.requester_nonce != expected:
        raise Refused(
            Reason.GPU_NONCE_MISMATCH,
            "the device signed another nonce",
            got=report.requester_nonce.hex(),
            expected=expected.hex(),
            start=4,
            stop=36,
        )


def judge_declared_nonce(report: Report, declared: str) -> None:
    """The container's own nonce (64 hex digits, either case) is the one the device signed.

    Raises Refused (``gpu.nonce.declared_mismatch``). Source: nvidia.md 6.
    """
    if declared.lower() != report.requester_nonce.hex():
        raise Refused(
            Reason.GPU_NONCE_DECLARED_MISMATCH,
            "the container names another nonce than the device signed",
            got=declared,
            expected=report.requester_nonce.hex(),
        )


# --- several devices -------------------------------------------------------------------------


def duplicates(devices: Sequence[Device]) -> tuple[tuple[Device, Device], ...]:
    """Return each device that repeats an earlier one's leaf or evidence bytes, with that one."""
    leaves: dict[bytes, Device] = {}
    evidence: dict[bytes, Device] = {}
    found: list[tuple[Device, Device]] = []
    for device in devices:
        leaf, data = device.chain.leaf.sha256, device.report.data
        earlier = leaves.get(leaf) or evidence.get(data)
        if earlier is not None:
            found.append((device, earlier))
        leaves.setdefault(leaf, device)
        evidence.setdefault(data, device)
    return tuple(found)


def judge_distinct(devices: Sequence[Device]) -> None:
    """No device counts twice. Raises Refused (``gpu.devices.duplicate``)."""
    found = duplicates(devices)
    if found:
        device, earlier = found[0]
        raise Refused(
            Reason.GPU_DEVICES_DUPLICATE,
            "a device is listed twice",
            got=device.label,
            expected=f"another device than {earlier.label}",
        )


def judge_one_nonce(devices: Sequence[Device]) -> None:
    """All devices of one answer signed one nonce. Raises Refused (``…nonce_differs``)."""
    for device in devices[1:]:
        if device.report.requester_nonce != devices[0].report.requester_nonce:
            raise Refused(
                Reason.GPU_DEVICES_NONCE_DIFFERS,
                f"{device.label} and {devices[0].label} signed different nonces",
                got=device.report.requester_nonce.hex(),
                expected=devices[0].report.requester_nonce.hex(),
            )


def judge_one_mode(devices: Sequence[Device]) -> None:
    """GPUs of one answer are in one mode. Raises Refused (``gpu.devices.mode_mixed``)."""
    modes = {
        device.report.mode: device.label
        for device in reversed(devices)
        if not device.is_switch and device.report.mode is not GpuMode.UNKNOWN
    }
    if len(modes) > 1:
        raise Refused(
            Reason.GPU_DEVICES_MODE_MIXED,
            "GPUs of one answer are in different modes",
            got=", ".join(sorted(f"{label}: {mode.value}" for mode, label in modes.items())),
        )


def judge_count(
    devices: Sequence[Device], *, gpu_min: int, gpu_exact: int | None, switch_exact: int | None
) -> None:
    """The policy's numbers hold. None: any number. Raises Refused (``…count_mismatch``)."""
    gpus = sum(not device.is_switch for device in devices)
    switches = len(devices) - gpus
    for found, least, most, what in (
        (gpus, gpu_min, None, "GPUs"),
        (gpus, gpu_exact, gpu_exact, "GPUs"),
        (switches, switch_exact, switch_exact, "switches"),
    ):
        if (least is not None and found < least) or (most is not None and found > most):
            raise Refused(
                Reason.GPU_DEVICES_COUNT_MISMATCH,
                f"another number of {what} than the policy wants",
                got=f"{found} {what}",
                expected=f"{'at least ' if most is None else ''}{least} {what}",
            )


def firmware_versions(devices: Sequence[Device]) -> frozenset[tuple[str | None, str | None]]:
    """Return the distinct (driver, VBIOS) pairs among the GPUs."""
    return frozenset(
        (device.report.driver, device.report.vbios) for device in devices if not device.is_switch
    )


# --- topology --------------------------------------------------------------------------------


def _shown(pdis: frozenset[str]) -> str:
    return ", ".join(sorted(pdis))


def _identities(devices: Sequence[Device]) -> frozenset[str]:
    return frozenset(pdi for pdi in (device.chain.pdi for device in devices) if pdi is not None)


def topology_refusals(devices: Sequence[Device]) -> tuple[tuple[Device, Refused], ...]:
    """Compare what GPUs and switches of one box say about each other, in both directions.

    Codes (reject): ``gpu.topology.switch_set_mismatch``, ``.gpu_set_mismatch``,
    ``.switch_identity_mismatch``; (absent): ``.switches_not_attested``, ``.gpus_not_attested``,
    ``.not_reported``. Each with the device it is about. Source: nvidia.md 7.
    """
    gpus = [device for device in devices if not device.is_switch]
    switches = [device for device in devices if device.is_switch]
    naming = [device for device in gpus if device.report.switch_pdis is not None]
    found: list[tuple[Device, Refused]] = []
    found.extend(_switch_sets(naming, _identities(switches) if switches else None))
    gpu_set = _identities(gpus)
    for switch in switches:
        stated = switch.report.gpu_pdis
        if gpus and stated != gpu_set:
            found.append(
                (
                    switch,
                    Refused(
                        Reason.GPU_TOPOLOGY_GPU_SET_MISMATCH,
                        f"{switch.label} is linked to other GPUs than are attested",
                        got="not reported" if stated is None else _shown(stated),
                        expected=_shown(gpu_set),
                    ),
                )
            )
        own = switch.report.own_pdi
        if own is None or own != switch.chain.pdi:
            found.append(
                (
                    switch,
                    Refused(
                        Reason.GPU_TOPOLOGY_SWITCH_IDENTITY_MISMATCH,
                        f"{switch.label} states another identity than its certificate",
                        got=own or "not reported",
                        expected=switch.chain.pdi or "no identity in the certificate",
                    ),
                )
            )
    if switches and not gpus:
        found.append(
            (
                switches[0],
                Refused(Reason.GPU_TOPOLOGY_GPUS_NOT_ATTESTED, "switches without any GPU"),
            )
        )
    if gpus and not switches:
        if any(device.report.switch_pdis for device in naming):
            found.append(
                (
                    naming[0],
                    Refused(
                        Reason.GPU_TOPOLOGY_SWITCHES_NOT_ATTESTED,
                        "the GPUs name switches, none of which is attested",
                        expected=_shown(naming[0].report.switch_pdis or frozenset()),
                    ),
                )
            )
        elif len(naming) < len(gpus):
            found.append(
                (
                    gpus[0],
                    Refused(
                        Reason.GPU_TOPOLOGY_NOT_REPORTED, "the reports do not say what is linked"
                    ),
                )
            )
    elif switches and gpus and not naming:
        found.append(
            (
                gpus[0],
                Refused(Reason.GPU_TOPOLOGY_NOT_REPORTED, "no GPU says what it is linked to"),
            )
        )
    return tuple(found)


def _switch_sets(
    naming: Sequence[Device], attested: frozenset[str] | None
) -> list[tuple[Device, Refused]]:
    """Compare each GPU's switch set with the attested one, or with the first GPU's."""
    found: list[tuple[Device, Refused]] = []
    wanted = attested
    for device in naming:
        stated = device.report.switch_pdis or frozenset()
        if wanted is None:
            wanted = stated
        elif stated != wanted:
            found.append(
                (
                    device,
                    Refused(
                        Reason.GPU_TOPOLOGY_SWITCH_SET_MISMATCH,
                        f"{device.label} is linked to other switches",
                        got=_shown(stated),
                        expected=_shown(wanted),
                    ),
                )
            )
    return found
