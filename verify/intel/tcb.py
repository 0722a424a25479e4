"""TCB statuses, levels and their evaluation.

Pure comparison of verified numbers; what a policy makes of a status is judged elsewhere.
Source: tdx.md 8.
"""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import Final

from verify.engine.errors import Refused
from verify.engine.reason import Reason
from verify.engine.value import value


class TcbStatus(Enum):
    """Status of a level or of a platform. The last two come out of an evaluation only."""

    UP_TO_DATE = "UpToDate"
    SW_HARDENING_NEEDED = "SWHardeningNeeded"
    CONFIGURATION_NEEDED = "ConfigurationNeeded"
    CONFIGURATION_AND_SW_HARDENING_NEEDED = "ConfigurationAndSWHardeningNeeded"
    OUT_OF_DATE = "OutOfDate"
    OUT_OF_DATE_CONFIGURATION_NEEDED = "OutOfDateConfigurationNeeded"
    REVOKED = "Revoked"
    TD_RELAUNCH_ADVISED = "TDRelaunchAdvised"
    TD_RELAUNCH_ADVISED_CONFIGURATION_NEEDED = "TDRelaunchAdvisedConfigurationNeeded"


PLATFORM_STATUSES: Final = {
    status.value: status
    for status in (
        TcbStatus.UP_TO_DATE,
        TcbStatus.SW_HARDENING_NEEDED,
        TcbStatus.CONFIGURATION_NEEDED,
        TcbStatus.CONFIGURATION_AND_SW_HARDENING_NEEDED,
        TcbStatus.OUT_OF_DATE,
        TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED,
        TcbStatus.REVOKED,
    )
}
"""What a platform level may say (tdx.md 4.1)."""
COMPONENT_STATUSES: Final = {
    status.value: status
    for status in (TcbStatus.UP_TO_DATE, TcbStatus.OUT_OF_DATE, TcbStatus.REVOKED)
}
"""What a module or QE level may say (tdx.md 4.1, 4.2)."""

_CONFIGURATION: Final = frozenset(
    {
        TcbStatus.CONFIGURATION_NEEDED,
        TcbStatus.CONFIGURATION_AND_SW_HARDENING_NEEDED,
        TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED,
    }
)
_OUT_OF_DATE: Final = frozenset({TcbStatus.OUT_OF_DATE, TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED})
_CURRENT: Final = frozenset(
    {
        TcbStatus.UP_TO_DATE,
        TcbStatus.SW_HARDENING_NEEDED,
        TcbStatus.CONFIGURATION_NEEDED,
        TcbStatus.CONFIGURATION_AND_SW_HARDENING_NEEDED,
    }
)


@value
class ComponentLevel:
    """A level of a TDX module or of a quoting enclave: minimum ``isv_svn``."""

    isv_svn: int
    tcb_date: datetime
    status: TcbStatus
    advisory_ids: tuple[str, ...]


@value
class PlatformLevel:
    """A level of a TCB info. ``tdx_components`` is empty for SGX."""

    sgx_components: tuple[int, ...]
    pce_svn: int
    tdx_components: tuple[int, ...]
    tcb_date: datetime
    status: TcbStatus
    advisory_ids: tuple[str, ...]

    @property
    def key(self) -> tuple[int, ...]:
        """Order of levels: SGX components, PCESVN, TDX components (tdx.md 8.2)."""
        return (*self.sgx_components, self.pce_svn, *self.tdx_components)


@value
class Module:
    """Reference of a TDX module. ``levels``: highest ``isv_svn`` first, empty for ``tdxModule``."""

    id: str
    mr_signer: bytes
    attributes: bytes
    levels: tuple[ComponentLevel, ...]


@value
class Evaluation:
    """One evaluation: the converged status, its parts, the earliest date, all advisories."""

    status: TcbStatus
    platform_status: TcbStatus
    module_status: TcbStatus | None
    qe_status: TcbStatus
    tcb_date: datetime
    advisory_ids: tuple[str, ...]


@value
class TcbResult:
    """Result of the TCB evaluation: ``status`` is final, after relaunch (tdx.md 8.4).

    ``current`` is None before TD report 1.5.
    """

    status: TcbStatus
    launch: Evaluation
    current: Evaluation | None

    @property
    def all_advisory_ids(self) -> tuple[str, ...]:
        """Union of the advisories of launch and current levels, sorted."""
        extra = () if self.current is None else self.current.advisory_ids
        return tuple(sorted({*self.launch.advisory_ids, *extra}))


def first_level(levels: tuple[ComponentLevel, ...], svn: int) -> ComponentLevel | None:
    """Return the first level (highest first) that ``svn`` reaches, or None."""
    for level in levels:
        if svn >= level.isv_svn:
            return level
    return None


def platform_level(
    levels: tuple[PlatformLevel, ...],
    *,
    components: tuple[int, ...],
    pce_svn: int,
    tdx_svn: bytes | None,
) -> PlatformLevel:
    """Return the first level that the platform reaches (tdx.md 8.2 step 2).

    ``components``, ``pce_svn``: of the PCK leaf. ``tdx_svn``: 16 bytes of the TD report, None for
    SGX. Raises Refused (``tdx.tcb.no_matching_level``).
    """
    start = 0 if tdx_svn is None or tdx_svn[1] == 0 else 2
    for level in levels:
        if pce_svn < level.pce_svn:
            continue
        if any(have < want for have, want in zip(components, level.sgx_components, strict=True)):
            continue
        if tdx_svn is not None and any(
            have < want
            for have, want in zip(tdx_svn[start:], level.tdx_components[start:], strict=True)
        ):
            continue
        return level
    raise Refused(
        Reason.TDX_TCB_NO_MATCHING_LEVEL,
        "the platform is below every published level",
        got=f"{bytes(components).hex()} pce {pce_svn}"
        + ("" if tdx_svn is None else f" tdx {tdx_svn.hex()}"),
    )


def module_level(module: Module, tdx_svn: bytes) -> ComponentLevel:
    """Return the module's level (tdx.md 8.2 step 3). Raises Refused."""
    level = first_level(module.levels, tdx_svn[0])
    if level is None:
        raise Refused(
            Reason.TDX_TCB_MODULE_SVN_UNSUPPORTED,
            f"no level of {module.id} reaches down to this module version",
            got=str(tdx_svn[0]),
        )
    return level


def converge(platform: TcbStatus, components: tuple[TcbStatus, ...]) -> TcbStatus:
    """Merge component statuses into the platform's by the table of tdx.md 8.3."""
    if platform is TcbStatus.REVOKED or TcbStatus.REVOKED in components:
        return TcbStatus.REVOKED
    if TcbStatus.OUT_OF_DATE not in components:
        return platform
    if platform in _CONFIGURATION:
        return TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED
    return TcbStatus.OUT_OF_DATE


def after_relaunch(launch: TcbStatus, current: TcbStatus | None) -> TcbStatus:
    """Return the final status (tdx.md 8.4); ``current`` is None before TD report 1.5."""
    if launch not in _OUT_OF_DATE or current not in _CURRENT:
        return launch
    if launch in _CONFIGURATION or current in _CONFIGURATION:
        return TcbStatus.TD_RELAUNCH_ADVISED_CONFIGURATION_NEEDED
    return TcbStatus.TD_RELAUNCH_ADVISED


def merge(platform: PlatformLevel, module: ComponentLevel | None, qe: ComponentLevel) -> Evaluation:
    """Combine the levels used into one evaluation (tdx.md 8.2 steps 5 and 6)."""
    parts: tuple[ComponentLevel, ...] = (qe,) if module is None else (module, qe)
    advisories = {*platform.advisory_ids, *(name for part in parts for name in part.advisory_ids)}
    return Evaluation(
        status=converge(platform.status, tuple(part.status for part in parts)),
        platform_status=platform.status,
        module_status=None if module is None else module.status,
        qe_status=qe.status,
        tcb_date=min(platform.tcb_date, *(part.tcb_date for part in parts)),
        advisory_ids=tuple(sorted(advisories)),
    )
