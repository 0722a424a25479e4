"""The registers of one TD as the dstack rules read them.

`verify.dstack` knows no quote layout: the check that holds a verified quote copies the fields here.
"""

from __future__ import annotations

from verify.engine.value import value

REGISTER_SIZE = 48


@value
class TdRegisters:
    """Complete fields of a verified TD report: 48 bytes each, ``report_data`` 64.

    Source: tdx.md 2.3, 16.
    """

    mr_td: bytes
    rtmr0: bytes
    rtmr1: bytes
    rtmr2: bytes
    rtmr3: bytes
    mr_config_id: bytes
    mr_owner: bytes
    mr_owner_config: bytes
    report_data: bytes

    @property
    def rtmrs(self) -> tuple[bytes, bytes, bytes, bytes]:
        """RTMR0 to RTMR3."""
        return (self.rtmr0, self.rtmr1, self.rtmr2, self.rtmr3)

    @property
    def code(self) -> tuple[bytes, ...]:
        """What names the TD: MRTD, the four RTMRs, MRCONFIGID."""
        return (self.mr_td, *self.rtmrs, self.mr_config_id)
