"""The registers of every verified TD quote, as the dstack rules read them."""

from __future__ import annotations

from verify.checks.tdx import VerifiedQuotes
from verify.dstack.registers import TdRegisters
from verify.engine.check import Facts
from verify.intel.quote import Body, Tee


def registers_of(body: Body) -> TdRegisters:
    """Copy the registers of a TD report body. Raises KeyError for another layout."""
    return TdRegisters(
        mr_td=body["mr_td"],
        rtmr0=body["rtmr0"],
        rtmr1=body["rtmr1"],
        rtmr2=body["rtmr2"],
        rtmr3=body["rtmr3"],
        mr_config_id=body["mr_config_id"],
        mr_owner=body["mr_owner"],
        mr_owner_config=body["mr_owner_config"],
        report_data=body["report_data"],
    )


def td_registers(facts: Facts) -> dict[str, TdRegisters]:
    """Return artifact id -> registers of every TD quote whose signature was verified."""
    verified = facts.get("tdx.quote.signature", VerifiedQuotes)
    return {
        artifact: registers_of(quote.body)
        for artifact, quote in verified.quotes.items()
        if quote.tee is Tee.TDX
    }
