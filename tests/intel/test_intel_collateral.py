"""Signed JSON: every strictness has an input that only it refuses, signed like the real one."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from fixtures import intel_pki as pki
from fixtures.intel_cases import appraised, shot, world
from verify.engine.errors import FormatError
from verify.engine.reason import Reason
from verify.intel.collateral import qe_identity_body, read_tcb_info, tcb_info_body
from verify.intel.quote import Tee

INFO = pki.tcb_info()
IDENTITY = pki.qe_identity()


def text(inner):
    return json.dumps(inner, separators=(",", ":"))


def without(inner, *path):
    """Return a copy without the member at ``path``."""
    copy = json.loads(text(inner))
    place = copy
    for step in path[:-1]:
        place = place[step]
    del place[path[-1]]
    return copy


def changed(inner, value, *path):
    """Return a copy with another value at ``path``."""
    copy = json.loads(text(inner))
    place = copy
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return copy


INFO_MEMBERS = [
    ("version",), ("id",), ("tcbType",), ("issueDate",), ("nextUpdate",), ("fmspc",), ("pceId",),
    ("tcbEvaluationDataNumber",), ("tdxModule",), ("tcbLevels",), ("tdxModule", "mrsigner"),
    ("tdxModule", "attributes"), ("tdxModule", "attributesMask"),
    ("tdxModuleIdentities", 0, "id"), ("tdxModuleIdentities", 0, "mrsigner"),
    ("tdxModuleIdentities", 0, "attributes"), ("tdxModuleIdentities", 0, "attributesMask"),
    ("tdxModuleIdentities", 0, "tcbLevels"), ("tdxModuleIdentities", 0, "tcbLevels", 0, "tcb"),
    ("tdxModuleIdentities", 0, "tcbLevels", 0, "tcb", "isvsvn"),
    ("tdxModuleIdentities", 0, "tcbLevels", 0, "tcbDate"),
    ("tdxModuleIdentities", 0, "tcbLevels", 0, "tcbStatus"),
    ("tcbLevels", 0, "tcb"), ("tcbLevels", 0, "tcbDate"), ("tcbLevels", 0, "tcbStatus"),
    ("tcbLevels", 0, "tcb", "sgxtcbcomponents"), ("tcbLevels", 0, "tcb", "pcesvn"),
    ("tcbLevels", 0, "tcb", "tdxtcbcomponents"), ("tcbLevels", 0, "tcb", "sgxtcbcomponents", 3),
    ("tcbLevels", 0, "tcb", "tdxtcbcomponents", 3, "svn"),
]  # fmt: skip
IDENTITY_MEMBERS = [(name,) for name in IDENTITY] + [
    ("tcbLevels", 0, "tcb"),
    ("tcbLevels", 0, "tcb", "isvsvn"),
    ("tcbLevels", 1, "tcbStatus"),
]


@pytest.mark.parametrize("path", INFO_MEMBERS, ids=str)
def test_tcb_info_without_a_required_member_is_malformed(path):
    found = appraised(world(tcb_info_inner=without(INFO, *path)))
    assert found.codes == (Reason.TDX_TCB_INFO_MALFORMED,)


@pytest.mark.parametrize("path", IDENTITY_MEMBERS, ids=str)
def test_qe_identity_without_a_required_member_is_malformed(path):
    found = appraised(world(qe_identity_inner=without(IDENTITY, *path)))
    assert found.codes == (Reason.TDX_QE_IDENTITY_MALFORMED,)


LEVEL = INFO["tcbLevels"][0]
MODULES = INFO["tdxModuleIdentities"]


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (True, ("tcbEvaluationDataNumber",)),
        (-1, ("tcbEvaluationDataNumber",)),
        (2**31, ("tcbEvaluationDataNumber",)),
        ("17", ("tcbEvaluationDataNumber",)),
        (True, ("version",)),
        ("3", ("version",)),
        (None, ("tcbType",)),
        (3, ("id",)),
        (17, ("fmspc",)),
        ("7e57b0c06f", ("fmspc",)),
        ("7e 57b0c06f0", ("fmspc",)),
        ("7e57b0c06f0g", ("fmspc",)),
        ("\uff17e57b0c06f00", ("fmspc",)),
        ("2026-06-10T05:31:00+00:00", ("issueDate",)),
        ("2026-06-10T05:31:00.0Z", ("issueDate",)),
        ("2026-06-10 05:31:00Z", ("issueDate",)),
        ("2026-06-10T05:31:00Z\n", ("issueDate",)),
        ("\uff12026-06-10T05:31:00Z", ("issueDate",)),
        ("2026-02-30T05:31:00Z", ("issueDate",)),
        ({}, ("tcbLevels",)),
        ([LEVEL, LEVEL], ("tcbLevels",)),
        ([1], ("tcbLevels",)),
        (256, ("tcbLevels", 0, "tcb", "sgxtcbcomponents", 0, "svn")),
        (65536, ("tcbLevels", 0, "tcb", "pcesvn")),
        ([{"svn": 1}] * 15, ("tcbLevels", 0, "tcb", "tdxtcbcomponents")),
        ([{"svn": 1}] * 17, ("tcbLevels", 0, "tcb", "sgxtcbcomponents")),
        ([], ("tdxModuleIdentities",)),
        (MODULES + MODULES, ("tdxModuleIdentities",)),
        (MODULES[0]["tcbLevels"][:1] * 2, ("tdxModuleIdentities", 0, "tcbLevels")),
        (256, ("tdxModuleIdentities", 0, "tcbLevels", 0, "tcb", "isvsvn")),
        (["INTEL-SA-00001", 7], ("tcbLevels", 1, "advisoryIDs")),
        (["INTEL SA"], ("tcbLevels", 1, "advisoryIDs")),
        ("INTEL-SA-00001", ("tcbLevels", 1, "advisoryIDs")),
        (5, ("tcbLevels", 0, "tcbStatus")),
    ],
    ids=repr,
)
def test_tcb_info_with_a_value_out_of_form_is_malformed(value, path):
    found = appraised(world(tcb_info_inner=changed(INFO, value, *path)))
    assert found.codes == (Reason.TDX_TCB_INFO_MALFORMED,)
    assert found.faults[0].path.startswith("/tcbInfo")


@pytest.mark.parametrize(
    ("value", "path"),
    [(2, ("version",)), (4, ("version",)), (1, ("tcbType",)), ("TDY", ("id",))],
)
def test_tcb_info_of_another_kind_is_a_type_mismatch(value, path):
    found = appraised(world(tcb_info_inner=changed(INFO, value, *path)))
    assert found.codes == (Reason.TDX_TCB_INFO_TYPE_MISMATCH,)


@pytest.mark.parametrize(
    ("value", "path"), [(1, ("version",)), (3, ("version",)), ("QVE", ("id",))]
)
def test_qe_identity_of_another_kind_is_a_type_mismatch(value, path):
    found = appraised(world(qe_identity_inner=changed(IDENTITY, value, *path)))
    assert found.codes == (Reason.TDX_QE_IDENTITY_TYPE_MISMATCH,)


@pytest.mark.parametrize(
    "path",
    [("tcbLevels", 1, "tcbStatus"), ("tdxModuleIdentities", 0, "tcbLevels", 1, "tcbStatus")],
)
def test_unknown_status_in_a_level_that_will_not_match_is_refused_too(path):
    found = appraised(world(tcb_info_inner=changed(INFO, "Unheard", *path)))
    assert found.codes == (Reason.TDX_TCB_INFO_STATUS_UNKNOWN,)


def test_platform_status_of_a_module_level_is_unknown():
    path = ("tdxModuleIdentities", 0, "tcbLevels", 0, "tcbStatus")
    found = appraised(world(tcb_info_inner=changed(INFO, "ConfigurationNeeded", *path)))
    assert found.codes == (Reason.TDX_TCB_INFO_STATUS_UNKNOWN,)


NESTED = "[" * 40 + "]" * 40


@pytest.mark.parametrize(
    "inner",
    [
        text(INFO).replace('"version":3', '"version":3,"version":3'),
        text(INFO).replace('"version":3', '"version":3,"\\u0076ersion":3'),
        text(INFO).replace('"version":3', '"version":3,"x":{"a":1,"a":1}'),
        text(INFO).replace('"version":3', '"version":3.0'),
        text(INFO).replace('"version":3', '"version":3e0'),
        text(INFO).replace('"version":3', '"version":3,"x":NaN'),
        text(INFO).replace('"version":3', '"version":3,"x":-Infinity'),
        text(INFO).replace('"tcbType":0', '"tcbType":-0'),
        text(INFO).replace('"version":3', '"version":3,"x":' + "9" * 21),
        text(INFO).replace('"version":3', '"version":3,"x":' + "9" * 5000),
        text(INFO).replace('"version":3', f'"version":3,"x":{NESTED}'),
        text(INFO).replace('"version":3', '"version":3,"x":' + "[" * 100_000),
        text(INFO).replace('"version":3', '"version":3,"x":"\t"'),
        text(INFO)[:-1],
        "[]",
        '"text"',
    ],
    ids=range(16),
)
def test_signed_text_that_is_not_strict_json_is_malformed(inner):
    found = appraised(world(tcb_info_inner=inner))
    assert found.codes == (Reason.TDX_TCB_INFO_MALFORMED,)


BODY = pki.BASE.tcb_info
SIGNATURE = json.loads(BODY)["signature"].encode()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff" + BODY,
        b"\xef\xbb\xbf" + BODY,
        BODY.decode().encode("utf-16"),
        BODY + b"x",
        BODY + BODY,
        BODY[:-1],
        BODY[:-1] + b',"more":1}',
        BODY[:-1] + b',"signature":"' + SIGNATURE + b'"}',
        BODY.replace(b'"tcbInfo"', b'"tcbinfo"'),
        BODY.replace(b'"signature":"', b'"signature":"0'),
        BODY.replace(SIGNATURE, SIGNATURE[:-1] + b" "),
        BODY.replace(b'"' + SIGNATURE + b'"', b"7"),
        BODY.replace(b'"signature":', b'"signature"'),
        BODY.replace(b',"signature"', b';"signature"'),
        BODY.replace(b',"signature"', b",signature"),
        b'{"tcbInfo":1,"signature":"' + SIGNATURE + b'"}',
        b'{1:{},"signature":"' + SIGNATURE + b'"}',
    ],
    ids=range(20),
)
def test_answer_of_another_outer_shape_is_malformed(body):
    found = appraised(replace(shot(pki.BASE), tcb_info=body))
    assert found.codes == (Reason.TDX_TCB_INFO_MALFORMED,)


def test_answer_larger_than_the_limit_is_refused_before_it_is_read():
    for read in (tcb_info_body, qe_identity_body):
        with pytest.raises(FormatError) as caught:
            read(bytes(256 * 1024 + 1))
        assert caught.value.reason is Reason.TDX_INPUT_TOO_LARGE


def test_issuer_chain_larger_than_the_limit_is_refused():
    found = appraised(replace(shot(pki.BASE), tcb_info_chain=bytes(64 * 1024 + 1)))
    assert found.code is Reason.TDX_INPUT_TOO_LARGE


def test_levels_and_modules_in_any_order_give_the_same_status():
    turned = json.loads(text(INFO))
    turned["tcbLevels"].reverse()
    turned["tdxModuleIdentities"][0]["tcbLevels"].reverse()
    turned["tdxModuleIdentities"].insert(
        0, pki.module_identity(3, pki.component_level(1, "Revoked"))
    )
    identity = json.loads(text(IDENTITY))
    identity["tcbLevels"].reverse()
    found = appraised(world(tcb_info_inner=turned, qe_identity_inner=identity))
    assert found.tcb.status.value == "UpToDate"
    assert not found.tcb_info.modules_in_order
    assert not found.qe_identity.levels_in_order


def test_hex_and_module_id_in_the_other_case_are_the_same():
    other = text(INFO).replace("7e57b0c06f00", "7E57B0C06F00").replace("TDX_01", "tdx_01")
    assert appraised(world(tcb_info_inner=other)).codes == ()


def test_unknown_members_and_absent_optional_ones_are_tolerated():
    more = changed(INFO, {"any": [None, True, "é"]}, "later")
    more["tcbLevels"][0]["tcb"]["sgxtcbcomponents"][0]["category"] = "BIOS"
    assert appraised(world(tcb_info_inner=more)).codes == ()


def test_signed_text_beyond_ascii_is_sliced_by_bytes():
    inner = text(INFO).replace('"version":3', '"note":"é 漢 𝄞","version":3')
    assert appraised(world(tcb_info_inner=inner)).codes == ()


def test_module_identities_absent_is_fine_where_the_module_version_is_zero():
    subject = world(
        tcb_info_inner=pki.tcb_info(tdxModuleIdentities=None),
        quote_spec=pki.QuoteSpec(fields={"tee_tcb_svn": bytes([6, 0, 3]) + bytes(13)}),
    )
    assert appraised(subject).codes == ()


def test_sgx_tcb_info_has_neither_module_nor_tdx_components():
    info = read_tcb_info(tcb_info_body(pki.sgx_world().tcb_info))
    assert info.tee is Tee.SGX
    assert info.tdx_module is None
    assert info.levels[0].tdx_components == ()
