"""The built-in anchors: digests are constants here, the bytes stand in ``anchors/``.

Where each comes from: ``anchors/PROVENANCE.md``. Source: verification.md 6.1.
"""

from __future__ import annotations

import hashlib
import os
from datetime import UTC, datetime
from typing import Final, NamedTuple

from verify.engine.errors import InternalFault
from verify.trust.anchor import BUILT_IN, Anchor, AnchorStatus, Kind, Purpose

SNAPSHOT: Final = "2026-11"
"""Month in which this list was last reviewed."""

FOLDER: Final = os.path.join(os.path.dirname(__file__), "anchors")  # noqa: PTH118, PTH120
"""Folder of the DER files (`pathlib` takes longer to import than to read them all)."""


class _Row(NamedTuple):
    name: str
    purpose: Purpose
    file: str | None
    sha256: str
    operator: str
    start: datetime | None = None
    end: datetime | None = None
    kind: Kind = Kind.X509


_ROWS: Final = (
    _Row(
        "intel-sgx-root",
        Purpose.INTEL_SGX_ROOT,
        "intel-sgx-root.der",
        "44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3",
        "Intel",
    ),
    _Row(
        "nvidia-device-root",
        Purpose.NVIDIA_DEVICE_ROOT,
        "nvidia-device-root.der",
        "102bf659d5419614c9d8e6aecebc80454eb26b1df6a769ac720b9a690b167b48",
        "NVIDIA",
    ),
    _Row(
        "nvidia-rim-root",
        Purpose.NVIDIA_RIM_ROOT,
        "nvidia-rim-root.der",
        "12977b5115acb0381179279fffeb5a8c4d264971ebb32298023a465fa41df5d1",
        "NVIDIA",
    ),
    _Row(
        "nras-gpu-intermediate-004",
        Purpose.NRAS_INTERMEDIATE,
        None,
        "fd32837f954e2c45db073105166dfe6985ae0480bb113fba63b091a75affe896",
        "NVIDIA",
        datetime(2025, 12, 8, tzinfo=UTC),
        datetime(2029, 12, 8, tzinfo=UTC),
    ),
    _Row(
        "amd-ark-milan",
        Purpose.AMD_ARK,
        "amd-ark-milan.der",
        "69d063b45344d26a2e94e1f4210de49ef555308287d4c174445c95639a540bcd",
        "AMD",
    ),
    _Row(
        "amd-ark-genoa",
        Purpose.AMD_ARK,
        "amd-ark-genoa.der",
        "4c6598d19c18719c5dfd4a7d335f674e5bfe1d8f800cea2cf270c10d103db2f1",
        "AMD",
    ),
    _Row(
        "amd-ark-turin",
        Purpose.AMD_ARK,
        "amd-ark-turin.der",
        "1f084161a44bb6d93778a904877d4819cafa5d05ef4193b2ded9dd9c73dd3f6a",
        "AMD",
    ),
    _Row(
        "aws-nitro-root",
        Purpose.AWS_NITRO_ROOT,
        "aws-nitro-root.der",
        "641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b",
        "AWS",
    ),
    _Row(
        "sigstore-fulcio-root",
        Purpose.SIGSTORE_FULCIO,
        "sigstore-fulcio-root.der",
        "3ba7b6cc4e95469d4d334b49cb257ad8537076fa84b0ca87ff4ecfe6a54680c1",
        "Sigstore",
    ),
    _Row(
        "sigstore-fulcio-intermediate",
        Purpose.SIGSTORE_FULCIO,
        "sigstore-fulcio-intermediate.der",
        "15d795348226b4649f750f5802592c393bee7cc53c3b86982175b7ad087efe47",
        "Sigstore",
    ),
    _Row(
        "sigstore-rekor",
        Purpose.SIGSTORE_REKOR,
        "sigstore-rekor.der",
        "c0d23d6ad406973f9559f3ba2d1ca01f84147d8ffc5b8445c224f98b9591801d",
        "Sigstore",
        datetime(2021, 1, 12, tzinfo=UTC),
        kind=Kind.SPKI,
    ),
    _Row(
        "sigstore-rekor-2025-1",
        Purpose.SIGSTORE_REKOR,
        "sigstore-rekor-2025-1.der",
        "b54813cb63d8859870a5e78500cc6adcfdf59723edae93ee8d25faf2475a0690",
        "Sigstore",
        datetime(2025, 9, 23, tzinfo=UTC),
        kind=Kind.SPKI,
    ),
    _Row(
        "sigstore-ctfe-2022",
        Purpose.SIGSTORE_CT,
        "sigstore-ctfe-2022.der",
        "dd3d306ac6c7113263191e1c99673702a24a5eb8de3cadff878a72802f29ee8e",
        "Sigstore",
        datetime(2022, 10, 20, tzinfo=UTC),
        kind=Kind.SPKI,
    ),
)


def _read(row: _Row, folder: str) -> bytes | None:
    if row.file is None:
        return None
    try:
        with open(os.path.join(folder, row.file), "rb") as file:  # noqa: PTH118, PTH123
            data = file.read()
    except OSError as error:
        message = f"built-in anchor {row.file} cannot be read: {error}"
        raise InternalFault(message) from error
    found = hashlib.sha256(data).hexdigest()
    if found != row.sha256:
        message = f"built-in anchor {row.file} has digest {found}, not {row.sha256}"
        raise InternalFault(message)
    return data


def builtins(folder: str = FOLDER) -> tuple[Anchor, ...]:
    """Return the built-in anchors, each re-hashed. Raises InternalFault on any difference."""
    return tuple(
        Anchor(
            name=row.name,
            purpose=row.purpose,
            kind=Kind.PIN if row.file is None else row.kind,
            data=_read(row, folder),
            sha256=row.sha256,
            operator=row.operator,
            start=row.start,
            end=row.end,
            status=AnchorStatus.ACTIVE,
            since=None,
            source="verify/trust/anchors/PROVENANCE.md",
            origin=BUILT_IN,
        )
        for row in _ROWS
    )
