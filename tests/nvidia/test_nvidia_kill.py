"""One fault, one code: every reject and absent code of nvidia.md 16 on the pure functions.

Everything is simulated (TEST ONLY). Each case asserts the complete list of codes, so a fault that
wakes a second question fails the test.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Final

import pytest
from cryptography.hazmat.primitives import hashes

from fixtures import nvidia_nras as nras_sim
from fixtures import nvidia_pki as pki
from fixtures import nvidia_revocation as revocation_sim
from fixtures import nvidia_rim as rim_sim
from fixtures import nvidia_spdm as sim
from verify.crypto.x509 import load_certificate
from verify.engine.errors import FormatError, Refused
from verify.engine.reason import Reason, ReasonClass
from verify.nvidia import certificates, devices, nras, payload, revocation, rim, spdm
from verify.nvidia.judging import refusals

AS_OF: Final = pki.AS_OF
DEVICE_ROOTS: Final = {hashlib.sha256(pki.der(pki.device_root())).digest()}
RIM_ROOTS: Final = {hashlib.sha256(pki.der(pki.rim_root())).digest()}
PINS: Final = {load_certificate(pki.der(pki.nras_intermediate())).spki_sha256}
GPU: Final = sim.Device(label="kill gpu")
GPU_2: Final = sim.Device(label="kill gpu 2")
SWITCH: Final = sim.Device(label="kill switch", family=pki.LS10, vbios=sim.SWITCH_BIOS)
R: Final = Reason


def codes(found: Iterable[Refused]) -> list[Reason]:
    return [refused.reason for refused in found]


def parsed(question: Callable[[], object]) -> list[Reason]:
    """Return the code of the FormatError that a parser raises, or nothing."""
    try:
        question()
    except FormatError as error:
        return [] if error.reason is None else [error.reason]
    return []


# --- one device ----------------------------------------------------------------------------------


def device_codes(
    evidence: bytes | None = None,
    chain: bytes | None = None,
    *,
    nonce: bytes = sim.NONCE,
    as_of: datetime = AS_OF,
    roots: set[bytes] = DEVICE_ROOTS,
    entry: payload.Entry | None = None,
) -> list[Reason]:
    """Ask everything that is asked of one device; stop where a parser stops."""
    data = sim.report(GPU) if evidence is None else evidence
    text = GPU.chain_pem() if chain is None else chain
    found = parsed(lambda: spdm.parse_report(data)) + parsed(lambda: certificates.parse_chain(text))
    if found:
        return found
    report, certified = spdm.parse_report(data), certificates.parse_chain(text)
    found += codes(refusals(partial(certificates.family_of, certified)))
    found += codes(certificates.chain_refusals(certified, roots, as_of))
    if R.GPU_INPUT_UNSUPPORTED_ARCH not in found:
        family = certificates.family_of(certified)
        device = devices.Device(label="d", report=report, chain=certified, family=family)
        found += codes(refusals(partial(devices.judge_opaque, device)))
        if entry is not None:
            found += codes(refusals(partial(payload.judge_declared, entry, report, family)))
            if entry.nonce is not None:
                found += codes(refusals(partial(devices.judge_declared_nonce, report, entry.nonce)))
    found += codes(
        refusals(
            partial(certificates.judge_report_signature, report, certified),
            partial(certificates.judge_fwid, report, certified),
            partial(devices.judge_nonce, report, nonce),
        )
    )
    return found


def entry(**declared: str) -> payload.Entry:
    return payload.Entry(evidence=b"", chain=b"", path="", **declared)


def chain_with(position: int, **changes: object) -> bytes:
    return pki.pem(pki.faulty(GPU.chain(), position, **changes))


def opaque_with(changes: Mapping[int, bytes | None]) -> bytes:
    return sim.report(sim.Device(label=GPU.label, opaque=changes))


def renamed(old: str, new: str) -> tuple[tuple[str, str], ...]:
    return tuple((oid, new if text == old else text) for oid, text in GPU.chain()[0].subject)


def foreign_root() -> bytes:
    chain = list(GPU.chain())
    other = pki.replace(chain[4], key="another root", signer="another root")
    chain[3:] = [pki.replace(chain[3], signer="another root"), other]
    return pki.pem(tuple(chain))


def edited(text: bytes, old: bytes, new: bytes) -> bytes:
    assert old in text
    return text.replace(old, new, 1)


DEVICE_CASES: Final[dict[str, tuple[Reason, Callable[[], list[Reason]]]]] = {
    "evidence of 17 KiB": (
        R.GPU_INPUT_TOO_LARGE,
        lambda: device_codes(sim.report(GPU) + bytes(17 * 1024)),
    ),
    "chain text of 33 KiB": (
        R.GPU_INPUT_TOO_LARGE,
        lambda: device_codes(chain=GPU.chain_pem() + b"\n" * 33 * 1024),
    ),
    "family nobody knows": (
        R.GPU_INPUT_UNSUPPORTED_ARCH,
        lambda: device_codes(
            chain=pki.pem(
                pki.device_chain(
                    pki.replace(pki.GH100, leaf="AD102 A01 GSP FMC LF", boot="AD102 A01 GSP BROM"),
                    GPU.label,
                )
            )
        ),
    ),
    "container declares another driver": (
        R.GPU_INPUT_DECLARED_MISMATCH,
        lambda: device_codes(entry=entry(arch="HOPPER", driver="1.2.3", vbios=sim.VBIOS)),
    ),
    "container declares another architecture": (
        R.GPU_INPUT_DECLARED_MISMATCH,
        lambda: device_codes(entry=entry(arch="BLACKWELL")),
    ),
    "report cut": (R.GPU_REPORT_TRUNCATED, lambda: device_codes(sim.report(GPU)[:-1])),
    "report empty": (R.GPU_REPORT_TRUNCATED, lambda: device_codes(b"")),
    "opaque length points outside": (
        R.GPU_REPORT_TRUNCATED,
        lambda: device_codes(edited(sim.report(GPU)[:3597], b"", b"") + b"\xff\xff"),
    ),
    "one byte behind the signature": (
        R.GPU_REPORT_TRAILING_BYTES,
        lambda: device_codes(sim.report(GPU, trailing=b"\0")),
    ),
    "SPDM 1.2": (
        R.GPU_REPORT_HEADER_INVALID,
        lambda: device_codes(sim.report(GPU, header={0: 0x12})),
    ),
    "slot 1": (R.GPU_REPORT_HEADER_INVALID, lambda: device_codes(sim.report(GPU, header={36: 1}))),
    "block number repeated": (
        R.GPU_REPORT_MEASUREMENTS_INVALID,
        lambda: device_codes(
            sim.report(GPU, record=sim.block_record(GPU.blocks()[:1]) * 64, count=64)
        ),
    ),
    "no block": (
        R.GPU_REPORT_MEASUREMENTS_INVALID,
        lambda: device_codes(sim.report(GPU, blocks=())),
    ),
    "one block more than counted": (
        R.GPU_REPORT_MEASUREMENTS_INVALID,
        lambda: device_codes(sim.report(GPU, count=63)),
    ),
    "opaque type twice": (
        R.GPU_REPORT_OPAQUE_INVALID,
        lambda: device_codes(
            sim.report(GPU, opaque=sim.opaque_data((*GPU.fields(), (11, b"\x55"))))
        ),
    ),
    "opaque value over the end": (
        R.GPU_REPORT_OPAQUE_INVALID,
        lambda: device_codes(sim.report(GPU, opaque=b"\x03\x00\xff\x00ab\0")),
    ),
    "opaque header cut": (
        R.GPU_REPORT_OPAQUE_INVALID,
        lambda: device_codes(sim.report(GPU, opaque=b"\x03\x00\x01")),
    ),
    "switch-shaped BIOS version on a GPU": (
        R.GPU_REPORT_OPAQUE_INVALID,
        lambda: device_codes(opaque_with({6: b"96.10.73.00.01"})),
    ),
    "another key signs the report": (
        R.GPU_REPORT_SIGNATURE_INVALID,
        lambda: device_codes(sim.report(GPU, signer="leaf another")),
    ),
    "signature of zeros": (
        R.GPU_REPORT_SIGNATURE_INVALID,
        lambda: device_codes(sim.report(GPU, signature=bytes(96))),
    ),
    "text that is no certificate": (
        R.GPU_CHAIN_MALFORMED,
        lambda: device_codes(chain=GPU.chain_pem() + b"hello"),
    ),
    "certificate that is no DER": (
        R.GPU_CHAIN_MALFORMED,
        lambda: device_codes(
            chain=b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
            + GPU.chain_pem()
        ),
    ),
    "four certificates": (
        R.GPU_CHAIN_LENGTH_UNEXPECTED,
        lambda: device_codes(chain=pki.pem(GPU.chain()[:4])),
    ),
    "six certificates": (
        R.GPU_CHAIN_LENGTH_UNEXPECTED,
        lambda: device_codes(chain=pki.pem((*GPU.chain(), GPU.chain()[4]))),
    ),
    "foreign root of the same name": (
        R.GPU_CHAIN_ROOT_UNTRUSTED,
        lambda: device_codes(chain=foreign_root()),
    ),
    "issuer name differs": (
        R.GPU_CHAIN_ORDER_INVALID,
        lambda: device_codes(chain=chain_with(1, issuer=pki.named("Somebody Else"))),
    ),
    "link signed by another key": (
        R.GPU_CHAIN_SIGNATURE_INVALID,
        lambda: device_codes(chain=chain_with(1, signer="somebody else")),
    ),
    "CA that is none": (
        R.GPU_CHAIN_CONSTRAINTS_INVALID,
        lambda: device_codes(chain=chain_with(2, ca=False)),
    ),
    "CA that may not sign certificates": (
        R.GPU_CHAIN_CONSTRAINTS_INVALID,
        lambda: device_codes(chain=chain_with(3, usage=("crl_sign",))),
    ),
    "path length too short": (
        R.GPU_CHAIN_CONSTRAINTS_INVALID,
        lambda: device_codes(chain=chain_with(3, path_length=1)),
    ),
    "leaf that is a CA": (
        R.GPU_CHAIN_CONSTRAINTS_INVALID,
        lambda: device_codes(chain=chain_with(0, ca=True)),
    ),
    "unknown critical extension": (
        R.GPU_CHAIN_CONSTRAINTS_INVALID,
        lambda: device_codes(
            chain=chain_with(2, extensions=(("1.3.6.1.4.1.99999.1", True, b"\x05\x00"),))
        ),
    ),
    "SHA-256 in the chain": (
        R.GPU_CHAIN_CONSTRAINTS_INVALID,
        lambda: [
            code
            for code in device_codes(chain=chain_with(2, digest="sha256"))
            if code is not R.GPU_CHAIN_SIGNATURE_INVALID
        ],
    ),
    "before the leaf": (
        R.GPU_CHAIN_TIME_INVALID,
        lambda: device_codes(chain=chain_with(0, not_before=AS_OF + timedelta(seconds=1))),
    ),
    "after the provisioner": (
        R.GPU_CHAIN_TIME_INVALID,
        lambda: device_codes(chain=chain_with(2, not_after=AS_OF - timedelta(seconds=1))),
    ),
    "leaf and boot ROM of two families": (
        R.GPU_CHAIN_FAMILY_MISMATCH,
        lambda: device_codes(
            chain=chain_with(0, subject=renamed("GH100 A01 GSP FMC LF", "GH100 B01 GSP FMC LF"))
        ),
    ),
    "firmware id differs": (
        R.GPU_FWID_MISMATCH,
        lambda: device_codes(
            chain=pki.pem(pki.device_chain(pki.GH100, GPU.label, firmware=pki.fwid("another")))
        ),
    ),
    "leaf without firmware id": (
        R.GPU_FWID_MISSING_IN_CERTIFICATE,
        lambda: device_codes(
            chain=pki.pem(pki.device_chain(pki.GH100, GPU.label, with_fwid=False))
        ),
    ),
    "firmware id that cannot be read": (
        R.GPU_FWID_MISSING_IN_CERTIFICATE,
        lambda: device_codes(
            chain=pki.pem(pki.device_chain(pki.GH100, GPU.label, fwid_value=b"\x30\x00"))
        ),
    ),
    "firmware id beside another key": (
        R.GPU_FWID_KEY_MISMATCH,
        lambda: device_codes(
            chain=pki.pem(pki.device_chain(pki.GH100, GPU.label, embedded_key="another"))
        ),
    ),
    "report states no firmware id": (
        R.GPU_FWID_NOT_REPORTED,
        lambda: device_codes(opaque_with({20: None})),
    ),
    "another nonce": (R.GPU_NONCE_MISMATCH, lambda: device_codes(nonce=bytes(31) + b"\x01")),
    "container declares another nonce": (
        R.GPU_NONCE_DECLARED_MISMATCH,
        lambda: device_codes(entry=entry(nonce="00" * 32)),
    ),
}


# --- containers ----------------------------------------------------------------------------------


def payload_codes(data: bytes) -> list[Reason]:
    return parsed(lambda: payload.parse_payload(data))


PAYLOAD_CASES: Final[dict[str, tuple[Reason, Callable[[], list[Reason]]]]] = {
    "payload that is no JSON": (R.GPU_INPUT_MALFORMED, lambda: payload_codes(b"{")),
    "payload without a list": (R.GPU_INPUT_MALFORMED, lambda: payload_codes(b'{"nonce": "00"}')),
    "payload with a member twice": (
        R.GPU_INPUT_MALFORMED,
        lambda: payload_codes(b'{"evidence_list": [], "evidence_list": []}'),
    ),
    "payload with loose base64": (
        R.GPU_INPUT_ENCODING_INVALID,
        lambda: payload_codes(b'[{"evidence": "AB==", "certificate": ""}]'),
    ),
    "payload of nobody": (
        R.GPU_INPUT_DEVICE_COUNT,
        lambda: payload_codes(b'{"evidence_list": []}'),
    ),
    "payload of 129 devices": (
        R.GPU_INPUT_TOO_LARGE,
        lambda: payload_codes(
            json.dumps([{"evidence": "", "certificate": ""}] * 129).encode("ascii")
        ),
    ),
}


# --- sets and topology -----------------------------------------------------------------------------


def real(device: sim.Device, nonce: bytes = sim.NONCE) -> devices.Device:
    chain = certificates.parse_chain(device.chain_pem())
    return devices.Device(
        label=device.label,
        report=spdm.parse_report(sim.report(device, nonce)),
        chain=chain,
        family=certificates.family_of(chain),
    )


def set_codes(*found: devices.Device, gpu_exact: int | None = None) -> list[Reason]:
    return codes(
        refusals(
            partial(devices.judge_distinct, found),
            partial(devices.judge_one_nonce, found),
            partial(devices.judge_one_mode, found),
            partial(devices.judge_count, found, gpu_min=1, gpu_exact=gpu_exact, switch_exact=None),
        )
    )


def topology_codes(*found: sim.Device) -> list[Reason]:
    return [refused.reason for _, refused in devices.topology_refusals([real(d) for d in found])]


def node() -> tuple[list[sim.Device], list[sim.Device]]:
    gpus, switches = sim.node(2, 2, name="kill")
    return list(gpus), list(switches)


def node_with(*, gpu: object = None, switch: object = None) -> list[Reason]:
    gpus, switches = node()
    if gpu is not None:
        gpus[1] = pki.replace(gpus[1], **gpu)  # type: ignore[arg-type]
    if switch is not None:
        switches[1] = pki.replace(switches[1], **switch)  # type: ignore[arg-type]
    return topology_codes(*gpus, *switches)


SET_CASES: Final[dict[str, tuple[Reason, Callable[[], list[Reason]]]]] = {
    "one device twice": (R.GPU_DEVICES_DUPLICATE, lambda: set_codes(real(GPU), real(GPU))),
    "two nonces": (
        R.GPU_DEVICES_NONCE_DIFFERS,
        lambda: set_codes(real(GPU), real(GPU_2, bytes(32))),
    ),
    "two modes": (
        R.GPU_DEVICES_MODE_MIXED,
        lambda: set_codes(real(GPU), real(pki.replace(GPU_2, mode=2))),
    ),
    "another number": (R.GPU_DEVICES_COUNT_MISMATCH, lambda: set_codes(real(GPU), gpu_exact=2)),
    "GPU linked to other switches": (
        R.GPU_TOPOLOGY_SWITCH_SET_MISMATCH,
        lambda: node_with(gpu={"switches": ("kill switch 0", "elsewhere")}),
    ),
    "switch linked to other GPUs": (
        R.GPU_TOPOLOGY_GPU_SET_MISMATCH,
        lambda: node_with(switch={"gpus": ("kill gpu 0", "elsewhere")}),
    ),
    "switch with another identity": (
        R.GPU_TOPOLOGY_SWITCH_IDENTITY_MISMATCH,
        lambda: node_with(switch={"opaque": {22: bytes(8)}}),
    ),
    "switches named, none attested": (
        R.GPU_TOPOLOGY_SWITCHES_NOT_ATTESTED,
        lambda: topology_codes(*node()[0]),
    ),
    "switches alone": (R.GPU_TOPOLOGY_GPUS_NOT_ATTESTED, lambda: topology_codes(*node()[1])),
    "nothing said about links": (R.GPU_TOPOLOGY_NOT_REPORTED, lambda: topology_codes(GPU)),
    "GPUs name different switches": (
        R.GPU_TOPOLOGY_SWITCH_SET_MISMATCH,
        lambda: [
            code
            for code in topology_codes(
                node()[0][0], pki.replace(node()[0][1], switches=("elsewhere",))
            )
            if code is not R.GPU_TOPOLOGY_SWITCHES_NOT_ATTESTED
        ],
    ),
}


# --- manifests -------------------------------------------------------------------------------------


def rim_codes(
    data: bytes,
    *,
    kind: rim.RimKind = rim.RimKind.DRIVER,
    device: sim.Device = GPU,
    as_of: datetime = AS_OF,
    compared: bool = True,
) -> list[Reason]:
    found = parsed(lambda: rim.parse_rim(data))
    if found:
        return found
    one, target = rim.parse_rim(data), real(device)
    wanted = rim.wanted_ids(target.report, target.family)[kind]
    questions: list[Callable[[], object]] = [
        partial(rim.judge_product, one.manifest, target.report, target.family),
        partial(rim.judge_version, one.manifest, target.report, kind),
    ]
    if one.recorded_id is not None:
        questions.append(partial(rim.judge_id, one.recorded_id, wanted))
    found = codes(rim.authenticity_refusals(one, RIM_ROOTS, as_of)) + codes(refusals(*questions))
    if compared:
        comparison = rim.compare(one.manifest, target.report, kind)
        found += codes(rim.comparison_refusals(comparison, one.signer_serial))
        found += codes(refusals(partial(rim.judge_compared, [comparison])))
    return found


def driver(**knobs: object) -> bytes:
    return rim_sim.document(rim_sim.driver_manifest(), **knobs)  # type: ignore[arg-type]


def body(edit: Callable[[str], str], **knobs: object) -> bytes:
    manifest = pki.replace(rim_sim.driver_manifest(), body_edit=edit)
    return rim_sim.document(manifest, **knobs)  # type: ignore[arg-type]


def swap(old: str, new: str) -> Callable[[str], str]:
    def edit(text: str) -> str:
        assert old in text
        return text.replace(old, new, 1)

    return edit


def rim_chain_with(position: int, **changes: object) -> tuple[pki.Plan, ...]:
    return pki.faulty(pki.rim_chain(), position, **changes)


def foreign_rim_chain() -> tuple[pki.Plan, ...]:
    chain = list(pki.rim_chain())
    chain[2] = pki.replace(chain[2], signer="another")
    chain[3] = pki.replace(chain[3], key="another", signer="another")
    return tuple(chain)


def with_entries(changed: Mapping[int, tuple[bytes, ...]], *, count: int = 64) -> bytes:
    return rim_sim.document(
        rim_sim.Manifest(
            entries=rim_sim.entries(
                sim.gpu_blocks(), frozenset({7, 21}), changed=changed, count=count
            )
        )
    )


DRIVER_ID: Final = f"NV_GPU_DRIVER_GH100_{sim.DRIVER}"
RIM_CASES: Final[dict[str, tuple[Reason, Callable[[], list[Reason]]]]] = {
    "manifest that is no XML": (R.GPU_RIM_MALFORMED, lambda: rim_codes(b"<a>")),
    "manifest with a DOCTYPE": (
        R.GPU_RIM_MALFORMED,
        lambda: rim_codes(driver(text_edit=lambda text: "<!DOCTYPE a>" + text)),
    ),
    "manifest with a comment": (
        R.GPU_RIM_MALFORMED,
        lambda: rim_codes(driver(text_edit=swap("<ns0:Entity", "<!-- x --><ns0:Entity"))),
    ),
    "manifest with a processing instruction": (
        R.GPU_RIM_MALFORMED,
        lambda: rim_codes(driver(text_edit=swap("<ns0:Entity", "<?x y?><ns0:Entity"))),
    ),
    "manifest with CDATA": (
        R.GPU_RIM_MALFORMED,
        lambda: rim_codes(driver(text_edit=swap("<ns0:Entity", "<![CDATA[x]]><ns0:Entity"))),
    ),
    "manifest with an entity": (
        R.GPU_RIM_MALFORMED,
        lambda: rim_codes(driver(text_edit=swap("<ns0:Entity", "&x;<ns0:Entity"))),
    ),
    "manifest with xml:base": (
        R.GPU_RIM_MALFORMED,
        lambda: rim_codes(driver(text_edit=swap(' corpus="', ' xml:base="x" corpus="'))),
    ),
    "manifest in Latin-1": (
        R.GPU_RIM_MALFORMED,
        lambda: rim_codes(
            driver(text_edit=lambda text: '<?xml version="1.0" encoding="ISO-8859-1"?>' + text)
        ),
    ),
    "manifest with an undeclared prefix": (
        R.GPU_RIM_MALFORMED,
        lambda: rim_codes(driver(text_edit=swap(' corpus="', ' q:a="" corpus="'))),
    ),
    "manifest envelope that is no JSON": (R.GPU_RIM_MALFORMED, lambda: rim_codes(b'{"id": ')),
    "manifest envelope with loose base64": (
        R.GPU_INPUT_ENCODING_INVALID,
        lambda: rim_codes(b'{"id": "x", "rim": "A B="}'),
    ),
    "manifest of 257 KiB": (R.GPU_INPUT_TOO_LARGE, lambda: rim_codes(b"<a" + b" " * 257 * 1024)),
    "manifest 17 deep": (
        R.GPU_INPUT_TOO_LARGE,
        lambda: rim_codes(driver(text_edit=swap("<ns0:Entity", "<a>" * 16 + "<ns0:Entity"))),
    ),
    "manifest of another namespace": (
        R.GPU_RIM_SCHEMA_INVALID,
        lambda: rim_codes(body(swap("2015/schema.xsd", "2009/schema.xsd"))),
    ),
    "manifest with a second payload": (
        R.GPU_RIM_SCHEMA_INVALID,
        lambda: rim_codes(
            body(swap("    <ns0:Payload", "    <ns0:Payload></ns0:Payload><ns0:Payload"))
        ),
    ),
    "resource outside the payload": (
        R.GPU_RIM_SCHEMA_INVALID,
        lambda: rim_codes(
            body(swap("    <ns0:Payload", "    <ns0:Resource></ns0:Resource><ns0:Payload"))
        ),
    ),
    "index twice": (
        R.GPU_RIM_SCHEMA_INVALID,
        lambda: rim_codes(body(swap('index="1"', 'index="0"'))),
    ),
    "active is a word nobody knows": (
        R.GPU_RIM_SCHEMA_INVALID,
        lambda: rim_codes(body(swap('active="True"', 'active="true"'))),
    ),
    "more alternatives than values": (
        R.GPU_RIM_SCHEMA_INVALID,
        lambda: rim_codes(body(swap('alternatives="1"', 'alternatives="2"'))),
    ),
    "size of 32": (
        R.GPU_RIM_SCHEMA_INVALID,
        lambda: rim_codes(body(swap('size="48"', 'size="32"'))),
    ),
    "manifest inside the manifest": (
        R.GPU_RIM_SCHEMA_INVALID,
        lambda: rim_codes(
            body(
                swap(
                    "    <ns0:Payload",
                    "    <ns0:SoftwareIdentity></ns0:SoftwareIdentity><ns0:Payload",
                )
            )
        ),
    ),
    "manifest without version": (
        R.GPU_RIM_SCHEMA_INVALID,
        lambda: rim_codes(body(swap("colloquialVersion", "otherVersion"))),
    ),
    "CoRIM": (
        R.GPU_RIM_FORMAT_UNSUPPORTED,
        lambda: rim_codes(rim_sim.envelope(DRIVER_ID, driver(), rim_format="CORIM")),
    ),
    "signature method RSA": (
        R.GPU_RIM_DSIG_PROFILE_INVALID,
        lambda: rim_codes(driver(info_edit=swap("#ecdsa-sha384", "#rsa-sha384"))),
    ),
    "reference by id": (
        R.GPU_RIM_DSIG_PROFILE_INVALID,
        lambda: rim_codes(driver(info_edit=swap('URI=""', 'URI="#x"'))),
    ),
    "signature of two references": (
        R.GPU_RIM_DSIG_PROFILE_INVALID,
        lambda: rim_codes(
            driver(
                info_edit=swap(
                    "</ds:SignedInfo>", '<ds:Reference URI=""></ds:Reference></ds:SignedInfo>'
                )
            )
        ),
    ),
    "no signature": (
        R.GPU_RIM_DSIG_PROFILE_INVALID,
        lambda: rim_codes(rim_sim.driver_manifest().body().encode("ascii")),
    ),
    "two signatures": (
        R.GPU_RIM_DSIG_PROFILE_INVALID,
        lambda: rim_codes(driver(signature_edit=lambda text: text + text)),
    ),
    "signature not last": (
        R.GPU_RIM_DSIG_PROFILE_INVALID,
        lambda: rim_codes(driver(signature_edit=lambda text: text + "<ns0:Link></ns0:Link>")),
    ),
    "object in the signature": (
        R.GPU_RIM_DSIG_PROFILE_INVALID,
        lambda: rim_codes(
            driver(signature_edit=swap("</ds:Signature>", "<ds:Object></ds:Object></ds:Signature>"))
        ),
    ),
    "manifest edited after signing": (
        R.GPU_RIM_DIGEST_MISMATCH,
        lambda: rim_codes(driver(text_edit=swap('patch="false"', 'patch="true"'))),
    ),
    "manifest signed by another key": (
        R.GPU_RIM_SIGNATURE_INVALID,
        lambda: rim_codes(driver(signer="another")),
    ),
    "manifest signer chain of three": (
        R.GPU_RIM_CHAIN_INVALID,
        lambda: rim_codes(driver(chain=(*pki.rim_chain()[:2], pki.rim_chain()[3]))),
    ),
    "manifest signer path length": (
        R.GPU_RIM_CHAIN_INVALID,
        lambda: rim_codes(driver(chain=rim_chain_with(2, path_length=0))),
    ),
    "manifest signer that is a CA": (
        R.GPU_RIM_CHAIN_INVALID,
        lambda: rim_codes(driver(chain=rim_chain_with(0, ca=True))),
    ),
    "manifest root foreign": (
        R.GPU_RIM_CHAIN_ROOT_UNTRUSTED,
        lambda: rim_codes(driver(chain=foreign_rim_chain())),
    ),
    "manifest signer expired": (
        R.GPU_RIM_CHAIN_EXPIRED,
        lambda: rim_codes(driver(), as_of=pki.RIM_END + timedelta(seconds=1)),
    ),
    "manifest signer not yet": (
        R.GPU_RIM_CHAIN_NOT_YET_VALID,
        lambda: rim_codes(driver(), as_of=pki.RIM_START - timedelta(seconds=1)),
    ),
    "manifest of another chip": (
        R.GPU_RIM_PRODUCT_MISMATCH,
        lambda: rim_codes(rim_sim.document(rim_sim.driver_manifest(product="GB100"))),
    ),
    "manifest of another version": (
        R.GPU_RIM_VERSION_MISMATCH,
        lambda: rim_codes(rim_sim.document(rim_sim.driver_manifest("570.0.1"))),
    ),
    "manifest under another id": (
        R.GPU_RIM_ID_MISMATCH,
        lambda: rim_codes(rim_sim.envelope("NV_GPU_DRIVER_GH100_1.2.3", driver())),
    ),
    "both manifests govern an index": (
        R.GPU_RIM_INDEX_CONFLICT,
        lambda: codes(
            refusals(
                partial(
                    rim.judge_indices,
                    rim.parse_rim(driver()).manifest,
                    rim.parse_rim(driver()).manifest,
                )
            )
        ),
    ),
    "manifest without active entries": (
        R.GPU_RIM_NO_ACTIVE_MEASUREMENTS,
        lambda: rim_codes(
            rim_sim.document(
                rim_sim.Manifest(entries=rim_sim.entries(sim.gpu_blocks(), frozenset()))
            )
        ),
    ),
    "measurement differs": (
        R.GPU_MEASUREMENT_MISMATCH,
        lambda: rim_codes(with_entries({21: (bytes(48), bytes.fromhex("11" * 48))})),
    ),
    "report lacks a governed block": (
        R.GPU_MEASUREMENT_MISSING_BLOCK,
        lambda: rim_codes(
            rim_sim.document(
                rim_sim.Manifest(
                    entries=rim_sim.entries(sim.gpu_blocks(), frozenset({7, 64}), count=65)
                )
            )
        ),
    ),
    "nothing to compare with": (
        R.GPU_MEASUREMENT_NOT_CHECKED,
        lambda: codes(refusals(partial(rim.judge_compared, []))),
    ),
}


# --- revocation --------------------------------------------------------------------------------------

CHAIN: Final = GPU.chain()
CHILD: Final = load_certificate(pki.der(CHAIN[1]))
ISSUER: Final = load_certificate(pki.der(CHAIN[2]))
OCSP_NONCE: Final = bytes(range(32))


def ocsp_codes(
    response: bytes, *, request: bytes | None = None, allow_hold: bool = False
) -> list[Reason]:
    found = parsed(lambda: revocation.parse_ocsp_response(response))
    if found:
        return found
    sent = (
        revocation_sim.request(CHAIN[1], CHAIN[2], nonce=OCSP_NONCE) if request is None else request
    )
    return codes(
        revocation.ocsp_refusals(
            revocation.parse_ocsp_response(response),
            revocation.parse_ocsp_request(sent),
            CHILD,
            ISSUER,
            AS_OF,
            allow_hold=allow_hold,
        )
    )


def answer(*singles: revocation_sim.Single, **knobs: object) -> bytes:
    made: dict[str, object] = {"nonce": OCSP_NONCE, **knobs}
    if singles:
        made["singles"] = singles
    return revocation_sim.response(CHAIN[1], CHAIN[2], **made)  # type: ignore[arg-type]


Single = revocation_sim.Single
LISTED: Final = load_certificate(pki.der(CHAIN[2]))
LIST_ISSUER: Final = load_certificate(pki.der(CHAIN[3]))


def crl_codes(data: bytes) -> list[Reason]:
    found = parsed(lambda: revocation.parse_crl(data))
    if found:
        return found
    return codes(revocation.crl_refusals(revocation.parse_crl(data), [LISTED], LIST_ISSUER, AS_OF))


REVOCATION_CASES: Final[dict[str, tuple[Reason, Callable[[], list[Reason]]]]] = {
    "response that is no DER": (R.GPU_OCSP_MALFORMED, lambda: ocsp_codes(b"nothing")),
    "response of 65 KiB": (R.GPU_INPUT_TOO_LARGE, lambda: ocsp_codes(bytes(65 * 1024))),
    "responder says try later": (
        R.GPU_OCSP_RESPONSE_STATUS,
        lambda: ocsp_codes(answer(outer_status=3)),
    ),
    "response about another certificate": (
        R.GPU_OCSP_CERTID_MISMATCH,
        lambda: ocsp_codes(answer(Single(identifier=revocation_sim.cert_id(CHAIN[2], CHAIN[3])))),
    ),
    "response under SHA-512": (
        R.GPU_OCSP_CERTID_MISMATCH,
        lambda: ocsp_codes(answer(algorithm="sha512")),
    ),
    "response twice about the certificate": (
        R.GPU_OCSP_CERTID_MISMATCH,
        lambda: ocsp_codes(answer(Single(), Single(status="unknown"))),
    ),
    "delegate of somebody else": (
        R.GPU_OCSP_RESPONDER_UNTRUSTED,
        lambda: ocsp_codes(
            answer(delegate=revocation_sim.responder(CHAIN[2], signer="somebody else"))
        ),
    ),
    "delegate without the right usage": (
        R.GPU_OCSP_RESPONDER_UNTRUSTED,
        lambda: ocsp_codes(answer(delegate=revocation_sim.responder(CHAIN[2], extended_usage=()))),
    ),
    "delegate expired": (
        R.GPU_OCSP_RESPONDER_UNTRUSTED,
        lambda: ocsp_codes(
            answer(delegate=revocation_sim.responder(CHAIN[2], end=AS_OF - timedelta(seconds=1)))
        ),
    ),
    "response signed by another key": (
        R.GPU_OCSP_SIGNATURE_INVALID,
        lambda: ocsp_codes(answer(signer="another")),
    ),
    "response edited after signing": (
        R.GPU_OCSP_SIGNATURE_INVALID,
        lambda: ocsp_codes(answer(tamper=True)),
    ),
    "response too old": (
        R.GPU_OCSP_STALE,
        lambda: ocsp_codes(answer(Single(next_update=AS_OF - timedelta(seconds=1)))),
    ),
    "response from the future": (
        R.GPU_OCSP_STALE,
        lambda: ocsp_codes(answer(Single(this_update=AS_OF + timedelta(seconds=1)))),
    ),
    "response without end after its hour": (
        R.GPU_OCSP_STALE,
        lambda: ocsp_codes(
            answer(Single(this_update=AS_OF - timedelta(seconds=3601), next_update=None))
        ),
    ),
    "response without the nonce": (
        R.GPU_OCSP_NONCE_MISMATCH,
        lambda: ocsp_codes(answer(nonce=None)),
    ),
    "revoked": (R.GPU_OCSP_REVOKED, lambda: ocsp_codes(answer(Single(status="revoked", reason=1)))),
    "revoked, hold allowed": (
        R.GPU_OCSP_REVOKED,
        lambda: ocsp_codes(answer(Single(status="revoked", reason=1)), allow_hold=True),
    ),
    "on hold": (R.GPU_OCSP_ON_HOLD, lambda: ocsp_codes(answer(Single(status="revoked", reason=6)))),
    "unknown": (R.GPU_OCSP_UNKNOWN, lambda: ocsp_codes(answer(Single(status="unknown")))),
    "list that is no DER": (R.GPU_CRL_MALFORMED, lambda: crl_codes(b"nothing")),
    "list with a critical extension": (
        R.GPU_CRL_MALFORMED,
        lambda: crl_codes(revocation_sim.crl(CHAIN[3], critical_unknown=True)),
    ),
    "list signed by another key": (
        R.GPU_CRL_SIGNATURE_INVALID,
        lambda: crl_codes(revocation_sim.crl(CHAIN[3], signer="another")),
    ),
    "list of another issuer": (
        R.GPU_CRL_SIGNATURE_INVALID,
        lambda: crl_codes(revocation_sim.crl(CHAIN[4])),
    ),
    "list too old": (
        R.GPU_CRL_STALE,
        lambda: crl_codes(revocation_sim.crl(CHAIN[3], next_update=AS_OF - timedelta(seconds=1))),
    ),
    "on the list": (
        R.GPU_CRL_REVOKED,
        lambda: crl_codes(
            revocation_sim.crl(CHAIN[3], revoked={CHAIN[2].serial: AS_OF - timedelta(days=11)})
        ),
    ),
}


# --- the service -------------------------------------------------------------------------------------


def evidence_of(device: sim.Device) -> tuple[bytes, bytes]:
    return sim.report(device), device.chain_pem()


def nras_codes(
    exchange: nras_sim.Exchange,
    *,
    devices_: tuple[sim.Device, ...] = (GPU,),
    received: datetime = nras_sim.RECEIVED,
    keys: bytes | None = b"",
    pins: set[bytes] = PINS,
    distance: int | None = 600,
    versions: frozenset[str] = nras.VERSIONS,
) -> list[Reason]:
    """Ask everything about an exchange, in the order of the rows, each code once."""
    key_bytes = exchange.jwks if keys == b"" else keys
    found = (
        parsed(lambda: nras.parse_answer(exchange.answer))
        + parsed(lambda: nras.parse_key_set(key_bytes or b'{"keys": []}'))
        + parsed(lambda: payload.parse_payload(exchange.request))
    )
    if found:
        return found
    said = nras.parse_answer(exchange.answer)
    request = payload.parse_payload(exchange.request)
    rules = nras.TokenRules(
        pins=pins, versions=versions, received_at=received, as_of=AS_OF, max_distance_s=distance
    )
    key_set = None if key_bytes is None else nras.parse_key_set(key_bytes)
    refused = list(nras.token_refusals(said, key_set, len(request.entries), rules))
    refused += nras.result_refusals(said)
    for token in said.devices:
        if token.position >= len(devices_):
            continue
        device = real(devices_[token.position])
        evidence, chain = evidence_of(devices_[token.position])
        refused += refusals(partial(nras.judge_request, request, token.position, evidence, chain))
        refused += nras.binding_refusals(said, token, device.report, device.chain)
    return list(dict.fromkeys(codes(refused)))


def exchange(**knobs: object) -> nras_sim.Exchange:
    return nras_sim.exchange((GPU,), (evidence_of(GPU),), **knobs)  # type: ignore[arg-type]


def claims(name: str, value: object, **knobs: object) -> nras_sim.Exchange:
    """Change one claim of the device token; ``...`` removes it."""

    def edit(index: int, found: nras_sim.Claims) -> nras_sim.Claims:
        del index
        if value is ...:
            return {key: inner for key, inner in found.items() if key != name}
        return {**found, name: value}

    return exchange(edit_device=edit, **knobs)


def overall(name: str, value: object) -> nras_sim.Exchange:
    def edit(found: nras_sim.Claims) -> nras_sim.Claims:
        if value is ...:
            return {key: inner for key, inner in found.items() if key != name}
        return {**found, name: value}

    return exchange(edit_overall=edit)


def both(**changes: object) -> nras_sim.Exchange:
    return exchange(
        edit_overall=lambda found: {**found, **changes},
        edit_device=lambda _, found: {**found, **changes},
    )


def rebuilt(change: Callable[[str, dict[str, str]], bytes]) -> nras_sim.Exchange:
    """Build the answer body anew from its tokens."""
    made = exchange()
    (_, text), named = json.loads(made.answer)
    return pki.replace(made, answer=change(text, named))


def with_header(header: Mapping[str, object]) -> nras_sim.Exchange:
    tokens = {"GPU-0": nras_sim.token(nras_sim.device_claims(GPU))}
    text = nras_sim.token(nras_sim.overall_claims(tokens), header=header)
    return pki.replace(exchange(), answer=nras_sim.body(text, tokens))


def keyed(**knobs: object) -> nras_sim.Exchange:
    return pki.replace(exchange(), jwks=nras_sim.jwks(nras_sim.jwk(**knobs)))  # type: ignore[arg-type]


ISSUED_S: Final = int(nras_sim.ISSUED.timestamp())
NRAS_CASES: Final[dict[str, tuple[Reason, Callable[[], list[Reason]]]]] = {
    "answer that is no JSON": (
        R.NRAS_ANSWER_MALFORMED,
        lambda: nras_codes(rebuilt(lambda _text, _named: b"[")),
    ),
    "answer of three members": (
        R.NRAS_ANSWER_MALFORMED,
        lambda: nras_codes(rebuilt(lambda _text, _named: b"[[], {}, 1]")),
    ),
    "answer without devices": (
        R.NRAS_ANSWER_MALFORMED,
        lambda: nras_codes(rebuilt(lambda text, _named: nras_sim.body(text, {}))),
    ),
    "device token with a strange name": (
        R.NRAS_ANSWER_MALFORMED,
        lambda: nras_codes(
            rebuilt(lambda text, named: nras_sim.body(text, {"GPU-00": named["GPU-0"]}))
        ),
    ),
    "key set that is no object": (
        R.NRAS_ANSWER_MALFORMED,
        lambda: nras_codes(exchange(keys=b"[]")),
    ),
    "token of two parts": (
        R.NRAS_JWT_MALFORMED,
        lambda: nras_codes(rebuilt(lambda _text, named: nras_sim.body("a.b", named))),
    ),
    "token with padding": (
        R.NRAS_JWT_MALFORMED,
        lambda: nras_codes(rebuilt(lambda text, named: nras_sim.body(text + "=", named))),
    ),
    "token that brings its key": (
        R.NRAS_JWT_MALFORMED,
        lambda: nras_codes(with_header({"kid": nras_sim.KID, "alg": "ES384", "jwk": {}})),
    ),
    "token without key id": (
        R.NRAS_JWT_MALFORMED,
        lambda: nras_codes(with_header({"alg": "ES384"})),
    ),
    "token of 65 KiB": (
        R.GPU_INPUT_TOO_LARGE,
        lambda: nras_codes(rebuilt(lambda _text, named: nras_sim.body("A" * 65 * 1024, named))),
    ),
    "token without signature algorithm": (
        R.NRAS_JWT_ALG_REJECTED,
        lambda: nras_codes(with_header({"kid": nras_sim.KID, "alg": "none"})),
    ),
    "token under HS256": (
        R.NRAS_JWT_ALG_REJECTED,
        lambda: nras_codes(with_header({"kid": nras_sim.KID, "alg": "HS256"})),
    ),
    "key id in no entry": (
        R.NRAS_JWT_KID_UNKNOWN,
        lambda: nras_codes(exchange(keys=nras_sim.jwks(nras_sim.jwk("another")))),
    ),
    "key id in two entries": (
        R.NRAS_JWT_KID_UNKNOWN,
        lambda: nras_codes(exchange(keys=nras_sim.jwks(nras_sim.jwk(), nras_sim.jwk()))),
    ),
    "no key set recorded": (R.NRAS_KEY_MISSING, lambda: nras_codes(exchange(), keys=None)),
    "empty key set": (R.NRAS_KEY_MISSING, lambda: nras_codes(exchange(keys=b'{"keys": []}'))),
    "token signed by another key": (
        R.NRAS_JWT_SIGNATURE_INVALID,
        lambda: nras_codes(
            rebuilt(
                lambda _text, named: nras_sim.body(
                    nras_sim.token(nras_sim.overall_claims(named), signer="nras somebody else"),
                    named,
                )
            )
        ),
    ),
    "coordinates of another key": (
        R.NRAS_KEY_JWK_MISMATCH,
        lambda: nras_codes(keyed(key_label="another")),
    ),
    "key on another curve": (
        R.NRAS_KEY_JWK_MISMATCH,
        lambda: nras_codes(keyed(changes={"crv": "P-256"})),
    ),
    "coordinates not on the curve": (
        R.NRAS_KEY_JWK_MISMATCH,
        lambda: nras_codes(keyed(changes={"x": "A" * 64})),
    ),
    "one certificate beside the key": (
        R.NRAS_KEY_CHAIN_INVALID,
        lambda: nras_codes(keyed(changes={"x5c": []})),
    ),
    "key certificate of another issuer": (
        R.NRAS_KEY_CHAIN_INVALID,
        lambda: nras_codes(
            keyed(leaf=pki.replace(pki.nras_leaf(nras_sim.KID), issuer=pki.named("Somebody")))
        ),
    ),
    "key certificate under another signature": (
        R.NRAS_KEY_CHAIN_INVALID,
        lambda: nras_codes(
            keyed(leaf=pki.replace(pki.nras_leaf(nras_sim.KID), signer="somebody", digest="sha384"))
        ),
    ),
    "intermediate not believed": (
        R.NRAS_KEY_INTERMEDIATE_NOT_PINNED,
        lambda: nras_codes(exchange(), pins={bytes(32)}),
    ),
    "key certificate ended before the token": (
        R.NRAS_KEY_TIME_INVALID,
        lambda: nras_codes(
            keyed(leaf=pki.nras_leaf(nras_sim.KID, end=nras_sim.ISSUED - timedelta(seconds=1)))
        ),
    ),
    "staging issuer": (
        R.NRAS_TOKEN_ISSUER_MISMATCH,
        lambda: nras_codes(both(iss="https://nras.attestation-stg.nvidia.com")),
    ),
    "token that lives two days": (
        R.NRAS_TOKEN_TIME_INCONSISTENT,
        lambda: nras_codes(both(exp=ISSUED_S + 172_800)),
    ),
    "token with a time that is text": (
        R.NRAS_TOKEN_TIME_INCONSISTENT,
        lambda: nras_codes(both(nbf="now")),
    ),
    "token issued long before its receipt": (
        R.NRAS_TOKEN_TIME_INCONSISTENT,
        lambda: nras_codes(exchange(), received=nras_sim.ISSUED + timedelta(seconds=601)),
    ),
    "token issued far from the instant judged": (
        R.NRAS_TOKEN_TIME_INCONSISTENT,
        lambda: nras_codes(exchange(), distance=1),
    ),
    "token ended when received": (
        R.NRAS_TOKEN_EXPIRED_AT_CAPTURE,
        lambda: nras_codes(
            both(exp=ISSUED_S + 10), received=nras_sim.ISSUED + timedelta(seconds=11)
        ),
    ),
    "claims 1.0": (
        R.NRAS_TOKEN_VERSION_UNSUPPORTED,
        lambda: nras_codes(overall("x-nvidia-ver", "1.0")),
    ),
    "claims not accepted by policy": (
        R.NRAS_TOKEN_VERSION_UNSUPPORTED,
        lambda: nras_codes(exchange(), versions=frozenset({"3.0"})),
    ),
    "overall false": (R.NRAS_RESULT_OVERALL_FALSE, lambda: nras_codes(exchange(result=False))),
    "overall is the word true": (
        R.NRAS_RESULT_OVERALL_MISSING,
        lambda: nras_codes(exchange(result="true")),
    ),
    "overall absent": (
        R.NRAS_RESULT_OVERALL_MISSING,
        lambda: nras_codes(overall("x-nvidia-overall-att-result", ...)),
    ),
    "request of two devices": (
        R.NRAS_DEVICE_SET_MISMATCH,
        lambda: nras_codes(
            pki.replace(
                exchange(), request=nras_sim.request((evidence_of(GPU), evidence_of(GPU_2)))
            )
        ),
    ),
    "overall token names more devices": (
        R.NRAS_DEVICE_SET_MISMATCH,
        lambda: nras_codes(
            exchange(
                edit_overall=lambda found: {
                    **found,
                    "submods": {**found["submods"], "GPU-1": ["DIGEST", ["SHA-256", "0"]]},  # type: ignore[dict-item]
                }
            )
        ),
    ),
    "device token of another session": (
        R.NRAS_DEVICE_DIGEST_MISMATCH,
        lambda: nras_codes(
            rebuilt(
                lambda text, _named: nras_sim.body(
                    text,
                    {"GPU-0": nras_sim.token({**nras_sim.device_claims(GPU), "jti": "other"})},
                )
            )
        ),
    ),
    "device token reports an error": (
        R.NRAS_DEVICE_ERROR_REPORTED,
        lambda: nras_codes(exchange(edit_device=lambda _index, _found: nras_sim.error_claims())),
    ),
    "measurements not a success": (
        R.NRAS_DEVICE_MEASRES_NOT_SUCCESS,
        lambda: nras_codes(claims("measres", "fail")),
    ),
    "a claim is false": (
        R.NRAS_DEVICE_CLAIM_FALSE,
        lambda: nras_codes(claims("x-nvidia-gpu-arch-check", False)),
    ),
    "secure boot is null": (R.NRAS_DEVICE_CLAIM_FALSE, lambda: nras_codes(claims("secboot", None))),
    "certificate claim says revoked": (
        R.NRAS_DEVICE_CLAIM_FALSE,
        lambda: nras_codes(
            claims(
                "x-nvidia-gpu-driver-rim-cert-chain",
                {"x-nvidia-cert-status": "valid", "x-nvidia-cert-ocsp-status": "revoked"},
                version="3.0",
            )
        ),
    ),
    "a claim is missing": (
        R.NRAS_DEVICE_CLAIM_MISSING,
        lambda: nras_codes(claims("x-nvidia-gpu-vbios-rim-fetched", ...)),
    ),
    "device token names another nonce": (
        R.NRAS_DEVICE_NONCE_MISMATCH,
        lambda: [
            code
            for code in nras_codes(claims("eat_nonce", "00" * 32))
            if code is not R.NRAS_BIND_NONCE_MISMATCH
        ],
    ),
    "answer about another nonce": (
        R.NRAS_BIND_NONCE_MISMATCH,
        lambda: nras_codes(exchange(nonce=bytes(32))),
    ),
    "answer about another device": (
        R.NRAS_BIND_UEID_MISMATCH,
        lambda: nras_codes(claims("ueid", "1")),
    ),
    "answer about another driver": (
        R.NRAS_BIND_DRIVER_MISMATCH,
        lambda: nras_codes(claims("x-nvidia-gpu-driver-version", "1.2.3")),
    ),
    "answer about another VBIOS": (
        R.NRAS_BIND_VBIOS_MISMATCH,
        lambda: nras_codes(claims("x-nvidia-gpu-vbios-version", "96.00.00.00.01")),
    ),
    "answer about another model": (
        R.NRAS_BIND_HWMODEL_MISMATCH,
        lambda: nras_codes(claims("hwmodel", "GB100")),
    ),
    "request about other evidence": (
        R.NRAS_BIND_REQUEST_MISMATCH,
        lambda: nras_codes(
            pki.replace(exchange(), request=nras_sim.request((evidence_of(GPU_2),)))
        ),
    ),
}

CASES: Final = {
    **DEVICE_CASES,
    **PAYLOAD_CASES,
    **SET_CASES,
    **RIM_CASES,
    **REVOCATION_CASES,
    **NRAS_CASES,
}
BY_CHECKS: Final = {
    R.GPU_NONCE_EXPECTED_MISSING,
    R.GPU_RIM_MISSING,
    R.GPU_REVOCATION_NOT_RECORDED,
    R.GPU_POLICY_DRIVER_NOT_ALLOWED,
    R.GPU_POLICY_FAMILY_NOT_ALLOWED,
    R.GPU_POLICY_MEASUREMENT_NOT_ALLOWED,
    R.GPU_POLICY_MODE_NOT_ALLOWED,
    R.GPU_POLICY_VBIOS_NOT_ALLOWED,
    R.NRAS_ANSWER_HTTP_STATUS,
    R.NRAS_NOT_RECORDED,
}
"""Codes that arise from what a bundle lists or a policy says: test_nvidia_checks has them."""


@pytest.mark.parametrize("name", list(CASES))
def test_one_fault_gives_exactly_its_code(name: str) -> None:
    reason, build = CASES[name]
    assert build() == [reason]


def test_every_reject_and_absent_code_has_a_case() -> None:
    wanted = {
        reason
        for reason in Reason
        if reason.code.startswith(("gpu.", "nras."))
        and reason.kind in (ReasonClass.REJECT, ReasonClass.ABSENT)
    }
    assert wanted == {reason for reason, _ in CASES.values()} | BY_CHECKS


def test_simulated_material_without_fault_gives_no_code() -> None:
    assert (
        device_codes(entry=entry(arch="hopper", driver=sim.DRIVER, nonce=sim.NONCE.hex().upper()))
        == []
    )
    gpus, switches = sim.node(8, 4)
    assert topology_codes(*gpus, *switches) == []
    assert set_codes(*(real(gpu) for gpu in gpus), gpu_exact=8) == []
    blackwell = sim.Device(label="b", family=pki.GB100)
    assert device_codes(sim.report(blackwell), blackwell.chain_pem()) == []
    assert device_codes(sim.report(SWITCH), SWITCH.chain_pem()) == [R.GPU_FWID_NOT_REPORTED]
    assert rim_codes(rim_sim.envelope(DRIVER_ID, driver())) == []
    vbios = rim_sim.document(rim_sim.vbios_manifest())
    assert rim_codes(vbios, kind=rim.RimKind.VBIOS) == []
    switch = rim_sim.document(rim_sim.switch_manifest())
    assert rim_codes(switch, kind=rim.RimKind.SWITCH, device=SWITCH) == []
    for version in ("2.0", "3.0"):
        assert nras_codes(exchange(version=version)) == []
        made = nras_sim.exchange((SWITCH,), (evidence_of(SWITCH),), version=version)
        assert nras_codes(made, devices_=(SWITCH,)) == []


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "sha384"])
def test_ocsp_answer_of_issuer_or_delegate_is_accepted(algorithm: str) -> None:
    asked = revocation_sim.request(CHAIN[1], CHAIN[2], nonce=OCSP_NONCE, algorithm=algorithm)
    for knobs in (
        {},
        {"by_key": True},
        {"delegate": revocation_sim.responder(CHAIN[2])},
        {"delegate": revocation_sim.responder(CHAIN[2]), "by_key": True},
    ):
        assert ocsp_codes(answer(algorithm=algorithm, **knobs), request=asked) == []
    held = answer(Single(status="revoked", reason=6), algorithm=algorithm)
    assert ocsp_codes(held, request=asked, allow_hold=True) == []


def test_ocsp_revocation_after_the_instant_is_no_refusal() -> None:
    later = Single(status="revoked", revoked_at=AS_OF + timedelta(seconds=1), reason=1)
    assert ocsp_codes(answer(later)) == []
    (single,) = revocation.parse_ocsp_response(answer(later)).singles
    assert revocation.revoked_later(single, AS_OF)


def test_crl_entry_after_the_instant_is_no_refusal() -> None:
    later = {CHAIN[2].serial: AS_OF + timedelta(seconds=1)}
    assert crl_codes(revocation_sim.crl(CHAIN[3], revoked=later)) == []
    assert crl_codes(revocation_sim.crl(CHAIN[3], revoked={1: AS_OF - timedelta(days=20)})) == []


def test_windows_include_both_ends() -> None:
    assert rim_codes(driver(), as_of=pki.RIM_START) == []
    assert rim_codes(driver(), as_of=pki.RIM_END) == []
    exact = Single(this_update=AS_OF, next_update=AS_OF)
    assert ocsp_codes(answer(exact)) == []
    edge = chain_with(2, not_before=AS_OF, not_after=AS_OF)
    assert device_codes(chain=edge) == []
    list_ = revocation_sim.crl(
        CHAIN[3], this_update=AS_OF - timedelta(seconds=1), next_update=AS_OF
    )
    assert crl_codes(list_) == []
    assert nras_codes(exchange(), received=nras_sim.ISSUED + timedelta(seconds=600)) == []


def test_simulated_material_is_the_same_in_every_run() -> None:
    made = hashlib.sha256()
    for part in (
        sim.report(GPU),
        GPU.chain_pem(),
        driver(),
        answer(),
        revocation_sim.crl(CHAIN[3]),
        exchange().answer,
        exchange().jwks,
    ):
        made.update(part)
    assert made.hexdigest()[:16] == "03d0f128803fbd02"


@pytest.mark.parametrize("digest", [hashes.SHA256(), hashes.SHA384()], ids=["sha256", "sha384"])
def test_a_list_is_good_whichever_strong_hash_its_issuer_signed_with(digest):
    good = revocation_sim.crl(CHAIN[3], digest=digest)
    stranger = revocation_sim.crl(CHAIN[3], digest=digest, signer="another")
    assert crl_codes(good) == []
    assert crl_codes(stranger) == [R.GPU_CRL_SIGNATURE_INVALID]


def test_a_list_whose_signature_does_not_fit_its_stated_hash_is_refused():
    good = revocation_sim.crl(CHAIN[3], digest=hashes.SHA256())
    sha256, sha384 = bytes.fromhex("06082a8648ce3d040302"), bytes.fromhex("06082a8648ce3d040303")
    assert good.count(sha256) == 2
    assert crl_codes(good.replace(sha256, sha384)) == [R.GPU_CRL_SIGNATURE_INVALID]
