"""The application's compose text and what else names it: MRCONFIGID, aggregates, published echoes.

Source: tdx.md 14.4 to 14.6; providers.md 3.1, 3.3.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Final

from verify.crypto.keccak import keccak256
from verify.dstack.event_log import (
    APP_ID,
    COMPOSE_HASH,
    GPU_POLICY_HASH,
    INIT_SCRIPT_HASH,
    INSTANCE_ID,
    KEY_PROVIDER,
    OS_IMAGE_HASH,
    Claims,
    KeyProvider,
    parse_key_provider,
)
from verify.dstack.registers import REGISTER_SIZE, TdRegisters
from verify.engine.errors import FormatError, Refused
from verify.engine.reason import Reason
from verify.engine.value import value
from verify.wire.strict_json import Json, parse_evidence

_PINNED: Final = re.compile(rb"@(sha256:[0-9a-f]{64})(?![0-9a-f])")
_UNSET: Final = bytes(REGISTER_SIZE)
_TAIL: Final = bytes(15)
_V3_TAG: Final = b"dstack-mr-config-v3:\x00"
_KIND: Final[Mapping[str, int]] = {"none": 0, "local-sgx": 1, "kms": 2, "tpm": 3}
_V3_REQUIRED: Final = frozenset(("version", "compose_hash", "key_provider"))
_V3_OPTIONAL: Final = frozenset(
    (
        "app_id",
        "gpu_policy_hash",
        "key_provider_id",
        "instance_id",
        "init_script_hashes",
    )
)


def compose_hash(text: bytes) -> bytes:
    """Return SHA-256 over the exact bytes of ``app_compose``; nothing is canonicalised."""
    return sha256(text).digest()


def pinned_images(text: bytes) -> tuple[str, ...]:
    """Return the distinct ``sha256:…`` image digests that the text names, in order."""
    return tuple(dict.fromkeys(found.decode() for found in _PINNED.findall(text)))


def judge_compose(text: bytes, claims: Claims) -> bytes:
    """Return the measured compose hash if it is that of ``text``.

    Raises `Refused`: ``tdx.event_log.event_missing`` where no believed event names one,
    ``tdx.dstack.compose_hash_mismatch``. Source: tdx.md 14.4.
    """
    measured = claims.one(COMPOSE_HASH)
    if measured is None:
        raise Refused(
            Reason.TDX_EVENT_LOG_EVENT_MISSING,
            "no believed event names a compose hash",
            expected=COMPOSE_HASH,
        )
    found = compose_hash(text)
    if found != measured:
        raise Refused(
            Reason.TDX_DSTACK_COMPOSE_HASH_MISMATCH,
            "the compose text is not the measured one",
            got=found.hex(),
            expected=measured.hex(),
            start=0,
            stop=len(text),
        )
    return measured


def mr_config_id_v1(compose: bytes) -> bytes:
    """Return MRCONFIGID of version 1: 01, compose hash, zeros."""
    return b"\x01" + compose + _TAIL


def mr_config_id_v2(compose: bytes, app_id: bytes, provider: KeyProvider) -> bytes:
    """Return MRCONFIGID of version 2: 02, Keccak-256 over the four parts, zeros.

    Raises `Refused` for a key provider of no known kind. Source: tdx.md 14.5.
    """
    kind = _KIND.get(provider.name)
    if kind is None:
        raise Refused(
            Reason.TDX_DSTACK_MR_CONFIG_ID_MISMATCH,
            "the measured key provider is of no known kind",
            got=provider.name,
            expected=" ".join(_KIND),
        )
    return b"\x02" + keccak256(compose + app_id + bytes((kind,)) + provider.id) + _TAIL


def mr_config_id_v3(document: bytes) -> bytes:
    """Return MRCONFIGID of version 3: 03, SHA-256 over tag, 00 and the document, zeros."""
    return b"\x03" + sha256(_V3_TAG + document).digest() + _TAIL


@value
class ConfigId:
    """How MRCONFIGID was explained. ``version`` 0: unset."""

    version: int


def _mismatch(what: str, *, got: str = "", expected: str = "", path: str | None = None) -> Refused:
    return Refused(
        Reason.TDX_DSTACK_MR_CONFIG_ID_MISMATCH, what, got=got, expected=expected, path=path
    )


def _claim(claims: Claims, name: str) -> bytes:
    payload = claims.one(name)
    if payload is None:
        raise Refused(
            Reason.TDX_EVENT_LOG_EVENT_MISSING,
            f"MRCONFIGID cannot be explained without a believed {name!r}",
            expected=name,
        )
    return payload


def _provider(claims: Claims) -> KeyProvider:
    try:
        return parse_key_provider(_claim(claims, KEY_PROVIDER))
    except FormatError as error:
        raise Refused(Reason.TDX_EVENT_LOG_MALFORMED, error.what, expected=KEY_PROVIDER) from error


def _judge_document(document: bytes, claims: Claims) -> None:
    """Compare the members of an MrConfigV3 document with the log."""
    try:
        value = parse_evidence(document)
    except FormatError as error:
        raise _mismatch(f"the MrConfigV3 document: {error.what}") from error
    if not isinstance(value, Mapping):
        raise _mismatch("the MrConfigV3 document is not an object")
    unknown = sorted(set(value) - _V3_REQUIRED - _V3_OPTIONAL)
    absent = sorted(_V3_REQUIRED - set(value))
    if unknown or absent:
        raise _mismatch(
            "the MrConfigV3 document has other members than its version defines",
            got=", ".join(unknown) or f"no {absent[0]}",
        )
    provider = _provider(claims)
    measured: dict[str, Json] = {
        "version": 3,
        "compose_hash": _claim(claims, COMPOSE_HASH).hex(),
        "key_provider": provider.name,
        "key_provider_id": provider.id.hex(),
        "app_id": (claims.one(APP_ID) or b"").hex(),
        "instance_id": (claims.one(INSTANCE_ID) or b"").hex(),
        "gpu_policy_hash": (claims.one(GPU_POLICY_HASH) or b"").hex(),
        "init_script_hashes": [script.hex() for script in claims.all(INIT_SCRIPT_HASH)],
    }
    for name, stated in value.items():
        if type(stated) is not type(measured[name]) or stated != measured[name]:
            raise _mismatch(
                f"{name} of the MrConfigV3 document is not the measured one",
                got=str(stated),
                expected=str(measured[name]),
                path=f"/{name}",
            )


def judge_config_id(
    mr_config_id: bytes, claims: Claims, documents: tuple[bytes, ...] = ()
) -> ConfigId:
    """Return how MRCONFIGID follows from the log. Only for evidence claimed as dstack.

    ``documents``: candidates for the MrConfigV3 document, exact bytes. Raises `Refused`:
    ``tdx.dstack.mr_config_id_mismatch``, ``.mr_config_id_version_unknown``,
    ``tdx.event_log.event_missing``, or ``evidence.absent`` (version 3, no document shown).
    Source: tdx.md 14.5.
    """
    if mr_config_id == _UNSET:
        return ConfigId(version=0)
    version = mr_config_id[0]
    if version == 1:
        expected = mr_config_id_v1(_claim(claims, COMPOSE_HASH))
    elif version == 2:
        compose, app_id = _claim(claims, COMPOSE_HASH), _claim(claims, APP_ID)
        expected = mr_config_id_v2(compose, app_id, _provider(claims))
    elif version == 3:
        if not documents:
            raise Refused(
                Reason.EVIDENCE_ABSENT,
                "MRCONFIGID of version 3 hashes a document that is not there",
                got=mr_config_id.hex(),
                expected="the MrConfigV3 document",
            )
        for document in documents:
            if mr_config_id_v3(document) == mr_config_id:
                _judge_document(document, claims)
                return ConfigId(version=3)
        expected = mr_config_id_v3(documents[0])
    else:
        raise Refused(
            Reason.TDX_DSTACK_MR_CONFIG_ID_VERSION_UNKNOWN,
            "MRCONFIGID is of no known version",
            got=mr_config_id.hex(),
            expected="first byte 1, 2 or 3, or all zero",
        )
    if mr_config_id != expected:
        raise _mismatch(
            f"MRCONFIGID of version {version} names something else",
            got=mr_config_id.hex(),
            expected=expected.hex(),
        )
    return ConfigId(version=version)


def mr_aggregated(registers: TdRegisters, rtmr3: bytes | None = None) -> bytes:
    """Return SHA-256 over MRTD, the RTMRs and, if any byte of them is set, the three host ids.

    ``rtmr3`` replaces RTMR3 for the boot-time variant. Source: tdx.md 14.6.
    """
    parts = [registers.mr_td, *registers.rtmrs[:3], rtmr3 or registers.rtmr3]
    host = (registers.mr_config_id, registers.mr_owner, registers.mr_owner_config)
    if any(any(field) for field in host):
        parts.extend(host)
    return sha256(b"".join(parts)).digest()


def mr_system(registers: TdRegisters, key_provider: bytes) -> bytes:
    """Return SHA-256 over MRTD, RTMR0 to RTMR2 and the hash of the ``key-provider`` payload."""
    last = sha256(key_provider).digest() if key_provider else bytes(32)
    return sha256(b"".join((registers.mr_td, *registers.rtmrs[:3], last))).digest()


def judge_published(
    info: Mapping[str, Json],
    registers: TdRegisters,
    claims: Claims,
    boot_rtmr3: bytes | None,
    *,
    path: str = "",
) -> tuple[Refused, ...]:
    """Return one refusal for each echo in ``info`` or ``info.tcb_info`` that differs.

    Echoes are compared and never used; absent and empty ones say nothing. ``path``: where the
    object stands. Codes: ``tdx.dstack.published_register_mismatch``, ``.mr_aggregated_mismatch``.
    Source: tdx.md 14.4, 14.6.
    """
    known: dict[str, bytes | None] = {
        "mrtd": registers.mr_td,
        "rtmr0": registers.rtmr0,
        "rtmr1": registers.rtmr1,
        "rtmr2": registers.rtmr2,
        "rtmr3": registers.rtmr3,
        "compose_hash": claims.one(COMPOSE_HASH),
        "os_image_hash": claims.one(OS_IMAGE_HASH) or None,
    }
    refused: list[Refused] = []

    def differ(reason: Reason, name: str, stated: Json, right: bytes) -> None:
        refused.append(
            Refused(
                reason,
                f"published {name} is not that of the quote or log",
                got=str(stated),
                expected=right.hex(),
                path=f"{path}/{name}",
            )
        )

    for name, right in known.items():
        stated = info.get(name)
        if stated in (None, "") or right is None:
            continue
        if not isinstance(stated, str) or stated.lower() != right.hex():
            differ(Reason.TDX_DSTACK_PUBLISHED_REGISTER_MISMATCH, name, stated, right)
    stated = info.get("mr_aggregated")
    if stated not in (None, ""):
        final = mr_aggregated(registers)
        values = [final.hex()]
        if boot_rtmr3 is not None:
            values.append(mr_aggregated(registers, boot_rtmr3).hex())
        if not isinstance(stated, str) or stated.lower() not in values:
            differ(Reason.TDX_DSTACK_MR_AGGREGATED_MISMATCH, "mr_aggregated", stated, final)
    return tuple(refused)
